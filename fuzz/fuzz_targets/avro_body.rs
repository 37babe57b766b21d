//! Fuzzes bodies of a known writer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| windrow_fuzz::avro_body(data));
