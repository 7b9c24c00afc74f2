//! Spark Connect over gRPC: one connection, its unary calls, and executions as streams.
