//! The `throng` command: arguments become a config, a config becomes a running server.
//!
//! Exit codes: 0 all is well, 1 it did not work, 2 it was not asked rightly.

mod cli;

/// Measured against the system's allocator in `docs/decisions/0003-mimalloc.md`.
#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // Where the host gives huge pages to everybody each first touch of a heap would cost 2 MiB. A kernel that does not know
    // the call has no other way either.
    let _only_costs_memory = throng::runtime::refuse_huge_pages();
    throng::runtime::keep_no_spare_memory();
    cli::run()
}
