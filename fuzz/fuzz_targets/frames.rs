#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| interloop_fuzz::frames(bytes));
