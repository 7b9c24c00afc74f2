//! Named profiles of connections, in a file of the user's.
//!
//! ```toml
//! default = "lab"
//!
//! [profile.lab]
//! remote = "sc://spark.example.com:443/;use_ssl=true"
//! token = "env:LAB_TOKEN"             # or token_command = "cat /run/secrets/token"
//! ca_file = "/etc/ssl/lab.pem"
//! client_certificate = "me.pem"
//! client_key = "me.key"
//! models = "ml.models"                # the model table of every command
//! conf = { "spark.sql.session.timeZone" = "UTC" }
//! ```

use std::{collections::BTreeMap, env, fs, io, path::PathBuf};

use serde::Deserialize;
use tinderbox::connect::TokenProvider;

use crate::failure::{Failure, Result};

/// Connections by name.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    default: Option<String>,
    #[serde(default)]
    profile: BTreeMap<String, Profile>,
}

/// One connection.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    pub(crate) remote: Option<String>,
    /// `env:NAME`; never the token.
    token: Option<String>,
    /// Command of a shell that prints the token.
    token_command: Option<String>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) client_certificate: Option<PathBuf>,
    pub(crate) client_key: Option<PathBuf>,
    pub(crate) models: Option<String>,
    #[serde(default)]
    pub(crate) conf: BTreeMap<String, String>,
}

/// Returns the file's path: `TINDERBOX_CONFIG`, else below `XDG_CONFIG_HOME` or `~/.config`.
pub(crate) fn path() -> Option<PathBuf> {
    let folder = || {
        let named = env::var_os("XDG_CONFIG_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
        named.or_else(|| Some(env::home_dir()?.join(".config"))).map(|folder| folder.join("tinderbox/config.toml"))
    };
    env::var_os("TINDERBOX_CONFIG").map(PathBuf::from).or_else(folder)
}

impl Profile {
    /// Reads the profile of a name, else the file's default, else none.
    pub(crate) fn read(name: Option<&str>) -> Result<Self> {
        let Some(path) = path() else { return Ok(Self::default()) };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Failure::io(path, error)),
        };
        let mut file: ConfigFile = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
            // The text of the file may hold a secret by mistake, so that only the place is shown.
            Failure::io(format!("{}:{line}", path.display()), io::Error::other(error.message().to_owned()))
        })?;
        let Some(name) = name.map(str::to_owned).or_else(|| file.default.take()) else { return Ok(Self::default()) };
        file.profile.remove(&name).ok_or_else(|| {
            let known: Vec<_> = file.profile.keys().map(|known| format!("`{known}`")).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Failure::option("profile", name, format!("a profile of {}, which has {known}", path.display()))
        })
    }

    /// Returns the source of tokens, if the profile has one.
    pub(crate) fn token_provider(&self) -> Result<Option<TokenProvider>> {
        match (&self.token, &self.token_command) {
            (Some(_), Some(_)) => Err(Failure::option("token_command", "set", "unset where `token` is set")),
            (Some(token), None) => {
                let name = token.strip_prefix("env:").filter(|name| !name.is_empty());
                let name = name.ok_or_else(|| {
                    Failure::option("token", "(hidden)", "`env:NAME`, so that no secret is in the file")
                })?;
                let name = name.to_owned();
                Ok(Some(TokenProvider::new(move || {
                    let found = env::var(&name).map_err(|_| format!("the environment variable {name} is not set"));
                    async { found }
                })))
            }
            (None, Some(command)) => {
                let command = command.clone();
                Ok(Some(TokenProvider::new(move || printed(command.clone()))))
            }
            (None, None) => Ok(None),
        }
    }
}

/// Returns what a command of the shell prints.
async fn printed(command: String) -> std::result::Result<String, String> {
    let mut shell = tokio::process::Command::new("sh");
    let ran = shell
        .arg("-c")
        .arg(&command)
        .stderr(std::process::Stdio::inherit())
        .output()
        .await
        .map_err(|error| format!("`token_command` cannot be run: {error}"))?;
    match ran.status.success() {
        true => String::from_utf8(ran.stdout).map_err(|_| "`token_command` printed no text".to_owned()),
        false => Err(format!("`token_command` ended with {}", ran.status)),
    }
}
