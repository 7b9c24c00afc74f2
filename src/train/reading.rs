//! A stream's rows and the training that they go to, side by side.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, sync_channel},
    },
};

use futures::{
    TryStreamExt,
    future::{Either, select},
};
use tokio::{sync::mpsc, task::spawn_blocking};

use super::feed::{Arrived, Feeder, TrainingBlock};
use crate::{Error, Result, stream::RecordStream};

/// Reads a stream through `feeder` while `train` takes its blocks, each on a separate blocking thread.
/// Dropping the future sets the flag that `train` is given, and ends the reading at the next batch.
pub(super) async fn read_and_train<T, F>(stream: RecordStream, feeder: Feeder, train: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce(Receiver<Result<TrainingBlock>>, &AtomicBool) -> Result<T> + Send + 'static,
{
    let (arrived, arriving) = mpsc::channel(2);
    let (out, blocks) = sync_channel(1);
    let feeding = spawn_blocking(move || feeder.run(arriving, out));
    let cancel = CancelOnDrop::default();
    let cancelled = cancel.0.clone();
    let training = spawn_blocking(move || train(blocks, &cancelled));
    let joined = match select(pin!(pump(stream, arrived)), training).await {
        Either::Left(((), training)) => training.await,
        Either::Right((joined, _pump)) => joined,
    };
    let trained = joined.unwrap_or_else(|e| ended(e, "training"));
    // A feeder that panicked has hung up on the training thread; its panic says why.
    if let (Err(Error::Cancelled { .. }), Err(e)) = (&trained, feeding.await) {
        ended::<()>(e, "reading")?;
    }
    trained
}

/// Passes on the stream's batches, until it ends or the receiver is gone.
async fn pump(mut stream: RecordStream, arrived: mpsc::Sender<Result<Arrived>>) {
    loop {
        let next = match stream.try_next().await {
            Ok(Some(batch)) => Ok(Arrived::Batch(batch)),
            Ok(None) => Ok(Arrived::Complete),
            Err(error) => Err(error),
        };
        let last = !matches!(next, Ok(Arrived::Batch(_)));
        if arrived.send(next).await.is_err() || last {
            return;
        }
    }
}

/// Returns the rows stopped coming without an end or an error: whoever asked for them is gone.
pub(super) fn reading_ended() -> Error {
    Error::Cancelled { what: "training, before all rows had arrived".into() }
}

/// Resumes a thread's panic; a runtime that ended cancelled the work.
fn ended<T>(e: tokio::task::JoinError, what: &str) -> Result<T> {
    if e.is_panic() {
        std::panic::resume_unwind(e.into_panic());
    }
    Err(Error::Cancelled { what: format!("{what}, by the end of the runtime") })
}

/// Tells the training thread to stop when the future that waits for it is dropped.
#[derive(Default)]
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
