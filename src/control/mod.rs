//! The control plane: one thread, tokio. What is not an upgrade of `/ws` ends up here.
