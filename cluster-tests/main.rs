//! Faults that only a cluster has: `make test-cluster` runs these on the cluster in containers that it starts.
//!
//! Each prints a line: the fault, what was running, when it was over, what came of it. One test at a time: they end parts of
//! the cluster that all share.

mod docker;
mod faults;
mod gateway;
mod large;
mod training;
mod work;
mod writes;
