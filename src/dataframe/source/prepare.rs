//! Measuring a frame, and deciding how its rows are read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::ArrayRef;
use futures::StreamExt;
use spark_connect::functions;

use super::{
    SourceOptions, SourcePlan, Strategy, files,
    groups::{self, Group, mib},
    kept::{self, Kept},
    limits,
    measure::{self, Tally},
    ranges::of_many_values,
    read::{self, Sessions},
    size::row_size,
};
use crate::{
    Error, Result,
    connect::Client,
    dataframe::{DataFrame, Schema, column},
    stream::RecordStream,
};

/// The column of a row's file, while groups are formed.
const PATH: &str = "__tinderbox_path";

/// The rows of a column of more values are not counted value by value.
const MOST_VALUES: u64 = 100_000;

/// Rows looked at before all are measured, where a reader's batches might be too large for the cluster.
const GLANCE: i32 = 32;

/// What a row is taken to have for that.
const GLANCE_ROW: u64 = 1 << 20;

/// A source that is ready to be read.
#[derive(Debug)]
pub(super) struct Prepared {
    plan: SourcePlan,
    groups: Vec<Group>,
    in_flight: usize,
    sessions: Arc<Sessions>,
    hold: Hold,
}

/// What is to be let go of on the cluster, once.
#[derive(Debug)]
struct Hold(Mutex<Option<Held>>);

#[derive(Debug)]
struct Held {
    kept: Option<Kept>,
    sessions: Arc<Sessions>,
    /// Whether the session is the source's own.
    own_session: bool,
    origin: Client,
}

struct Decision {
    strategy: Strategy,
    reason: String,
    groups: Vec<Group>,
    kept: Option<Kept>,
    tally: Tally,
}

impl Prepared {
    pub(super) async fn new(frame: &DataFrame, options: &SourceOptions) -> Result<Self> {
        let origin = frame.client().clone();
        let own_session = origin.version().at_least(4, 1) && !is_bound_to_session(frame);
        let client = if own_session { origin.fork().await? } else { origin.clone() };
        let sessions = Arc::new(Sessions::new(client.clone()));
        // From here on, whatever fails, the session is ended.
        let hold = Hold(Mutex::new(Some(Held { kept: None, sessions: sessions.clone(), own_session, origin })));
        let cap = match options.cap {
            Some(cap) => cap,
            None => limits::cap(&client).await?,
        };
        let here = frame.in_session(&client);
        let schema = here.schema().await?;
        let deciding = Deciding { frame: &here, schema, own_session, cap };
        let Decision { strategy, reason, groups, kept, tally } = deciding.run(&options.strategy).await?;
        if matches!(strategy, Strategy::Persisted) {
            sessions.cannot_be_replaced();
        }
        hold.add(kept);
        let plan = SourcePlan { strategy, reason, groups: groups.len(), rows: tally.rows, bytes: tally.bytes, cap };
        tracing::info!(
            strategy = ?plan.strategy,
            groups = plan.groups,
            rows = plan.rows,
            size = mib(plan.bytes),
            cap = mib(plan.cap),
            why = plan.reason,
            "reading {}",
            crate::stream::RecordSource::describe(frame),
        );
        Ok(Self { plan, groups, in_flight: options.in_flight, sessions, hold })
    }

    pub(super) fn plan(&self) -> &SourcePlan {
        &self.plan
    }

    pub(super) async fn stream(self: &Arc<Self>) -> Result<RecordStream> {
        if let ([group], Strategy::Single) = (&self.groups[..], &self.plan.strategy) {
            return self.whole(group).await;
        }
        read::stream(self.groups.clone(), self.sessions.clone(), self.in_flight, self.clone()).await
    }

    /// One plan, handed on as it comes.
    async fn whole(self: &Arc<Self>, group: &Group) -> Result<RecordStream> {
        let stream = read::open(group, &self.sessions).await?;
        let keep = self.clone();
        Ok(RecordStream::new(stream.schema().clone(), stream.inspect(move |_| _ = &keep)))
    }

    pub(super) async fn close(&self) -> Result<()> {
        self.hold.release().await
    }
}

impl Hold {
    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, kept: Option<Kept>) {
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

impl Held {
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

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(held) = self.held().take() {
            let origin = held.origin.clone();
            origin.in_background(async move {
                if let Err(error) = held.release().await {
                    tracing::warn!(%error, "what the cluster kept for a source may still be there");
                }
            });
        }
    }
}

struct Deciding<'a> {
    frame: &'a DataFrame,
    schema: Schema,
    own_session: bool,
    cap: u64,
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
            (Strategy::Auto, _) if tally.bytes <= self.cap || tally.rows == 0 => {
                Ok(self.single(tally, format!("{all}: under the cap")))
            }
            (Strategy::Auto | Strategy::Files, Some((frame, files))) => {
                let largest = files.iter().map(|(_, _, tally)| tally.bytes).max().unwrap_or_default();
                if largest <= self.cap {
                    let groups = groups::of_files(&frame, PATH, &files, limits::aim(tally.bytes, self.cap));
                    let reason = format!("{all} in {} files that are read row by row", files.len());
                    return Ok(Decision { strategy: Strategy::Files, reason, groups, kept: None, tally });
                }
                let large = format!("a file has {} of rows", mib(largest));
                match wanted {
                    Strategy::Files => {
                        Err(Error::param("strategy", "files", format!("another, or a larger cap: {large}")))
                    }
                    _ => self.persisted(tally, format!("{all}, and {large}")).await,
                }
            }
            (Strategy::Files, None) => {
                let legal = "another for this plan: it does not just read files and work row by row";
                Err(Error::param("strategy", "files", legal))
            }
            (Strategy::Staged(place), _) => {
                let (kept, groups) = kept::stage(self.frame, &self.schema, &tally, self.cap, place).await?;
                let tally = counted(&groups, tally);
                Ok(Decision { strategy: wanted.clone(), reason: all, groups, kept: Some(kept), tally })
            }
            _ => self.persisted(tally, format!("{all}, not just read from files row by row")).await,
        }
    }

    fn single(&self, tally: Tally, reason: String) -> Decision {
        let groups = vec![Group { frame: self.frame.clone(), rows: None, bytes: tally.bytes }];
        Decision { strategy: Strategy::Single, reason, groups, kept: None, tally }
    }

    async fn persisted(&self, tally: Tally, reason: String) -> Result<Decision> {
        let (kept, groups) = kept::persist(self.frame, &self.schema, &tally, self.cap).await?;
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
            let groups = of_many_values(self.frame, &self.schema, &field, distinct, &tally, self.cap).await?;
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
        let groups = groups::of_values(self.frame, &field, &values, self.cap)?;
        let reason = format!("{} rows, {}; {} values, as asked", tally.rows, mib(tally.bytes), values.len());
        Ok(Decision { strategy, reason, groups, kept: None, tally })
    }

    /// The frame with the files' paths, if its plan is of that kind.
    async fn by_path(&self) -> Result<Option<DataFrame>> {
        let Some(frame) = files::with_path(self.frame, PATH) else { return Ok(None) };
        match files::is_row_wise(&frame).await {
            Ok(row_wise) => Ok(row_wise.then_some(frame)),
            // A view, or a source without files.
            Err(Error::Server(error)) => {
                tracing::debug!(%error, "the plan's files cannot be told");
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
        if !self.own_session || row_size(&self.schema).varying.is_none() {
            return Ok(());
        }
        let cautious = Tally { rows: 1, bytes: GLANCE_ROW, largest: GLANCE_ROW };
        limits::suit(frame.client(), &cautious).await?;
        let few = measure::few(frame, &self.schema, GLANCE).await?;
        self.suit(&few).await
    }

    async fn suit(&self, rows: &Tally) -> Result<()> {
        if self.own_session { limits::suit(self.frame.client(), rows).await } else { Ok(()) }
    }
}

type Files = Vec<(ArrayRef, usize, Tally)>;

fn sum(tallies: impl Iterator<Item = Tally>) -> Tally {
    tallies.fold(Tally::default(), |mut sum, tally| {
        sum.add(tally);
        sum
    })
}

/// With the rows that were in fact kept.
fn counted(groups: &[Group], tally: Tally) -> Tally {
    let rows = groups.iter().filter_map(|group| group.rows).sum();
    Tally { rows, bytes: rows * tally.average(), ..tally }
}

/// Whether the plan has parts that only its own session has.
fn is_bound_to_session(frame: &DataFrame) -> bool {
    let plan = format!("{:?}", frame.relation());
    // A copy of a session lacks the uploads that chunked and other cached local relations name.
    ["MlRelation(", "CachedRemoteRelation", "CachedLocalRelation"].iter().any(|part| plan.contains(part))
}
