//! Arguments in, exit status out.

use std::process::ExitCode;

/// Batches are made and dropped on different threads, which the system's
/// allocator does not take well.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    windrow::cli::main()
}
