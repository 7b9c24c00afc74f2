//! Queries that run on and on: rows that keep coming, read and written as Spark's structured streaming does.
//!
//! A frame of [`Session::read_stream`](crate::session::Session::read_stream) is a plan like any other; only
//! [`DataFrame::write_stream`](crate::dataframe::DataFrame::write_stream) runs it, as a [`StreamingQuery`] on the
//! cluster. Spark runs no Rust there; [`DataStreamWriter::for_each_batch`] brings micro-batches to this process instead.

mod batches;
mod listener;
mod manager;
mod progress;
mod query;
mod reader;
mod writer;

pub use self::{
    listener::StreamingQueryEvent,
    manager::StreamingQueryManager,
    progress::{SinkProgress, SourceProgress, StateOperatorProgress, StreamingQueryProgress},
    query::{StreamingQuery, StreamingQueryException, StreamingQueryStatus},
    reader::DataStreamReader,
    writer::{DataStreamWriter, OutputMode, Trigger},
};
