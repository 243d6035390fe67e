//! Sessions fed structured operations: see `keystow_fuzz::server_session`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keystow_fuzz::server_session(data));
