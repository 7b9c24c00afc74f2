use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{find::SparkSearch, install::install, *};

/// Writes an executable shell script.
fn script(path: &Path, body: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A Spark home whose spark-submit is a script.
fn spark_home(folder: &Path, version: &str, submit: &str) -> PathBuf {
    let home = folder.join(format!("spark-home-{version}"));
    script(&home.join("bin/spark-submit"), submit);
    fs::create_dir_all(home.join("jars")).unwrap();
    for jar in ["spark-connect-client-jvm_2.13", "spark-connect_2.13", "spark-core_2.13"] {
        fs::write(home.join(format!("jars/{jar}-{version}.jar")), "").unwrap();
    }
    home
}

fn java(folder: &Path, version: &str) -> PathBuf {
    let home = folder.join(format!("java-{version}"));
    let settings = format!(
        "    java.home = {}\n    java.specification.version = {version}\n    java.runtime.version = {version}+9",
        home.display()
    );
    script(&home.join("bin/java"), &format!("echo '{settings}' >&2"));
    home
}

fn search(folder: &Path) -> SparkSearch {
    SparkSearch { path: folder.join("bin").into(), cache: Some(folder.join("cache")), ..SparkSearch::default() }
}

#[test]
fn a_spark_home_is_taken_at_its_word_or_refused_with_what_is_missing() {
    let folder = TempDir::new().unwrap();
    let home = spark_home(folder.path(), "4.1.0", "");
    let mut search = search(folder.path());

    search.spark_home = Some((home.clone(), "SPARK_HOME"));
    let found = search.spark().unwrap().unwrap();
    assert_eq!((found.version.as_str(), &found.path), ("4.1.0", &home));

    search.version = Some("4.2.1".into());
    let refused = search.spark().unwrap_err().to_string();
    assert!(refused.contains("is Spark 4.1.0, TINDERBOX_SPARK_VERSION asks for 4.2.1"), "{refused}");

    search.version = None;
    fs::remove_file(home.join("jars/spark-connect_2.13-4.1.0.jar")).unwrap();
    let refused = search.spark().unwrap_err().to_string();
    assert!(refused.contains("SPARK_HOME = ") && refused.contains("no jars/spark-connect_*.jar"), "{refused}");

    fs::remove_file(home.join("bin/spark-submit")).unwrap();
    let refused = search.spark().unwrap_err().to_string();
    assert!(refused.contains("no bin/spark-submit"), "{refused}");
}

#[test]
fn an_importable_pyspark_serves_if_it_is_a_whole_spark_4() {
    let folder = TempDir::new().unwrap();
    let search = search(folder.path());
    for (version, serves) in [("4.0.4", true), ("3.5.6", false)] {
        let home = spark_home(folder.path(), version, "");
        script(&folder.path().join("bin/python3"), &format!("echo /usr/bin/python3\necho {}", home.display()));
        let found = search.spark().unwrap();
        assert_eq!(found.map(|home| home.version), serves.then(|| version.to_owned()));
    }
    let other = SparkSearch { version: Some("4.1.0".into()), ..search };
    spark_home(folder.path(), "4.0.4", "");
    assert!(other.spark().unwrap().is_none(), "another release than the one asked for");
}

#[test]
fn java_is_the_first_that_is_new_enough() {
    let folder = TempDir::new().unwrap();
    let mut search = search(folder.path());
    let none = search.java().unwrap_err().to_string();
    assert!(none.contains("no Java at all") && none.contains("apt-get install -y openjdk-17-jre-headless"), "{none}");

    search.java_home = Some(java(folder.path(), "1.8"));
    let old = search.java().unwrap_err().to_string();
    assert!(old.contains("found Java 8 (") && old.contains("java-1.8/bin/java)"), "{old}");

    // A folder of installations is the last resort.
    let jvms = folder.path().join("jvm");
    for version in ["25", "17", "11"] {
        let home = java(&jvms, version);
        fs::write(home.join("release"), format!("IMPLEMENTOR=\"x\"\nJAVA_VERSION=\"{version}.0.2\"\n")).unwrap();
    }
    search.jvm_folders = vec![jvms.clone()];
    let chosen = Java { home: jvms.join("java-17"), version: 17, build: "17+9".into() };
    assert_eq!(search.java().unwrap(), chosen);

    fs::create_dir_all(folder.path().join("bin")).unwrap();
    fs::copy(java(folder.path(), "21").join("bin/java"), folder.path().join("bin/java")).unwrap();
    assert_eq!(search.java().unwrap().version, 21);
}

/// A python3 whose environments hold a pip that "installs" by laying out a Spark home, and counts its runs.
fn fake_python(folder: &Path, pip: &str) {
    let python = format!(
        "[ \"$2\" = venv ] || exit 1\nmkdir -p \"$3/bin\"\ncat >\"$3/bin/python\" <<'EOF'\n#!/bin/sh\necho run >>{}/runs\n\
         {pip}\nEOF\nchmod +x \"$3/bin/python\"",
        folder.display()
    );
    script(&folder.join("bin/python3"), &python);
}

const GOOD_PIP: &str = "/bin/sleep 0.2
site=$(/usr/bin/dirname \"$0\")/../lib/python3/site-packages/pyspark
/bin/mkdir -p $site/bin $site/jars
: >$site/bin/spark-submit
: >$site/jars/spark-connect_2.13-4.2.1.jar";

#[test]
fn two_installations_at_once_make_one_and_a_later_search_finds_it() {
    let folder = TempDir::new().unwrap();
    fake_python(folder.path(), GOOD_PIP);
    let search = SparkSearch { version: Some("4.2.1".into()), ..search(folder.path()) };
    // The fake needs the system's tools as well.
    let search = SparkSearch { path: format!("{}/bin:/usr/bin:/bin", folder.path().display()).into(), ..search };

    let installers: Vec<_> = (0..2)
        .map(|_| {
            let search = search.clone();
            thread::spawn(move || install(&search).unwrap())
        })
        .collect();
    let homes: Vec<_> = installers.into_iter().map(|one| one.join().unwrap()).collect();
    assert_eq!(homes[0].path, homes[1].path);
    assert_eq!(homes[0].python.as_deref(), Some(&*folder.path().join("cache/spark-4.2.1/bin/python")));
    assert_eq!(fs::read_to_string(folder.path().join("runs")).unwrap(), "run\n");
    assert_eq!(search.spark().unwrap().unwrap().path, homes[0].path);
}

#[test]
fn an_installation_that_fails_leaves_nothing_and_says_what_else_would_do() {
    let folder = TempDir::new().unwrap();
    fake_python(folder.path(), "exit 7");
    let search =
        SparkSearch { path: format!("{}/bin:/usr/bin:/bin", folder.path().display()).into(), ..search(folder.path()) };
    fs::create_dir_all(folder.path().join("cache/.partial-4.2.1-of-one-that-was-killed/bin")).unwrap();
    let message = install(&search).unwrap_err().to_string();
    assert!(message.contains("pyspark==4.2.1") && message.contains("SPARK_HOME"), "{message}");
    let left: Vec<_> = fs::read_dir(folder.path().join("cache")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["install.lock"]);

    script(&folder.path().join("bin/python3"), "echo 'ensurepip is not available'; exit 1");
    let message = install(&search).unwrap_err().to_string();
    assert!(message.contains("apt-get install -y python3-venv") && message.contains("ensurepip"), "{message}");
}

async fn start(folder: &Path, submit: &str, timeout: Duration) -> Result<Server> {
    let home = spark_home(folder, "4.2.1", submit);
    let launch = Launch {
        home: &SparkHome { path: home, version: "4.2.1".into(), python: None, installation: None },
        python: None,
        java: &Java { home: folder.join("java"), version: 17, build: "17".into() },
        master: "local[1]",
        driver_memory: "1g",
        conf: &BTreeMap::new(),
        archive: None,
        timeout,
    };
    launch.start().await
}

#[tokio::test]
async fn a_server_that_dies_at_the_start_is_reported_with_the_end_of_its_log() {
    let folder = TempDir::new().unwrap();
    let began = Instant::now();
    let submit = "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo line $i; done; echo no such class >&2; exit 3";
    let message = start(folder.path(), submit, Duration::from_secs(60)).await.unwrap_err().to_string();
    assert!(message.contains("status 3") && message.ends_with("line 40\nno such class"), "{message}");
    assert_eq!(message.lines().filter(|line| line.starts_with("line ")).count(), 29);
    assert!(began.elapsed() < Duration::from_secs(30), "noticed at once, not at the timeout");
}

/// Whether a process runs; one that has ended and awaits its parent does not.
fn runs(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn a_server_that_never_answers_is_ended_at_the_timeout_and_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let submit = format!("echo $$ >{0}/pid; pwd >{0}/cwd; echo waiting; exec sleep 600", folder.path().display());
    let message = start(folder.path(), &submit, Duration::from_secs(1)).await.unwrap_err().to_string();
    assert!(message.contains("not up after 1s") && message.ends_with("waiting"), "{message}");
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap().trim().to_owned();
    assert!(!runs(&read("pid")), "the server still runs");
    assert!(!Path::new(&read("cwd")).exists(), "its folder is still there");
}

#[tokio::test]
async fn a_server_is_up_when_it_speaks_http2_and_not_before() {
    let folder = TempDir::new().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let submit = format!(
        "echo \"$@\" >args; echo '12:00:00 INFO SparkConnectServer: Spark Connect server started at: {address}'; \
         exec sleep 600"
    );

    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        for answer in [&b"HTTP/1.1 400 Bad Request\r\n"[..], b"\0\0\0\x04\0\0\0\0\0"] {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut hello = [0; 33];
            client.read_exact(&mut hello).await.unwrap();
            client.write_all(answer).await.unwrap();
        }
    });
    let message = start(folder.path(), &submit, Duration::from_secs(60)).await.unwrap_err().to_string();
    assert!(message.contains("does not speak: a frame of type 80"), "{message}");

    let server = start(folder.path(), &submit, Duration::from_secs(60)).await.unwrap();
    assert_eq!(server.address(), address);
    let pid = server.process_id().to_string();
    assert!(runs(&pid));
    let arguments = fs::read_to_string(server.folder().join("work/args")).unwrap();
    assert!(arguments.contains("spark.connect.grpc.binding.address=127.0.0.1"), "{arguments}");
    let kept = server.folder().to_owned();
    drop(server);
    assert!(!runs(&pid) && !kept.exists());
}
