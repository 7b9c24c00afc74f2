//! A Python environment for the server's workers.

use std::{fs, path::PathBuf, time::Instant};

use uuid::Uuid;

use super::{
    failed,
    find::SparkSearch,
    install::{PARTIAL, environment, lock, packages, remove, say},
};
use crate::{Error, Result};

/// The environment's folder in the cache, named after what is in it.
const FOLDER: &str = "python-workers-1";

/// Packages that compute networks, and carry their columns.
const PACKAGES: [&str; 2] = ["numpy>=1.26", "pyarrow>=18"];

/// Creates the environment unless it exists, and returns its interpreter. Blocks.
pub(super) fn install(search: &SparkSearch) -> Result<PathBuf> {
    let cache = search.cache.clone();
    let cache =
        cache.ok_or_else(|| failed("no folder to keep a Python environment in; set TINDERBOX_CACHE or HOME"))?;
    let target = cache.join(FOLDER);
    let python = target.join("bin/python");
    if python.exists() {
        return Ok(python);
    }
    fs::create_dir_all(&cache).map_err(|e| Error::io(&cache, e))?;
    let _lock = lock(&cache)?;
    if python.exists() {
        return Ok(python);
    }
    let own = search.on_path("python3").ok_or_else(|| failed("Python workers need python3"))?;
    let began = Instant::now();
    say(&format!("installing numpy and pyarrow into {} (once)", target.display()));
    let partial = cache.join(format!("{PARTIAL}{FOLDER}-{}", Uuid::new_v4().simple()));
    let remedy = "or start the server without Python workers";
    let made = environment(&own, &partial, search).and_then(|()| packages(&partial, &PACKAGES, remedy));
    if made.is_err() {
        remove(&partial)?;
    }
    made?;
    fs::rename(&partial, &target).map_err(|e| Error::io(&target, e))?;
    say(&format!("installed numpy and pyarrow in {:.0} s", began.elapsed().as_secs_f64()));
    Ok(python)
}
