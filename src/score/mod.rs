//! Fitted pipelines put to use on the rows of the cluster.

mod local;
