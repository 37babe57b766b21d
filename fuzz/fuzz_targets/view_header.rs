//! Fuzzes the text of feature views.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| windrow_fuzz::view_header(data));
