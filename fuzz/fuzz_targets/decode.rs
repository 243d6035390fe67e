//! Decoding of every message and stored value: see `keystow_fuzz::decode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keystow_fuzz::decode(data));
