//! Fuzzes which schema wrote a value.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| windrow_fuzz::framing(data));
