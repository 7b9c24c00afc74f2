//! Installs Spark into the user's cache, once, from the Python package index.
//!
//! The `pyspark` package is a whole Spark: scripts and all jars, those of Connect and MLlib among them. It goes into a
//! separate Python environment, so that the server's Python functions have an interpreter that fits.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use tracing::info;
use uuid::Uuid;

use super::{
    failed,
    find::{SparkHome, SparkSearch, installed_in},
};
use crate::{Error, Result};

/// Prefix of folders that are still being filled.
pub(super) const PARTIAL: &str = ".partial-";

/// Installs the wanted release, or waits for another process that is doing so. Blocks.
///
/// The installation is built in a folder beside its destination and moved as a whole, so a destination is always
/// complete.
pub(super) fn install(search: &SparkSearch) -> Result<SparkHome> {
    let Some((cache, target)) = search.cache.clone().zip(search.installation()) else {
        return Err(failed(
            "no Spark found and no folder to install one into; set SPARK_HOME, TINDERBOX_CACHE or HOME",
        ));
    };
    fs::create_dir_all(&cache).map_err(|e| Error::io(&cache, e))?;
    let _lock = lock(&cache)?;
    if let Some(home) = installed_in(&target) {
        return Ok(home);
    }
    let python = search.on_path("python3").ok_or_else(|| {
        failed(format!(
            "no Spark found, and installing one needs python3; {}",
            remedy("python3 python3-venv", search.wanted())
        ))
    })?;

    // Under a new name: the pip of an installer that was killed may still be writing to the last one.
    clear(&cache)?;
    remove(&target)?;
    let partial = cache.join(format!("{PARTIAL}{}-{}", search.wanted(), Uuid::new_v4().simple()));
    let began = Instant::now();
    say(&format!("installing Spark {} into {} (once, 450 MB to download)", search.wanted(), target.display()));
    let installed = environment(&python, &partial, search).and_then(|()| pyspark(&partial, search));
    if installed.is_err() {
        remove(&partial)?;
    }
    installed?;
    fs::rename(&partial, &target).map_err(|e| Error::io(&target, e))?;
    say(&format!("installed Spark {} in {:.0} s", search.wanted(), began.elapsed().as_secs_f64()));
    info!(path = %target.display(), version = search.wanted(), took = ?began.elapsed(), "installed Spark");
    installed_in(&target).ok_or_else(|| {
        failed(format!("pyspark {} brought no Spark Connect; Spark 4.0 and later have it", search.wanted()))
    })
}

/// Waits until no other process writes to this cache. The lock goes with the file handle.
pub(super) fn lock(cache: &Path) -> Result<File> {
    let path = cache.join("install.lock");
    let file = File::create(&path).map_err(|e| Error::io(&path, e))?;
    if file.try_lock().is_err() {
        say(&format!("waiting for another process that is at work in {}", cache.display()));
        file.lock().map_err(|e| Error::io(&path, e))?;
    }
    Ok(file)
}

/// Makes the Python environment.
pub(super) fn environment(python: &Path, folder: &Path, search: &SparkSearch) -> Result<()> {
    let out = Command::new(python).args(["-m", "venv"]).arg(folder).stdin(Stdio::null()).output();
    let out = out.map_err(|e| failed(format!("{} does not run: {e}", python.display())))?;
    if out.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&out.stderr) + String::from_utf8_lossy(&out.stdout);
    Err(Error::LocalSpark {
        reason: format!(
            "installing Spark needs Python's venv module with pip, which `{} -m venv` lacks; {}",
            python.display(),
            remedy("python3-venv", search.wanted())
        ),
        log: said.trim().to_owned(),
    })
}

/// Lets pip bring the package, with its own words and progress on standard error.
fn pyspark(folder: &Path, search: &SparkSearch) -> Result<()> {
    let package = format!("pyspark=={}", search.wanted());
    let remedy = "or set SPARK_HOME to a Spark 4.0 or later, or SPARK_REMOTE to a server";
    packages(folder, &[&package], remedy)
}

/// Lets pip bring packages into an environment.
pub(super) fn packages(folder: &Path, packages: &[&str], remedy: &str) -> Result<()> {
    // pip's cache would keep the package twice more: as downloaded and as built.
    let status = Command::new(folder.join("bin/python"))
        .args(["-m", "pip", "install", "--no-input", "--no-cache-dir", "--disable-pip-version-check"])
        .args(packages)
        .stdin(Stdio::null())
        .stdout(io::stderr())
        .status()
        .map_err(|e| Error::io(folder.join("bin/python"), e))?;
    if status.success() {
        return Ok(());
    }
    let packages = packages.join(", ");
    Err(failed(format!(
        "pip could not install {packages} ({status}; its words are above); check the network and the version, {remedy}"
    )))
}

/// Tells the user, past the capture of a test's output: a wait of a minute needs a reason.
pub(super) fn say(what: &str) {
    _ = writeln!(io::stderr(), "tinderbox: {what}");
}

fn remedy(packages: &str, version: &str) -> String {
    format!(
        "on Debian or Ubuntu: `sudo apt-get install -y {packages}`; or set SPARK_HOME to a Spark such as {version}, or \
         SPARK_REMOTE to a server"
    )
}

/// Removes what installations that were killed have left.
fn clear(cache: &Path) -> Result<()> {
    for entry in fs::read_dir(cache).map_err(|e| Error::io(cache, e))? {
        let path = entry.map_err(|e| Error::io(cache, e))?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PARTIAL)) {
            remove(&path)?;
        }
    }
    Ok(())
}

pub(super) fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(folder, e)),
        _ => Ok(()),
    }
}
