//! What the tests share: a server, a database per test, a proxy that misbehaves.

pub mod functions;
mod gate;
mod networks;
mod peers;
mod proxy;
mod pyspark;
pub mod spark_ml;

use std::{
    env,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arrow::array::RecordBatch;
use spark_connect_proto::{self as proto, command::CommandType, plan::OpType};
use tempfile::TempDir;
use tinderbox::{
    Result,
    advanced::{Client, ExecuteOptions},
    connect::{ConnectOptions, LocalSpark, LocalSparkBuilder},
    dataframe::DataFrame,
    session::Session,
};
use tokio::sync::OnceCell;

pub use self::{
    gate::Gate,
    networks::{classes, drawn, fitted, untrained},
    peers::PeerCases,
    proxy::Proxy,
    pyspark::{pyspark, pyspark_connect},
};

/// The connection string of the server that all tests share.
pub async fn remote() -> String {
    match env::var("SPARK_REMOTE") {
        Ok(remote) if !remote.is_empty() => remote,
        _ => shared().await.remote(),
    }
}

/// A server with Python workers. It ends with the process.
async fn shared() -> &'static LocalSpark {
    static SHARED: OnceCell<LocalSpark> = OnceCell::const_new();
    let start =
        || async { LocalSpark::builder().python_workers(true).start().await.expect("a local Spark for the tests") };
    SHARED.get_or_init(start).await
}

/// A server of a test's own, for settings that the shared one does not have.
pub fn own_server() -> LocalSparkBuilder {
    LocalSpark::builder().master("local[2]").driver_memory("600m")
}

/// Sends a signal, such as "KILL", to a process.
pub fn send(signal: &str, pid: u32) {
    let kill = format!("kill -s {signal} {pid}");
    assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
}

/// A session of its own at an address.
pub async fn connect(remote: &str) -> Result<Client> {
    Client::connect(ConnectOptions::new(remote.parse()?)).await
}

/// A session of its own at an address, that gives up soon when the way there is broken.
pub async fn connect_impatiently(remote: &str, patience: Duration) -> Result<Client> {
    let mut options = ConnectOptions::new(remote.parse()?);
    options.connect_timeout = patience;
    options.retry.give_up_after = patience;
    Client::connect(options).await
}

/// A folder of one test's own on the shared server's machines: a temporary one here, or one below `TINDERBOX_TEST_FOLDER`,
/// which the machines of a cluster share, and this one does not.
#[derive(Debug)]
pub struct ServerFolder {
    path: PathBuf,
    /// Removed with it.
    here: Option<TempDir>,
}

impl ServerFolder {
    /// Named after the test function.
    pub fn of(test: &str) -> Self {
        match env::var_os("TINDERBOX_TEST_FOLDER") {
            Some(shared) => {
                let moment = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
                Self { path: Path::new(&shared).join(format!("{test}_{moment}")), here: None }
            }
            None => {
                let here = tempfile::tempdir().unwrap();
                Self { path: here.path().to_owned(), here: Some(here) }
            }
        }
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }

    /// Where it is on this machine, if it is.
    pub fn here(&self) -> Option<&Path> {
        self.here.as_ref().map(TempDir::path)
    }
}

/// A plan that is the query of a SQL text.
pub fn query(text: &str) -> proto::Plan {
    let sql = proto::relation::RelType::Sql(proto::Sql { query: text.to_owned(), ..Default::default() });
    let relation = proto::Relation { rel_type: Some(sql), ..Default::default() };
    proto::Plan { op_type: Some(OpType::Root(relation)) }
}

/// Runs a SQL command to its end.
pub async fn run(client: &Client, text: &str) -> Result<()> {
    let input = match query(text).op_type {
        Some(OpType::Root(relation)) => Some(relation),
        _ => None,
    };
    let sql = CommandType::SqlCommand(proto::SqlCommand { input, ..Default::default() });
    let command = proto::Command { command_type: Some(sql) };
    let plan = proto::Plan { op_type: Some(OpType::Command(command)) };
    client.execute(plan, ExecuteOptions::default()).responses().await.map(drop)
}

/// A database of one test's own, dropped with all its tables when this is.
#[derive(Debug)]
pub struct Database {
    name: String,
    remote: String,
}

/// Makes a fresh database at the shared server, named after the test function; what an earlier run left is dropped.
pub async fn database_for(test: &str) -> Database {
    database_at(&remote().await, test).await
}

/// Makes a fresh database at another server.
pub async fn database_at(remote: &str, test: &str) -> Database {
    let database = Database { name: format!("tinderbox_{test}"), remote: remote.to_owned() };
    let client = connect(&database.remote).await.unwrap();
    run(&client, &format!("DROP DATABASE IF EXISTS {database} CASCADE")).await.unwrap();
    run(&client, &format!("CREATE DATABASE {database}")).await.unwrap();
    client.release_session().await.unwrap();
    database
}

impl Database {
    /// A table's name within it: `database.table`.
    pub fn table(&self, name: &str) -> String {
        format!("{self}.{name}")
    }
}

impl std::fmt::Display for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Drop for Database {
    /// Drops it on a thread of its own: the test may be panicking, and its runtime may not be entered again.
    fn drop(&mut self) {
        let (remote, statement) = (self.remote.clone(), format!("DROP DATABASE IF EXISTS {self} CASCADE"));
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let client = connect(&remote).await?;
                run(&client, &statement).await?;
                client.release_session().await
            })
        });
        match dropped.join() {
            Ok(Ok(())) => {}
            failure => eprintln!("the test's database {self} is left behind: {failure:?}"),
        }
    }
}

/// A session of its own at the shared server.
pub async fn session() -> Session {
    Session::builder().remote(remote().await).create().await.unwrap()
}

/// A session at a server on this machine, whose files this process sees.
pub async fn session_at(server: &LocalSpark) -> Session {
    Session::builder().remote(server.remote()).create().await.unwrap()
}

/// A frame's rows as text, cells separated by bars.
pub async fn rows(frame: &DataFrame) -> Vec<String> {
    use arrow::util::display::array_value_to_string;
    let batches = frame.collect().await.unwrap();
    let row = |batch: &RecordBatch, i| {
        let cells = batch.columns().iter().map(|column| array_value_to_string(column, i).unwrap());
        cells.collect::<Vec<_>>().join("|")
    };
    batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |i| row(batch, i))).collect()
}
