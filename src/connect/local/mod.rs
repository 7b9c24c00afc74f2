//! A private Spark on this machine, for development, tests and small data.
//!
//! [`LocalSpark`] finds a Spark and a Java (or installs the Spark into the user's cache, once), starts a Connect server
//! on a free port of the loopback address, and stops it however the process that started it ends.

mod archive;
mod find;
mod install;
mod memory;
mod server;
#[cfg(test)]
mod tests;
mod workers;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tokio::sync::Mutex;
use tracing::info;

use self::{
    find::{Java, SparkHome, SparkSearch},
    server::{ClassArchive, Launch, Server},
};
use crate::{Error, Result};

/// The release of Spark that is installed when there is none; `TINDERBOX_SPARK_VERSION` names another.
pub const DEFAULT_SPARK_VERSION: &str = "4.2.1";

/// A running Spark Connect server that belongs to this process.
///
/// It listens on 127.0.0.1 only and keeps everything it writes (warehouse, shuffle files, artifacts, log) in one
/// temporary folder. Its catalog is in memory: a Derby metastore would cost a second of start and allow one server per
/// folder, and tables are not meant to outlive this server.
///
/// The server and its folder go when the value is dropped or [stopped](Self::stop), and also when the process ends in
/// any other way: return, panic, Ctrl-C, SIGTERM, SIGKILL.
///
/// ```no_run
/// # async fn run() -> tinderbox::Result<()> {
/// use tinderbox::connect::LocalSpark;
///
/// let spark = LocalSpark::builder().master("local[2]").conf("spark.sql.shuffle.partitions", "4").start().await?;
/// println!("Spark {} at {}", spark.version(), spark.remote());
/// spark.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LocalSpark {
    server: Server,
    home: SparkHome,
}

impl LocalSpark {
    /// Returns the folder in which installed Sparks are kept unless another is set: `TINDERBOX_CACHE`, else
    /// `$XDG_CACHE_HOME/tinderbox`, else `~/.cache/tinderbox`. `None` for a user without a home.
    pub fn default_cache_dir() -> Option<PathBuf> {
        find::cache_from_env()
    }

    /// Returns a server with default settings; see [`LocalSparkBuilder`] for what can be changed.
    pub fn builder() -> LocalSparkBuilder {
        LocalSparkBuilder::default()
    }

    /// Returns the one server that all of this process shares, started with default settings on the first call.
    ///
    /// It lives until the process ends. A start that fails is tried again by the next call.
    ///
    /// # Errors
    /// As [`LocalSparkBuilder::start`].
    pub async fn shared() -> Result<&'static LocalSpark> {
        static SHARED: Mutex<Option<&'static LocalSpark>> = Mutex::const_new(None);
        let mut shared = SHARED.lock().await;
        match *shared {
            Some(spark) if spark.server.exit_status().is_none() => Ok(spark),
            // None yet, or one that died. It is never dropped: the watchdog ends it with the process.
            _ => Ok(*shared.insert(Box::leak(Box::new(LocalSpark::builder().start().await?)))),
        }
    }

    /// Returns the connection string: `sc://127.0.0.1:PORT`.
    pub fn remote(&self) -> String {
        format!("sc://{}", self.server.address())
    }

    /// Returns the address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns the Spark release, such as "4.2.1".
    pub fn version(&self) -> &str {
        &self.home.version
    }

    /// Returns the folder of the Spark that runs.
    pub fn spark_home(&self) -> &Path {
        &self.home.path
    }

    /// Returns the process id of the server's JVM.
    pub fn process_id(&self) -> u32 {
        self.server.process_id()
    }

    /// Returns the folder that holds all the server writes, with its log in `spark.log`; gone when the server is.
    pub fn folder(&self) -> &Path {
        self.server.folder()
    }

    /// Stops the server and removes its folder, as a drop does, without blocking the async runtime meanwhile.
    ///
    /// Once called, the server goes even if the returned future is dropped.
    pub async fn stop(self) {
        // A task that panicked has dropped the server all the same.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

/// Settings of a [`LocalSpark`].
///
/// | setting | default |
/// |---|---|
/// | `spark_home` | `SPARK_HOME`; else the cache; else the `pyspark` (4.0 or later) that `python3` imports; else installed into the cache |
/// | `master` | `local[*]` |
/// | `conf` | see [`conf`](Self::conf) |
/// | `driver_memory` | a quarter of the machine's memory, at least 1 GiB and at most 8 |
/// | `cache_dir` | `TINDERBOX_CACHE`, else `$XDG_CACHE_HOME/tinderbox`, else `~/.cache/tinderbox` |
/// | `start_timeout` | 120 s, an installation not counted |
///
/// `TINDERBOX_SPARK_VERSION` asks for one exact release, wherever it is found. Java 17 or later comes from `JAVA_HOME`,
/// the `PATH` or the system's folder of Java installations, in this order.
#[derive(Debug, Clone)]
pub struct LocalSparkBuilder {
    spark_home: Option<PathBuf>,
    master: String,
    conf: BTreeMap<String, String>,
    driver_memory: String,
    cache_dir: Option<PathBuf>,
    start_timeout: Duration,
    python_workers: bool,
    python: Option<PathBuf>,
}

impl Default for LocalSparkBuilder {
    fn default() -> Self {
        Self {
            spark_home: None,
            master: "local[*]".into(),
            conf: BTreeMap::new(),
            driver_memory: memory::default_heap(),
            cache_dir: None,
            start_timeout: Duration::from_secs(120),
            python_workers: false,
            python: None,
        }
    }
}

impl LocalSparkBuilder {
    /// Sets the Spark to run: a folder with `bin/spark-submit` and the Connect jar in `jars/`.
    pub fn spark_home(mut self, path: impl Into<PathBuf>) -> Self {
        self.spark_home = Some(path.into());
        self
    }

    /// Sets Spark's master, such as `local[2]` or `spark://host:7077`.
    pub fn master(mut self, master: impl Into<String>) -> Self {
        self.master = master.into();
        self
    }

    /// Sets a configuration property of the server; the last value of a key wins.
    ///
    /// These stand over the ones that keep the server private: the ports and addresses it binds, its folders,
    /// `spark.ui.enabled=false`, `spark.sql.catalogImplementation=in-memory`, and
    /// `spark.driver.defaultJavaOptions`, which also sends the log to the folder.
    pub fn conf(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.conf.insert(key.into(), value.into());
        self
    }

    /// Sets the JVM's heap, in Spark's notation, such as `2g`. In local mode the executor lives in it too.
    pub fn driver_memory(mut self, size: impl Into<String>) -> Self {
        self.driver_memory = size.into();
        self
    }

    /// Sets the folder that an installed Spark is kept in.
    pub fn cache_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.cache_dir = Some(path.into());
        self
    }

    /// Runs Python functions in an environment with numpy and pyarrow, which networks scored on the cluster need;
    /// not unless set. The environment is made in the cache when it is first needed (250 MB).
    pub fn python_workers(mut self, wanted: bool) -> Self {
        self.python_workers = wanted;
        self
    }

    /// Sets the interpreter of Python functions, in place of the one that [`python_workers`](Self::python_workers) or
    /// the environment (`PYSPARK_PYTHON`) gives.
    pub fn python(mut self, interpreter: impl Into<PathBuf>) -> Self {
        self.python = Some(interpreter.into());
        self
    }

    /// Sets the time limit for the server's first answer.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// Finds Spark and Java, installs Spark if there is none (with progress on standard error), starts the server and
    /// waits until it answers.
    ///
    /// Dropping the future stops what was started; an installation under way is finished, for the next time.
    ///
    /// # Errors
    /// [`Error::LocalSpark`] when no Spark or Java can be used, the installation fails, or the server ends or stays
    /// silent until the timeout; it holds the end of the server's log.
    pub async fn start(self) -> Result<LocalSpark> {
        let began = Instant::now();
        let search = SparkSearch::from_env(self.spark_home, self.cache_dir);
        let (with_workers, interpreter) = (self.python_workers, self.python);
        let locate = move || {
            let (home, java) = locate(&search)?;
            let python = match interpreter {
                Some(python) => Some(python),
                None => with_workers.then(|| workers::install(&search)).transpose()?,
            };
            Ok::<_, Error>((home, java, python))
        };
        let (home, java, python) = tokio::task::spawn_blocking(locate)
            .await
            .map_err(|e| failed(format!("the search for Spark broke off: {e}")))??;
        info!(spark = %home.path.display(), version = home.version, java = java.version, "found Spark and Java");

        let archive = archive::archive(&home, &java).await?;
        let launch = Launch {
            home: &home,
            python: python.as_deref(),
            java: &java,
            master: &self.master,
            driver_memory: &self.driver_memory,
            conf: &self.conf,
            archive: archive.as_deref().map(ClassArchive::Use),
            timeout: self.start_timeout,
        };
        let server = launch.start().await?;
        info!(address = %server.address(), pid = server.process_id(), took = ?began.elapsed(), "started a local Spark");
        Ok(LocalSpark { server, home })
    }
}

/// Returns the Java first: without one, half a gigabyte of Spark is of no use.
fn locate(search: &SparkSearch) -> Result<(SparkHome, Java)> {
    let java = search.java()?;
    let home = match search.spark()? {
        Some(home) => home,
        None => install::install(search)?,
    };
    Ok((home, java))
}

fn failed(reason: impl Into<String>) -> Error {
    Error::LocalSpark { reason: reason.into(), log: String::new() }
}
