//! A local Spark: it works, keeps to itself, and never outlives its process.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use tinderbox::connect::LocalSpark;

use crate::support::{connect, own_server, run, send};

/// Set for a child process: what it is to do once its Spark runs.
const ENDING: &str = "TINDERBOX_TEST_ENDING";

/// Whether a process runs; one that has ended and awaits its parent does not.
fn runs(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Waits for what another process does; false after 20 s.
fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

#[tokio::test]
async fn a_local_spark_keeps_to_its_folder_and_to_loopback() {
    let around = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let spark = own_server().conf("spark.sql.shuffle.partitions", "3").start().await.unwrap();
    let client = connect(&spark.remote()).await.unwrap();
    assert_eq!(client.version().to_string(), spark.version());
    run(&client, "CREATE TABLE kept AS SELECT id, id % 7 AS k FROM range(100)").await.unwrap();
    run(&client, "CREATE TABLE grouped AS SELECT k, count(*) AS n FROM kept GROUP BY k").await.unwrap();

    assert!(spark.folder().join("warehouse/kept").is_dir());
    for litter in ["metastore_db", "derby.log", "spark-warehouse", "artifacts"] {
        assert!(!around(litter).exists(), "{litter} lies in the working folder");
    }
    let listening = listening_addresses(spark.process_id());
    assert!(listening.len() >= 2, "the Connect port and the driver's own: {listening:?}");
    for address in listening {
        // 127.0.0.1, as such or mapped into IPv6, in the byte order of /proc.
        assert!(address == "0100007F" || address == "0000000000000000FFFF00000100007F", "listens on {address}");
    }

    let installed_here =
        spark.spark_home().ancestors().any(|f| f.join("pyvenv.cfg").is_file() && f.join("../install.lock").is_file());
    let memory = fs::read_to_string(format!("/proc/{}/maps", spark.process_id())).unwrap();
    let archived = memory.lines().any(|line| line.contains("/classes-") && line.ends_with(".jsa"));
    assert_eq!(archived, installed_here, "an installed Spark, and no other, starts from its archive of classes");

    let (pid, folder) = (spark.process_id(), spark.folder().to_owned());
    assert!(runs(pid));
    spark.stop().await;
    assert!(!runs(pid) && !folder.exists());
}

/// Local addresses, as /proc writes them, that a process accepts TCP connections on.
fn listening_addresses(pid: u32) -> Vec<String> {
    let sockets: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|fd| {
            fs::read_link(fd.ok()?.path())
                .ok()?
                .to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')
                .map(str::to_owned)
        })
        .collect();
    let mut addresses = Vec::new();
    for table in ["tcp", "tcp6"] {
        for line in fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default().lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            const LISTEN: &str = "0A";
            if fields[3] == LISTEN && sockets.iter().any(|inode| inode == fields[9]) {
                addresses.push(fields[1].split(':').next().unwrap_or_default().to_owned());
            }
        }
    }
    addresses
}

/// The child's part: starts a Spark, says so, ends as told.
fn end_as(ending: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let say = |spark: &LocalSpark| println!("\nspark {} {}", spark.process_id(), spark.folder().display());
    runtime.block_on(async {
        let builder = own_server().master("local[1]");
        match ending {
            "exit" => {
                say(LocalSpark::shared().await.unwrap());
                std::process::exit(3);
            }
            "panic" => {
                let spark = builder.start().await.unwrap();
                say(&spark);
                panic!("as told");
            }
            _ => {
                let spark = builder.start().await.unwrap();
                say(&spark);
                std::future::pending::<()>().await;
            }
        }
    });
}

/// A child process with a Spark of its own.
struct Owner {
    child: Child,
}

impl Owner {
    fn start(ending: &str, temporary: &Path) -> Self {
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "local::no_spark_outlives_its_process_however_that_ends"])
            .env(ENDING, ending)
            .env("TMPDIR", temporary)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child }
    }

    /// Waits until its Spark runs: the JVM's process id, the folder.
    fn spark(&mut self) -> (u32, PathBuf) {
        let lines = BufReader::new(self.child.stdout.take().unwrap()).lines();
        let line = lines.map_while(Result::ok).find(|line| line.starts_with("spark ")).expect("a child with a Spark");
        let mut words = line.split(' ').skip(1);
        (words.next().unwrap().parse().unwrap(), words.next().unwrap().into())
    }

    fn signal(&self, signal: &str) {
        send(signal, self.child.id());
    }

    fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Owner {
    /// For a test that fails half-way; a child that has ended is left alone.
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[test]
fn no_spark_outlives_its_process_however_that_ends() {
    if let Ok(ending) = env::var(ENDING) {
        return end_as(&ending);
    }
    let temporary = tempfile::tempdir().unwrap();
    for ending in ["exit", "panic", "INT", "TERM", "KILL"] {
        let mut owner = Owner::start(ending, temporary.path());
        let (pid, folder) = owner.spark();
        assert!(folder.starts_with(temporary.path()));
        if ending.chars().all(char::is_uppercase) {
            assert!(runs(pid), "{ending}: the Spark ended before its owner");
            owner.signal(ending);
        }
        let status = owner.wait();
        match ending {
            "exit" => assert_eq!(status.code(), Some(3)),
            "panic" => assert_eq!(status.code(), Some(101)),
            _ => assert_eq!(status.code(), None, "{ending}: not ended by the signal"),
        }
        assert!(eventually(|| !runs(pid)), "{ending}: the JVM {pid} still runs");
        assert!(eventually(|| !folder.exists()), "{ending}: {} is left", folder.display());
    }
}

#[test]
fn no_spark_outlives_a_process_that_is_killed_while_it_starts() {
    let temporary = tempfile::tempdir().unwrap();
    let mut owner = Owner::start("KILL", temporary.path());
    let started = || -> Option<u32> {
        let folder = fs::read_dir(temporary.path()).ok()?.next()?.ok()?.path();
        fs::read_to_string(folder.join("pid")).ok()?.trim().parse().ok()
    };
    // No deadline: on a fresh machine the child installs Spark first.
    let pid = loop {
        assert!(owner.child.try_wait().unwrap().is_none(), "the child ended before it was killed");
        match started() {
            Some(pid) => break pid,
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    owner.signal("KILL");
    owner.wait();
    assert!(eventually(|| !runs(pid)), "{pid} still runs");
    assert!(eventually(|| fs::read_dir(temporary.path()).unwrap().next().is_none()), "its folder is left");
}
