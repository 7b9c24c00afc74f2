//! Prints the library's log on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Logs as `RUST_LOG` asks, or as is usual.
pub fn to_stderr(usual: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .with_target(false)
        .init();
}
