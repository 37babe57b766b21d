//! Benchmarks of the stages of a batch.

fn main() {}
