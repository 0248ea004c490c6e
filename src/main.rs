//! The `throng` command: arguments become a config, a config becomes a running server.
//!
//! Exit codes: 0 all is well, 1 it did not work, 2 it was not asked rightly.

mod cli;

/// Measured against the system's allocator in `docs/decisions/`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::run()
}
