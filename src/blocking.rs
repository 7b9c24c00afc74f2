//! The crate without `async`, for small tools and tests: [`Wait::wait`] runs any of its futures to the end.
//!
//! ```no_run
//! use tinderbox::{blocking::Wait, prelude::*};
//!
//! fn main() -> tinderbox::Result<()> {
//!     let spark = Session::builder().create().wait()?;
//!     println!("{}", spark.range(0, 10).count().wait()?);
//!     for batch in spark.table("people").stream().wait()?.iterate() {
//!         println!("{} rows", batch?.num_rows());
//!     }
//!     spark.stop().wait()
//! }
//! ```
//!
//! Everything runs on one Tokio runtime of the process's, which starts with the first call. Sessions of one program
//! should either all be used so, or all be awaited.

use std::sync::LazyLock;

use futures::{Stream, StreamExt};
use tokio::runtime::{Builder, Runtime};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut runtime = Builder::new_multi_thread();
    runtime.worker_threads(2).thread_name("tinderbox").enable_all().build().expect("threads for a runtime")
});

/// Waits for a future.
pub trait Wait: Future + Sized {
    /// Runs the future to its end, on this thread.
    ///
    /// # Panics
    /// Within asynchronous code, which has to await it; and when the process can have no more threads.
    fn wait(self) -> Self::Output {
        RUNTIME.block_on(self)
    }
}

impl<F: Future> Wait for F {}

/// Waits for the items of a stream.
pub trait Iterate: Stream + Unpin + Sized {
    /// Returns the items as an iterator, which waits for each.
    ///
    /// # Panics
    /// Its `next`, as [`Wait::wait`].
    fn iterate(mut self) -> impl Iterator<Item = Self::Item> {
        std::iter::from_fn(move || {
            // A stream may spawn its work when it is first asked.
            RUNTIME.block_on(self.next())
        })
    }
}

impl<S: Stream + Unpin> Iterate for S {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn future_and_stream_are_waited_for_on_this_thread() {
        let numbers = async { futures::stream::iter([1, 2, 3]) }.wait();
        assert_eq!(numbers.iterate().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(async { tokio::spawn(async { 7 }).await.unwrap() }.wait(), 7);
    }
}
