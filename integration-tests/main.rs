//! Tests against a real Spark, and of the repository itself; one module per topic.
//!
//! The server is `SPARK_REMOTE`, or else a local Spark that all tests share. No test is ever skipped: without a server
//! they fail.

mod support;

mod bad_input;
mod both_ways;
mod catalogs;
mod checkpoint_tables;
mod classifier;
mod cluster_scoring;
mod column_names;
mod command_line;
mod databases;
mod deep_plans;
mod errors;
mod evaluation;
mod exports;
mod faults;
mod frames;
mod here_and_there;
mod joined_columns;
mod kept_frames;
mod killed_clients;
mod large_uploads;
mod layering;
mod local;
mod locked_down;
mod lost_models;
mod mixed_pipelines;
mod ml;
mod ml_codes;
mod ml_rows;
mod ml_stages;
mod model_tables;
mod nested_fields;
mod operators;
mod partition_groups;
mod preflight;
mod proxied;
mod readers;
mod regressor;
mod reports;
mod rows_as_values;
mod rows_from_here;
mod sail;
mod same_answers;
mod same_plans;
mod sequences;
mod sessions;
mod spark_ml;
mod sparse;
mod streaming;
mod streams;
mod tables;
mod tensors;
mod tuning;
mod unreachable;
mod unsupervised;
mod warm_start;
