//! One Connect server process: launched under a watchdog, awaited, ended.

use std::{
    collections::BTreeMap,
    env, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout_at},
};
use uuid::Uuid;

use super::{
    failed,
    find::{Java, SparkHome},
};
use crate::{Error, Result};

/// Ends the server when this process ends, however it does.
const WATCHDOG: &str = include_str!("watchdog.sh");

/// Warnings, and the one line that names the port: the log of a long day stays small.
const LOGGING: &str = "\
status = error
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
logger.server.name = org.apache.spark.sql.connect.service.SparkConnectServer
logger.server.level = info
appender.out.type = Console
appender.out.name = out
appender.out.target = SYSTEM_ERR
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss} %p %c{1}: %m%n%ex
";

/// Lines of the log that an error repeats.
const LOG_TAIL: usize = 30;

/// Interval at which the log is read while the server starts.
const POLL: Duration = Duration::from_millis(20);

/// First bytes of an HTTP/2 client: the preface and an empty SETTINGS frame.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Use of an archive of classes by the JVM.
#[derive(Debug, Clone, Copy)]
pub(super) enum ClassArchive<'a> {
    Use(&'a Path),
    /// Written as the JVM exits.
    Write(&'a Path),
}

/// All that a start needs.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    pub(super) home: &'a SparkHome,
    /// The Python of its workers; that of the environment or of the installation unless given.
    pub(super) python: Option<&'a Path>,
    pub(super) java: &'a Java,
    pub(super) master: &'a str,
    pub(super) driver_memory: &'a str,
    pub(super) conf: &'a BTreeMap<String, String>,
    pub(super) archive: Option<ClassArchive<'a>>,
    pub(super) timeout: Duration,
}

impl Launch<'_> {
    /// Starts the server and waits until it answers.
    pub(super) async fn start(&self) -> Result<Server> {
        let deadline = Instant::now() + self.timeout;
        let mut server = Server::spawn(|folder| self.command(folder))?;
        server.address = loop {
            if let Some(address) = announced(&server.log()) {
                break address;
            }
            if let Some(status) = server.exit_status() {
                return Err(server.failure(format!("the server ended while it started (status {status})")));
            }
            if Instant::now() >= deadline {
                return Err(server.failure(format!("the server was not up after {:.0?}", self.timeout)));
            }
            sleep(POLL).await;
        };
        match timeout_at(deadline, greet(server.address)).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(server.failure(format!("the server at {} does not speak: {e}", server.address))),
            Err(_) => {
                let reason = format!("the server at {} was silent for {:.0?}", server.address, self.timeout);
                return Err(server.failure(reason));
            }
        }
        server.process_id = server.read("pid").parse().unwrap_or_default();
        Ok(server)
    }

    fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", WATCHDOG, "tinderbox-spark"]).arg(folder);
        command.arg(self.home.path.join("bin/spark-submit"));
        command.args(["--master", self.master, "--driver-memory", self.driver_memory]);
        command.args(["--class", "org.apache.spark.sql.connect.service.SparkConnectServer"]);
        for (key, value) in self.properties(folder) {
            command.arg("--conf").arg(format!("{key}={value}"));
        }
        command.arg("spark-internal");

        command.env("SPARK_HOME", &self.home.path).env("JAVA_HOME", &self.java.home);
        command.env("SPARK_LOCAL_IP", "127.0.0.1").env("SPARK_LOCAL_DIRS", folder.join("local"));
        let found = || self.home.python.as_deref().filter(|_| env::var_os("PYSPARK_PYTHON").is_none());
        if let Some(python) = self.python.or_else(found) {
            command.env("PYSPARK_PYTHON", python);
        }
        // These speak to clients, or would have the server require a token that this process does not know.
        for name in ["SPARK_REMOTE", "SPARK_CONNECT_MODE", "SPARK_CONNECT_AUTHENTICATE_TOKEN"] {
            command.env_remove(name);
        }
        command
    }

    /// Returns the caller's properties over those that keep the server private.
    fn properties(&self, folder: &Path) -> BTreeMap<String, String> {
        let within = |name: &str| folder.join(name).display().to_string();
        let java = self.java_options(folder);
        // Port 0: the system picks a free one, and the log says which.
        let mut properties: BTreeMap<String, String> = [
            ("spark.connect.grpc.binding.address", "127.0.0.1"),
            ("spark.connect.grpc.binding.port", "0"),
            ("spark.driver.bindAddress", "127.0.0.1"),
            ("spark.driver.host", "127.0.0.1"),
            ("spark.driver.defaultJavaOptions", &java),
            ("spark.sql.catalogImplementation", "in-memory"),
            ("spark.sql.warehouse.dir", &within("warehouse")),
            ("spark.ui.enabled", "false"),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
        properties.extend(self.conf.clone());
        properties
    }

    /// Without performance data, which a killed JVM leaves in the system's temporary folder.
    fn java_options(&self, folder: &Path) -> String {
        let mut options = vec![
            "-XX:-UsePerfData".to_owned(),
            format!("-Djava.io.tmpdir={}", folder.join("tmp").display()),
            format!("-Dlog4j2.configurationFile={}", folder.join("log4j2.properties").display()),
        ];
        match self.archive {
            Some(ClassArchive::Use(file)) => options.push(format!("-XX:SharedArchiveFile={}", file.display())),
            Some(ClassArchive::Write(file)) => {
                // It warns of every class that it leaves out: thousands of lines.
                options.push(format!("-XX:ArchiveClassesAtExit={}", file.display()));
                options.push("-Xlog:cds=error".to_owned());
            }
            None => {}
        }
        options.iter().map(|option| format!("\"{option}\"")).collect::<Vec<_>>().join(" ")
    }
}

/// A server process and its folder; both go when this is dropped.
#[derive(Debug)]
pub(super) struct Server {
    watchdog: Child,
    folder: PathBuf,
    address: SocketAddr,
    process_id: u32,
}

impl Server {
    /// Creates the folder and runs what `command` builds for it: a watchdog that waits on its standard input.
    fn spawn(command: impl FnOnce(&Path) -> Command) -> Result<Self> {
        let folder = env::temp_dir().join(format!("tinderbox-spark-{}", Uuid::new_v4().simple()));
        make_folder(&folder)?;
        let mut command = command(&folder);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // A separate process group: Ctrl-C in a terminal reaches this process alone, and the watchdog does the rest.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        match command.spawn() {
            Ok(watchdog) => {
                Ok(Self { watchdog, folder, address: SocketAddr::from(([127, 0, 0, 1], 0)), process_id: 0 })
            }
            Err(source) => {
                // Nothing runs that would remove it; what remains is an empty folder of the system's temporary ones.
                let _ = fs::remove_dir_all(&folder);
                Err(failed(format!("cannot run `sh`: {source}")))
            }
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn process_id(&self) -> u32 {
        self.process_id
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn log(&self) -> String {
        self.read("spark.log")
    }

    /// Returns the server's exit status, once it has ended by itself.
    pub(super) fn exit_status(&self) -> Option<String> {
        Some(self.read("exit")).filter(|status| !status.is_empty())
    }

    /// Asks the server to exit. By the shell's `kill`: a small system has no program of that name.
    pub(super) fn terminate(&self) -> Result<()> {
        let kill = format!("kill -s TERM {}", self.process_id);
        match Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(self.failure(format!("the server did not take the request to end (`{kill}`: {status})"))),
            Err(e) => Err(failed(format!("cannot run `sh`: {e}"))),
        }
    }

    /// Returns one of the folder's files; empty while it does not exist.
    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.folder.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim_end().to_owned()
    }

    /// Returns an error with the end of the log.
    pub(super) fn failure(&self, reason: String) -> Error {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        Error::LocalSpark { reason, log: lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        // It has nothing left to do but to kill and to remove; a failure of that cannot be reported anywhere.
        let _ = self.watchdog.wait();
    }
}

/// Creates the folder with all the server expects in it, closed to other users.
fn make_folder(folder: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let make = |path: &Path| builder.create(path).map_err(|e| Error::io(path, e));
    make(folder)?;
    for name in ["work", "tmp", "local"] {
        make(&folder.join(name))?;
    }
    let logging = folder.join("log4j2.properties");
    fs::write(&logging, LOGGING).map_err(|e| Error::io(&logging, e))
}

/// Returns the address that the server says it listens on: "… Spark Connect server started at: 127.0.0.1:41237".
fn announced(log: &str) -> Option<SocketAddr> {
    log.lines().find_map(|line| line.split_once("Spark Connect server started at: ")?.1.trim().parse().ok())
}

/// Opens a connection and waits for the server's own SETTINGS frame: then it is up, and speaks HTTP/2.
async fn greet(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(HELLO).await?;
    let mut header = [0; 9];
    stream.read_exact(&mut header).await?;
    match header[3] {
        0x04 => Ok(()),
        other => {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of type {other} in place of SETTINGS")))
        }
    }
}
