//! Spark Connect over gRPC: one session's unary calls, and executions as streams.
//!
//! [`Client`] has a method per call of the protocol. [`Client::execute`] gives an [`Execution`], a stream that is
//! proven complete: it ends only on the server's word that the result is complete, attaches again when the server or
//! the network ends it early, checks row counts and offsets, and is released on the server in every case.

mod assemble;
mod attach;
mod channel;
pub(crate) mod client;
pub(crate) mod execute;
mod fork;
mod grpc_only;
mod keep_alive;
#[cfg(feature = "local-spark")]
mod local;
mod progress;
mod proxy;
mod retry;
mod settle;
mod silence;
mod status;
mod token;
mod upload;
mod url;
mod version;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

pub(crate) use channel::Identity;
pub use channel::{ClientIdentity, ConnectOptions};
pub(crate) use client::{Client, Interrupt};
pub(crate) use execute::{Event, ExecuteOptions, Execution};
#[cfg(feature = "local-spark")]
pub use local::{DEFAULT_SPARK_VERSION, LocalSpark, LocalSparkBuilder};
pub use progress::{Progress, ProgressGuard, StageProgress};
pub use retry::RetryPolicy;
pub use silence::SilencePolicy;
pub use token::TokenProvider;
pub use url::ConnectUrl;
pub use version::SparkVersion;
