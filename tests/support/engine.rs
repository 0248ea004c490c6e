//! On which engine the tests run.

use throng::runtime::engine::Engine;

/// io_uring, or what `THRONG_ENGINE` says. Servers that tests start as processes read that variable by themselves.
pub(crate) fn engine() -> Engine {
    let name = std::env::var_os("THRONG_ENGINE").unwrap_or_else(|| Engine::IoUring.name().into());
    Engine::ALL.into_iter().find(|engine| name == engine.name()).expect("THRONG_ENGINE names an engine")
}
