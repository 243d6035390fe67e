//! See `keystow_fuzz::client_exchange`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keystow_fuzz::client_exchange(data));
