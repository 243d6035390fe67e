//! See `keystow_fuzz::lying_store`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keystow_fuzz::lying_store(data));
