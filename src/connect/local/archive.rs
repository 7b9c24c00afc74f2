//! An archive of the classes that a Spark server loads, which more than halves the time to start and to first answers.
//!
//! The JVM writes one when a server with that flag ends (JEP 350), and checks itself that it fits whenever it is
//! used. It is made once per Java, and only for a Spark that tinderbox installed: other folders may change.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use futures::TryStreamExt;
use spark_connect_proto::{Plan, Relation, Sql, plan::OpType, relation::RelType};
use tokio::time::sleep;
use tracing::{info, warn};

use super::{
    failed,
    find::{Java, SparkHome},
    install::{lock, say},
    server::{ClassArchive, Launch},
};
use crate::{
    Error, Result,
    connect::{Client, ConnectOptions, ExecuteOptions},
};

/// Work that loads the usual classes before they are archived: a table, a shuffle, a sort, a join, results as Arrow.
const EXERCISE: [&str; 4] = [
    "CREATE TABLE exercise USING parquet AS SELECT id, id % 7 AS k, concat('x', id) AS x, array(float(id)) AS v FROM range(999)",
    "SELECT k, count(*), avg(id), max(x), collect_list(v) FROM exercise WHERE x LIKE '%1%' GROUP BY k ORDER BY k",
    "SELECT a.id, b.v, row_number() OVER (PARTITION BY a.k ORDER BY b.x) FROM exercise a JOIN exercise b ON a.id = b.k",
    "DROP TABLE exercise",
];

/// Time limit of the JVM for writing the archive as it ends: seconds, or minutes where the machine is busy.
const WRITING: Duration = Duration::from_secs(300);

/// Returns the archive for this Spark under this Java, made if missing; `None` where there cannot be one.
///
/// A Java that cannot make one leaves an empty file, so that it is tried once and the server starts all the same.
pub(super) async fn archive(home: &SparkHome, java: &Java) -> Result<Option<PathBuf>> {
    let Some(folder) = &home.installation else { return Ok(None) };
    let file = folder.join(format!("classes-{}.jsa", java.build.replace(|c: char| !c.is_ascii_alphanumeric(), "-")));
    if !file.exists() {
        let cache = folder.parent().unwrap_or(folder).to_owned();
        let _lock = tokio::task::spawn_blocking(move || lock(&cache))
            .await
            .map_err(|e| failed(format!("waiting for the cache broke off: {e}")))??;
        if !file.exists() {
            say("preparing Spark for a fast start (once, 20 s)");
            let partial = file.with_extension("partial");
            if let Err(error) = make(home, java, &partial).await {
                warn!(%error, "could not archive Spark's classes; it will start slower");
                fs::write(&partial, "").map_err(|e| Error::io(&partial, e))?;
            }
            fs::rename(&partial, &file).map_err(|e| Error::io(&file, e))?;
        }
    }
    let usable = fs::metadata(&file).is_ok_and(|meta| meta.len() > 0);
    Ok(usable.then_some(file))
}

/// Runs a server that writes the archive as it ends.
async fn make(home: &SparkHome, java: &Java, file: &Path) -> Result<()> {
    let began = Instant::now();
    let launch = Launch {
        home,
        python: None,
        java,
        master: "local[2]",
        driver_memory: "1g",
        conf: &Default::default(),
        archive: Some(ClassArchive::Write(file)),
        timeout: super::LocalSparkBuilder::default().start_timeout,
    };
    let server = launch.start().await?;
    exercise(&format!("sc://{}", server.address())).await?;

    // Asked to end, the JVM writes; dropped, the server is killed.
    server.terminate()?;
    let deadline = Instant::now() + WRITING;
    while server.exit_status().is_none() {
        if Instant::now() > deadline {
            return Err(server.failure(format!("the server still ran {WRITING:.0?} after the request to end")));
        }
        sleep(Duration::from_millis(50)).await;
    }
    if !file.exists() {
        return Err(server.failure("the Java wrote no archive of classes".into()));
    }
    info!(archive = %file.display(), took = ?began.elapsed(), "archived Spark's classes");
    Ok(())
}

async fn exercise(remote: &str) -> Result<()> {
    let client = Client::connect(ConnectOptions::new(remote.parse()?)).await?;
    for text in EXERCISE {
        let sql = RelType::Sql(Sql { query: text.into(), ..Default::default() });
        let relation = Relation { rel_type: Some(sql), ..Default::default() };
        let plan = Plan { op_type: Some(OpType::Root(relation)) };
        client.execute(plan, ExecuteOptions::default()).try_for_each(|_| std::future::ready(Ok(()))).await?;
    }
    client.release_session().await
}
