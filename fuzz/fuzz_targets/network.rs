//! See `keystow_fuzz::network`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keystow_fuzz::network(data));
