//! Groups read one after the other, the next already under way; what breaks is read again, from its group's beginning.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::{sync::Mutex, task::JoinHandle};

use super::{groups::Group, pieces, state::SessionState};
use crate::{Error, Result, connect::Client, dataframe::DataFrame, stream::RecordStream};

/// Largest number of attempts for one group.
const ATTEMPTS: u32 = 5;

/// Groups that fail are cut into smaller tasks, down to these bytes.
const SMALLEST_TASK: u64 = 256 << 10;

/// Time before a group is tried again, growing with every attempt.
const PAUSE: Duration = Duration::from_millis(300);

/// The session that groups are read in, and its successors.
#[derive(Debug)]
pub(super) struct Sessions {
    current: Mutex<Client>,
    /// True if only this session can read the groups.
    bound: AtomicBool,
    /// Bytes of rows that one task gives at most.
    task: AtomicU64,
    /// The frame that is read, and what it depends on in its session.
    frame: DataFrame,
    state: Arc<SessionState>,
}

impl Sessions {
    pub(super) fn new(client: Client, frame: DataFrame, state: Arc<SessionState>) -> Self {
        Self {
            current: Mutex::new(client),
            bound: AtomicBool::new(false),
            task: AtomicU64::new(u64::MAX),
            frame,
            state,
        }
    }

    pub(super) fn state(&self) -> &SessionState {
        &self.state
    }

    /// From now on a lost session is the end.
    pub(super) fn cannot_be_replaced(&self) {
        self.bound.store(true, Ordering::Relaxed);
    }

    /// Has groups be cut into tasks that give so many bytes at most.
    pub(super) fn limit_tasks(&self, bytes: u64) {
        self.task.store(bytes, Ordering::Relaxed);
    }

    /// Returns the group as a frame of a session, cut into small tasks.
    fn frame(&self, group: &Group, client: &Client) -> DataFrame {
        pieces::cut(&group.frame.in_session(client), &group.tally, self.task.load(Ordering::Relaxed))
    }

    pub(super) async fn current(&self) -> Client {
        self.current.lock().await.clone()
    }

    /// Makes up for what a failure took; gives the failure back when nothing can.
    async fn recover(&self, failed: &Client, error: Error) -> Result<()> {
        match &error {
            Error::Incomplete { .. } => Ok(()),
            // Spark has no error condition for a result that was lost, an executor that died, or too large a result.
            Error::Server(failed) if failed.class.is_empty() && !failed.is_refused_plan() => {
                let task = self.task.load(Ordering::Relaxed);
                if task <= SMALLEST_TASK {
                    return Err(error);
                }
                self.limit_tasks((task / 4).max(SMALLEST_TASK));
                Ok(())
            }
            error if error.is_session_lost() && !self.bound.load(Ordering::Relaxed) => {
                let mut current = self.current.lock().await;
                if current.session_id() == failed.session_id() {
                    let renewed = failed.renewed().await?;
                    if !self.state.restore(&self.frame.in_session(&renewed)).await? {
                        return Err(changed_meaning(error));
                    }
                    *current = renewed;
                }
                Ok(())
            }
            _ if error.is_session_lost() => Err(Error::KeptRowsLost { source: Box::new(error) }),
            _ => Err(error),
        }
    }
}

/// Returns the error for a plan that means something else, or nothing, after its session was lost.
pub(super) fn changed_meaning(lost: &Error) -> Error {
    Error::Incomplete {
        operation: "reading groups".into(),
        reason: format!(
            "the session was lost ({lost}), and with it what the rows come from: a temporary view, a SQL variable or a \
             function; create it again and start over"
        ),
    }
}

/// All rows of one group.
pub(crate) type GroupRows = (SchemaRef, Vec<RecordBatch>);

/// Reads the groups in order, `in_flight` at a time; each is handed on when it is complete and counted. A group comes
/// with its place among all.
pub(super) fn whole_groups(
    groups: Vec<(usize, Group)>,
    total: usize,
    sessions: Arc<Sessions>,
    in_flight: usize,
) -> impl Stream<Item = Result<GroupRows>> + Send {
    let tasks = groups.into_iter().map(move |(at, group)| {
        let sessions = sessions.clone();
        AbortOnDrop(tokio::spawn(async move { read(&group, &sessions, at, total).await }))
    });
    futures::stream::iter(tasks).buffered(in_flight)
}

/// Returns the rows of all groups in one stream, which holds `keep` until it ends.
pub(super) async fn stream<K: Send + Sync + 'static>(
    groups: Vec<Group>,
    sessions: Arc<Sessions>,
    in_flight: usize,
    keep: K,
) -> Result<RecordStream> {
    let total = groups.len();
    let groups = groups.into_iter().enumerate().collect();
    let mut groups = Box::pin(whole_groups(groups, total, sessions, in_flight));
    let Some((schema, first)) = groups.try_next().await? else {
        return Err(Error::Incomplete { operation: "reading groups".into(), reason: "there is no group".into() });
    };
    let expected = schema.clone();
    let rest = groups.and_then(move |(found, batches)| {
        let same = if found == expected { Ok(batches) } else { Err(changed(&expected, &found)) };
        std::future::ready(same)
    });
    let batches = futures::stream::once(std::future::ready(Ok(first))).chain(rest);
    let batches = batches.map_ok(|batches| futures::stream::iter(batches.into_iter().map(Ok))).try_flatten();
    Ok(RecordStream::new(schema, batches.inspect(move |_| _ = &keep)))
}

fn changed(expected: &SchemaRef, found: &SchemaRef) -> Error {
    Error::Incomplete {
        operation: "reading groups".into(),
        reason: format!("the columns changed meanwhile: from {expected:?} to {found:?}"),
    }
}

/// Returns the stream of one group, as it comes: what breaks before it begins is tried again.
pub(super) async fn open(group: &Group, sessions: &Sessions) -> Result<RecordStream> {
    again(sessions, "1 of 1", |client| {
        let frame = sessions.frame(group, &client);
        async move { frame.stream().await }
    })
    .await
}

async fn read(group: &Group, sessions: &Sessions, at: usize, total: usize) -> Result<GroupRows> {
    let name = format!("{} of {total}", at + 1);
    again(sessions, &name, |client| collect(sessions.frame(group, &client), group.rows, name.clone())).await
}

/// Tries, and tries again, as long as there is hope.
async fn again<T, F>(sessions: &Sessions, group: &str, work: impl Fn(Client) -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut attempt = 1;
    loop {
        let client = sessions.current().await;
        let error = match work(client.clone()).await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if attempt == ATTEMPTS {
            return Err(error);
        }
        let reason = error.to_string();
        sessions.recover(&client, error).await?;
        tracing::warn!(group, attempt, reason, "a group of rows broke off; reading it again");
        tokio::time::sleep(PAUSE * attempt).await;
        attempt += 1;
    }
}

async fn collect(frame: DataFrame, expected: Option<u64>, name: String) -> Result<GroupRows> {
    let stream = frame.stream().await?;
    let schema = stream.schema().clone();
    let batches: Vec<_> = stream.try_filter(|batch| std::future::ready(batch.num_rows() > 0)).try_collect().await?;
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    match expected {
        Some(counted) if counted != rows as u64 => {
            Err(Error::RowsLost { step: format!("reading group {name}"), expected: counted, found: rows as u64 })
        }
        _ => Ok((schema, batches)),
    }
}

/// A task that ends with its handle.
struct AbortOnDrop<T>(JoinHandle<Result<T>>);

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let outcome = std::task::ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(outcome.unwrap_or_else(|_| Err(Error::Cancelled { what: "reading a group of rows".into() })))
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
