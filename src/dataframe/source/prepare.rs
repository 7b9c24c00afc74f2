//! Measuring a frame, and deciding how its rows are read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions},
    datatypes::{Field, Schema as ArrowSchema},
};
use futures::StreamExt;
use spark_connect::functions;

use super::{
    SourceOptions, SourcePlan, Strategy, files,
    groups::{self, Group, mib},
    kept::{self, KeptRows},
    limits::{self, BatchSizes, Limits},
    measure::{self, RowTally, sum},
    ranges::of_many_values,
    read::{self, Sessions},
    size::row_size,
    state::SessionState,
};
use crate::{
    Error, Result,
    connect::Client,
    dataframe::{DataFrame, Schema, Scratch, column, scratch},
    stream::RecordStream,
};

/// The column of a row's file, while groups are formed.
const PATH: &str = "__tinderbox_path";

/// The rows of a column of more values are not counted value by value.
const MOST_VALUES: u64 = 100_000;

/// Rows looked at before all are measured, where a reader's batches might be too large for the cluster.
const GLANCE: i32 = 32;

/// Bytes that a row is assumed to have for that.
const GLANCE_ROW: u64 = 1 << 20;

/// A source that is ready to be read.
#[derive(Debug)]
pub(super) struct PreparedSource {
    plan: SourcePlan,
    pub(super) groups: Vec<Group>,
    pub(super) in_flight: usize,
    pub(super) sessions: Arc<Sessions>,
    hold: ReleaseOnDrop,
    /// The columns' names, where some are repeated and the groups have others.
    pub(super) names: Option<Vec<String>>,
}

/// Resources on the cluster to release, once.
#[derive(Debug)]
struct ReleaseOnDrop(Mutex<Option<HeldResources>>);

#[derive(Debug)]
struct HeldResources {
    kept: Option<KeptRows>,
    sessions: Arc<Sessions>,
    /// True if the session belongs to the source.
    own_session: bool,
    origin: Client,
}

struct Decision {
    strategy: Strategy,
    reason: String,
    groups: Vec<Group>,
    kept: Option<KeptRows>,
    tally: RowTally,
}

impl PreparedSource {
    pub(super) async fn new(frame: &DataFrame, options: &SourceOptions) -> Result<Self> {
        let origin = frame.client().clone();
        let state = Arc::new(SessionState::of(frame).await?);
        let fork = match origin.version().at_least(4, 1) && !frame.plan.is_session_bound() {
            true => fork(frame, &state).await?,
            false => None,
        };
        let own_session = fork.is_some();
        let client = fork.unwrap_or_else(|| origin.clone());
        let sessions = Arc::new(Sessions::new(client.clone(), frame.clone(), state));
        // From this line on, any failure ends the session.
        let hold = ReleaseOnDrop(Mutex::new(Some(HeldResources {
            kept: None,
            sessions: sessions.clone(),
            own_session,
            origin,
        })));
        let limits = Limits::of(&client, options.cap).await?;
        let mut here = frame.in_session(&client);
        let mut schema = here.schema().await?;
        let names = schema.repeated_name().is_some().then(|| schema.names().map(str::to_owned).collect::<Vec<_>>());
        if let Some(names) = &names {
            // Expressions name columns: each gets a unique name until the rows have arrived.
            let own = names.iter().enumerate().map(|(i, name)| format!("{name}__tinderbox_{i}"));
            here = here.to_df(own);
            schema = here.schema().await?;
        }
        let batches = if own_session { Some(BatchSizes::of(&client).await?) } else { None };
        let deciding = Deciding { frame: &here, schema, batches, limits };
        let Decision { strategy, reason, groups, kept, tally } = deciding.run(&options.strategy).await?;
        if matches!(strategy, Strategy::Persisted) {
            sessions.cannot_be_replaced();
        }
        hold.add(kept);
        if own_session && matches!(strategy, Strategy::Files | Strategy::Staged(_)) {
            limits::one_file_a_task(&client).await?;
        }
        sessions.limit_tasks(limits.task);
        let cap = limits.cap;
        let plan = SourcePlan { strategy, reason, groups: groups.len(), rows: tally.rows, bytes: tally.bytes, cap };
        tracing::info!(
            strategy = ?plan.strategy,
            groups = plan.groups,
            rows = plan.rows,
            size = mib(plan.bytes),
            cap = mib(plan.cap),
            why = plan.reason,
            "reading {}",
            crate::stream::RecordSource::origin(frame),
        );
        Ok(Self { plan, groups, in_flight: options.in_flight, sessions, hold, names })
    }

    /// Returns the session state that the rows depend on.
    pub(super) fn state(&self) -> &SessionState {
        self.sessions.state()
    }

    pub(super) fn plan(&self) -> &SourcePlan {
        &self.plan
    }

    pub(super) async fn stream(self: &Arc<Self>) -> Result<RecordStream> {
        let stream = match (&self.groups[..], &self.plan.strategy) {
            ([group], Strategy::Single) => self.whole(group).await?,
            _ => read::stream(self.groups.clone(), self.sessions.clone(), self.in_flight, self.clone()).await?,
        };
        Ok(match &self.names {
            Some(names) => renamed(stream, names),
            None => stream,
        })
    }

    /// Returns one plan, handed on as it comes.
    async fn whole(self: &Arc<Self>, group: &Group) -> Result<RecordStream> {
        let stream = read::open(group, &self.sessions).await?;
        let keep = self.clone();
        Ok(RecordStream::new(stream.schema().clone(), stream.inspect(move |_| _ = &keep)))
    }

    pub(super) async fn close(&self) -> Result<()> {
        self.hold.release().await
    }
}

impl ReleaseOnDrop {
    fn held(&self) -> MutexGuard<'_, Option<HeldResources>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, kept: Option<KeptRows>) {
        if let Some(held) = &mut *self.held() {
            held.kept = kept;
        }
    }

    async fn release(&self) -> Result<()> {
        let held = self.held().take();
        match held {
            Some(held) => held.release().await,
            None => Ok(()),
        }
    }
}

impl HeldResources {
    async fn release(self) -> Result<()> {
        let client = self.sessions.current().await;
        let released = match self.kept {
            Some(kept) => kept.through(&client).release().await,
            None => Ok(()),
        };
        if self.own_session {
            client.release_session().await?;
        }
        released
    }
}

impl Drop for ReleaseOnDrop {
    fn drop(&mut self) {
        if let Some(held) = self.held().take() {
            let origin = held.origin.clone();
            origin.in_background(async move {
                if let Err(error) = held.release().await {
                    tracing::warn!(%error, "rows that the cluster kept for a source may remain");
                }
            });
        }
    }
}

struct Deciding<'a> {
    frame: &'a DataFrame,
    schema: Schema,
    /// Settings to restore, where the session is the source's own and its settings may be changed.
    batches: Option<BatchSizes>,
    limits: Limits,
}

impl Deciding<'_> {
    async fn run(&self, wanted: &Strategy) -> Result<Decision> {
        if let Strategy::Column(name) = wanted {
            return self.by_column(name).await;
        }
        let by_path = match wanted {
            Strategy::Auto | Strategy::Files => self.by_path().await?,
            _ => None,
        };
        let files = match &by_path {
            Some(frame) => Some(self.measure_files(frame).await?),
            None => None,
        };
        let tally = match &files {
            Some(files) => sum(files.iter().map(|(_, _, tally)| *tally)),
            None => measure::all(self.frame, &self.schema).await?,
        };
        self.suit(&tally).await?;
        let all = format!("{} rows, {}", tally.rows, mib(tally.bytes));
        match (wanted, by_path.zip(files)) {
            (Strategy::Single, _) => Ok(self.single(tally, "as asked".into())),
            (Strategy::Auto, _) if tally.bytes <= self.limits.cap || tally.rows == 0 => {
                Ok(self.single(tally, format!("{all}: under the cap")))
            }
            (Strategy::Auto | Strategy::Files, Some((frame, files))) => {
                let largest = files.iter().map(|(_, _, tally)| tally.bytes).max().unwrap_or_default();
                if largest <= self.limits.cap {
                    let groups = groups::of_files(&frame, PATH, &files, limits::aim(tally.bytes, self.limits.cap));
                    let reason = format!("{all} in {} files that are read row by row", files.len());
                    return Ok(Decision { strategy: Strategy::Files, reason, groups, kept: None, tally });
                }
                let large = format!("a file has {} of rows", mib(largest));
                match wanted {
                    Strategy::Files => {
                        Err(Error::param("strategy", "files", format!("another, or a larger cap: {large}")))
                    }
                    _ => self.kept(tally, format!("{all}, and {large}")).await,
                }
            }
            (Strategy::Files, None) => {
                let legal = "another for this plan: it does not just read files and work row by row";
                Err(Error::param("strategy", "files", legal))
            }
            (Strategy::Staged(place), _) => {
                let (kept, groups) = self.stage(&tally, place).await?;
                let tally = counted(&groups, tally);
                Ok(Decision { strategy: wanted.clone(), reason: all, groups, kept: Some(kept), tally })
            }
            (Strategy::Persisted, _) => self.persisted(tally, all).await,
            _ => self.kept(tally, format!("{all}, not just read from files row by row")).await,
        }
    }

    /// Has the cluster keep the rows: in memory as far as they fit, the rest as files.
    async fn kept(&self, tally: RowTally, reason: String) -> Result<Decision> {
        if tally.bytes <= self.limits.kept {
            return self.persisted(tally, reason).await;
        }
        let staged = async {
            let place = Scratch::Database(scratch::current_database(self.frame).await?);
            Ok::<_, Error>((self.stage(&tally, &place).await?, place))
        };
        match staged.await {
            Ok(((kept, groups), place)) => {
                let tally = counted(&groups, tally);
                let reason = format!("{reason}; more than the cluster's memory keeps");
                let strategy = Strategy::Staged(place);
                Ok(Decision { strategy, reason, groups, kept: Some(kept), tally })
            }
            Err(error) if error.is_refusal() => {
                tracing::info!(%error, "no rows can be staged in the current database; the cluster's storage keeps them");
                self.persisted(tally, reason).await
            }
            Err(error) => Err(error),
        }
    }

    async fn stage(&self, tally: &RowTally, place: &Scratch) -> Result<(KeptRows, Vec<Group>)> {
        kept::stage(self.frame, &self.schema, tally, [self.limits.cap, self.limits.task], place).await
    }

    fn single(&self, tally: RowTally, reason: String) -> Decision {
        let groups = vec![Group { frame: self.frame.clone(), rows: None, tally, files: Vec::new() }];
        Decision { strategy: Strategy::Single, reason, groups, kept: None, tally }
    }

    async fn persisted(&self, tally: RowTally, reason: String) -> Result<Decision> {
        let kept = kept::persist(self.frame, &self.schema, &tally, self.limits.cap).await?;
        let Some((kept, groups)) = kept else {
            tracing::warn!("the server keeps no rows (persist is refused); reading {reason} by one query");
            return Ok(self.single(tally, format!("{reason}; the server keeps no rows")));
        };
        let tally = counted(&groups, tally);
        Ok(Decision { strategy: Strategy::Persisted, reason, groups, kept: Some(kept), tally })
    }

    async fn by_column(&self, name: &str) -> Result<Decision> {
        let field = self.schema.require(name)?.clone();
        self.glance(self.frame).await?;
        let distinct = functions::approx_count_distinct(column(name));
        let distinct = measure::number(&self.frame.agg([distinct])).await?;
        let strategy = Strategy::Column(name.to_owned());
        if distinct > MOST_VALUES {
            let tally = measure::all(self.frame, &self.schema).await?;
            self.suit(&tally).await?;
            let groups = of_many_values(self.frame, &self.schema, &field, distinct, &tally, self.limits.cap).await?;
            let tally = counted(&groups, tally);
            let reason = format!("{} rows, {}; about {distinct} values, as asked", tally.rows, mib(tally.bytes));
            return Ok(Decision { strategy, reason, groups, kept: None, tally });
        }
        let values = measure::by(self.frame, &self.schema, column(name)).await?;
        let tally = sum(values.iter().map(|(_, _, tally)| *tally));
        if tally.rows == 0 {
            return Ok(self.single(tally, "there are no rows".into()));
        }
        self.suit(&tally).await?;
        let groups = groups::of_values(self.frame, &field, &values, self.limits.cap)?;
        let reason = format!("{} rows, {}; {} values, as asked", tally.rows, mib(tally.bytes), values.len());
        Ok(Decision { strategy, reason, groups, kept: None, tally })
    }

    /// Returns the frame with the files' paths, if its plan is of that kind.
    async fn by_path(&self) -> Result<Option<DataFrame>> {
        let Some(frame) = files::with_path(self.frame, PATH) else { return Ok(None) };
        match files::is_row_wise(&frame).await {
            Ok(row_wise) => Ok(row_wise.then_some(frame)),
            // A view, or a source without files.
            Err(Error::Server(error)) => {
                tracing::debug!(%error, "the plan's files are unknown");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn measure_files(&self, frame: &DataFrame) -> Result<Files> {
        self.glance(frame).await?;
        measure::by(frame, &self.schema, column(PATH)).await
    }

    /// Looks at a few rows first, where rows may be so large that the readers' usual batches would kill the cluster.
    async fn glance(&self, frame: &DataFrame) -> Result<()> {
        if self.batches.is_none() || row_size(&self.schema).varying.is_none() {
            return Ok(());
        }
        let cautious = RowTally { rows: 1, bytes: GLANCE_ROW, largest: GLANCE_ROW, ..RowTally::default() };
        self.suit(&cautious).await?;
        let few = measure::few(frame, &self.schema, GLANCE).await?;
        self.suit(&few).await
    }

    async fn suit(&self, rows: &RowTally) -> Result<()> {
        match &self.batches {
            Some(batches) => batches.suit(self.frame.client(), rows).await,
            None => Ok(()),
        }
    }
}

type Files = Vec<(ArrayRef, usize, RowTally)>;

/// With the rows that were in fact kept.
fn counted(groups: &[Group], tally: RowTally) -> RowTally {
    let rows = groups.iter().filter_map(|group| group.rows).sum();
    RowTally { rows, bytes: rows * tally.average(), ..tally }
}

/// Returns the rows with these names for their columns.
fn renamed(stream: RecordStream, names: &[String]) -> RecordStream {
    let fields = stream.schema().fields().iter().zip(names);
    let fields = fields.map(|(field, name)| Field::clone(field).with_name(name)).collect::<Vec<_>>();
    let schema = Arc::new(ArrowSchema::new_with_metadata(fields, stream.schema().metadata().clone()));
    let of = schema.clone();
    let batches = stream.map(move |batch| {
        let batch = batch?;
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(of.clone(), batch.columns().to_vec(), &rows)
            .map_err(|e| Error::arrow("giving columns their names back", e))
    });
    RecordStream::new(schema, batches)
}

/// Returns a copy of the frame's session in which the frame means the same; `None` where there is none.
async fn fork(frame: &DataFrame, state: &SessionState) -> Result<Option<Client>> {
    let fork = match frame.client().fork().await {
        Ok(fork) => fork,
        Err(error) if error.is_refusal() => {
            tracing::debug!(%error, "the server does not copy sessions; reading in the frame's own");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if state.complete_copy(&frame.in_session(&fork)).await? {
        return Ok(Some(fork));
    }
    tracing::info!(
        "the plan depends on what a copy of its session lacks, such as a SQL variable; reading in its own session"
    );
    fork.release_session().await?;
    Ok(None)
}
