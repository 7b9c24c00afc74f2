//! Fused kernels: operations of candle's graph with a backward pass of their own.

// No layer uses them yet.
#[allow(dead_code, unused_imports)]
pub(crate) mod rnn;
