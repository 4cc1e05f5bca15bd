#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pent::fuzz::state(data));
