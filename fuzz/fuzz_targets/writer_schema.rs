//! Fuzzes schemas from a registry.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| windrow_fuzz::writer_schema(data));
