//! Finds a Spark that can serve Connect, and a Java that can run it.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{DEFAULT_SPARK_VERSION, failed};
use crate::Result;

/// Where to look, taken from the environment once so that the search itself depends on nothing else.
#[derive(Debug, Default, Clone)]
pub(super) struct SparkSearch {
    /// A Spark named outright, and who named it.
    pub(super) spark_home: Option<(PathBuf, &'static str)>,
    /// The only release that will do.
    pub(super) version: Option<String>,
    /// Where installed Sparks are kept; none when the user has no home.
    pub(super) cache: Option<PathBuf>,
    pub(super) java_home: Option<PathBuf>,
    pub(super) path: OsString,
    /// Folders whose entries are Java installations.
    pub(super) jvm_folders: Vec<PathBuf>,
}

/// Returns the user's cache folder for Sparks, which only one without a home lacks.
pub(super) fn cache_from_env() -> Option<PathBuf> {
    let tinderbox = |cache: PathBuf| cache.join("tinderbox");
    folder("TINDERBOX_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(tinderbox))
        .or_else(|| env::home_dir().map(|home| tinderbox(home.join(".cache"))))
}

fn folder(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

impl SparkSearch {
    /// Reads the environment; the arguments stand over it.
    pub(super) fn from_env(spark_home: Option<PathBuf>, cache: Option<PathBuf>) -> Self {
        Self {
            spark_home: spark_home
                .map(|path| (path, "spark_home"))
                .or_else(|| folder("SPARK_HOME").map(|path| (path, "SPARK_HOME"))),
            version: env::var("TINDERBOX_SPARK_VERSION").ok().filter(|v| !v.is_empty()),
            cache: cache.or_else(cache_from_env),
            java_home: folder("JAVA_HOME"),
            path: env::var_os("PATH").unwrap_or_default(),
            jvm_folders: vec!["/usr/lib/jvm".into(), "/Library/Java/JavaVirtualMachines".into()],
        }
    }

    /// Returns the release to install, and to look for in the cache.
    pub(super) fn wanted(&self) -> &str {
        self.version.as_deref().unwrap_or(DEFAULT_SPARK_VERSION)
    }

    /// Returns the first Spark that will do; none when it has to be installed.
    ///
    /// A Spark that was named outright and will not do is an error, never passed over.
    pub(super) fn spark(&self) -> Result<Option<SparkHome>> {
        if let Some((path, named)) = &self.spark_home {
            let home =
                SparkHome::at(path, None).map_err(|why| failed(format!("{named} = {}: {why}", path.display())))?;
            if let Some(version) = self.version.as_ref().filter(|v| **v != home.version) {
                return Err(failed(format!(
                    "{named} = {} is Spark {}, TINDERBOX_SPARK_VERSION asks for {version}; change or unset one of them",
                    path.display(),
                    home.version
                )));
            }
            return Ok(Some(home));
        }
        if let Some(installed) = self.installation().and_then(|folder| installed_in(&folder)) {
            return Ok(Some(installed));
        }
        let fits = |home: &SparkHome| self.version.as_ref().is_none_or(|v| *v == home.version);
        Ok(self.importable().filter(fits))
    }

    /// Where the wanted release is installed, or would be.
    pub(super) fn installation(&self) -> Option<PathBuf> {
        self.cache.as_ref().map(|cache| cache.join(format!("spark-{}", self.wanted())))
    }

    /// Returns the `pyspark` that `python3` would import, if it is a whole Spark.
    fn importable(&self) -> Option<SparkHome> {
        const LOCATE: &str = "import importlib.util as u, sys
spec = u.find_spec('pyspark')
print(sys.executable)
print(spec.submodule_search_locations[0])";
        let out = Command::new(self.on_path("python3")?).args(["-c", LOCATE]).stdin(Stdio::null()).output().ok()?;
        let text = String::from_utf8(out.stdout).ok().filter(|_| out.status.success())?;
        let (python, path) = text.trim_end().split_once('\n')?;
        let home = SparkHome::at(Path::new(path), Some(python.into())).ok()?;
        (home.major() >= 4).then_some(home)
    }

    /// Returns the first program of this name on the `PATH`.
    pub(super) fn on_path(&self, program: &str) -> Option<PathBuf> {
        env::split_paths(&self.path).map(|folder| folder.join(program)).find(|file| file.is_file())
    }

    /// Returns the first Java that is new enough.
    pub(super) fn java(&self) -> Result<Java> {
        let mut candidates: Vec<PathBuf> = self.java_home.iter().map(|home| home.join("bin/java")).collect();
        candidates.extend(self.on_path("java"));
        let mut found = Vec::new();
        for binary in &candidates {
            match Java::at(binary) {
                Some(java) if java.version >= Java::OLDEST => return Ok(java),
                Some(java) => found.push(format!("Java {} ({})", java.version, binary.display())),
                None => found.push(format!("{}, which does not run", binary.display())),
            }
        }
        // Of those that are merely installed, the oldest that will do is the one that Spark knows best.
        let mut others: Vec<(u32, PathBuf)> =
            self.jvm_folders.iter().flat_map(|folder| entries(folder)).filter_map(|jvm| installed_java(&jvm)).collect();
        others.sort();
        found.extend(others.iter().map(|(version, binary)| format!("Java {version} ({})", binary.display())));
        let mut usable = others.iter().filter(|(version, _)| *version >= Java::OLDEST);
        usable.find_map(|(_, binary)| Java::at(binary)).ok_or_else(|| {
            let found = if found.is_empty() { "no Java at all".into() } else { found.join(", ") };
            failed(format!(
                "Spark needs Java {} or later, found {found}; install one (Debian, Ubuntu: `sudo apt-get install -y \
                 openjdk-17-jre-headless`, or openjdk-21-jre-headless where 17 is gone) or set JAVA_HOME",
                Java::OLDEST
            ))
        })
    }
}

/// A Spark that can serve Connect.
#[derive(Debug, Clone)]
pub(super) struct SparkHome {
    pub(super) path: PathBuf,
    /// As the Connect jar is named: "4.2.1".
    pub(super) version: String,
    /// The Python that has this very `pyspark`, for Python functions on the server.
    pub(super) python: Option<PathBuf>,
    /// The folder of the installation, if it is one of ours.
    pub(super) installation: Option<PathBuf>,
}

impl SparkHome {
    /// Checks a folder; says what is missing in it.
    pub(super) fn at(path: &Path, python: Option<PathBuf>) -> Result<Self, String> {
        if !path.join("bin/spark-submit").is_file() {
            return Err("there is no bin/spark-submit in it, so it is no Spark; correct or unset it".into());
        }
        let version = entries(&path.join("jars")).iter().find_map(|jar| connect_version(jar)).ok_or(
            "there is no jars/spark-connect_*.jar in it, so it cannot serve Spark Connect; use Spark 4.0 or later, or \
             unset it and one will be found or installed",
        )?;
        // The server starts in another folder.
        let path = path.canonicalize().map_err(|e| e.to_string())?;
        Ok(Self { path, version, python, installation: None })
    }

    fn major(&self) -> u32 {
        self.version.split('.').next().and_then(|n| n.parse().ok()).unwrap_or(0)
    }
}

/// Returns the Spark in an installation that [`install`](super::install) made: a Python environment with `pyspark` in
/// it.
pub(super) fn installed_in(environment: &Path) -> Option<SparkHome> {
    let python = environment.join("bin/python");
    let home = entries(&environment.join("lib"))
        .iter()
        .find_map(|lib| SparkHome::at(&lib.join("site-packages/pyspark"), Some(python.clone())).ok())?;
    Some(SparkHome { installation: Some(environment.to_owned()), ..home })
}

/// "4.2.1" from "spark-connect_2.13-4.2.1.jar".
fn connect_version(jar: &Path) -> Option<String> {
    let name = jar.file_name()?.to_str()?.strip_prefix("spark-connect_")?.strip_suffix(".jar")?;
    name.split_once('-').map(|(_scala, version)| version.to_owned())
}

/// Returns the entries of a folder, sorted; empty if it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

/// A Java that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Java {
    pub(super) home: PathBuf,
    /// The feature release: 17, 21.
    pub(super) version: u32,
    /// The very build: "17.0.15+6-Debian-1deb12u1".
    pub(super) build: String,
}

impl Java {
    /// The oldest that Spark 4 runs on.
    const OLDEST: u32 = 17;

    /// Asks a `java` binary (which may be a link or a shim) what and where it is.
    fn at(binary: &Path) -> Option<Self> {
        let out = Command::new(binary)
            .args(["-XshowSettings:properties", "-version"])
            .stdin(Stdio::null())
            .output()
            .ok()
            .filter(|out| out.status.success())?;
        Self::from_settings(&String::from_utf8_lossy(&out.stderr))
    }

    /// From lines such as "    java.home = /usr/lib/jvm/java-17" and "    java.specification.version = 17".
    fn from_settings(text: &str) -> Option<Self> {
        let setting =
            |key: &str| text.lines().find_map(|line| line.trim().strip_prefix(key)?.trim().strip_prefix("= "));
        Some(Self {
            home: setting("java.home")?.into(),
            version: feature_release(setting("java.specification.version")?)?,
            build: setting("java.runtime.version")?.to_owned(),
        })
    }
}

/// Returns the release and the binary of an installation, from its `release` file: that saves starting each of them.
fn installed_java(folder: &Path) -> Option<(u32, PathBuf)> {
    let home = [folder.to_owned(), folder.join("Contents/Home")].into_iter().find(|h| h.join("bin/java").is_file())?;
    let release = fs::read_to_string(home.join("release")).ok()?;
    let version = release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?;
    Some((feature_release(version.trim_matches('"'))?, home.join("bin/java")))
}

/// 17 from "17.0.15", 8 from "1.8.0_392".
fn feature_release(version: &str) -> Option<u32> {
    let mut numbers = version.split(['.', '_', '-', '+']).map_while(|n| n.parse().ok());
    match numbers.next()? {
        1 => numbers.next(),
        feature => Some(feature),
    }
}
