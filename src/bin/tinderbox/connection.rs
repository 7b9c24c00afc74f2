//! The session of a command: which server, and as whom.

use tinderbox::{
    dataframe::DataFrame,
    session::{Session, SessionBuilder},
};

use crate::{
    cli::Global,
    commands::spark,
    failure::{Failure, Result},
    output::Output,
    profile::Profile,
};

/// A server and the settings of its use.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Connection string; a local Spark is started where there is none.
    pub(crate) remote: Option<String>,
    /// Where the connection string came from, for people.
    pub(crate) origin: String,
    pub(crate) profile: Profile,
}

impl Connection {
    /// Finds the server: `--remote` or `SPARK_REMOTE`, the profile, a local Spark that runs.
    pub(crate) async fn find(global: &Global) -> Result<Self> {
        let profile = Profile::read(global.profile.as_deref())?;
        let given = global.remote.clone().filter(|remote| !remote.is_empty());
        if let Some(remote) = given {
            return Ok(Self { remote: Some(remote), origin: "--remote or SPARK_REMOTE".into(), profile });
        }
        if let Some(remote) = profile.remote.clone() {
            return Ok(Self { remote: Some(remote), origin: "the profile".into(), profile });
        }
        match spark::running(spark::DEFAULT_NAME).await {
            Some(state) => Ok(Self { remote: Some(state.remote), origin: "the local Spark that runs".into(), profile }),
            None => Ok(Self { remote: None, origin: "a local Spark, started for this command".into(), profile }),
        }
    }

    /// Returns a builder of sessions on the server.
    pub(crate) fn builder(&self) -> Result<SessionBuilder> {
        let mut builder = Session::builder().app_name("tinderbox");
        if let Some(remote) = &self.remote {
            builder = builder.remote(remote);
        }
        if let Some(path) = &self.profile.ca_file {
            builder = builder.ca_file(path);
        }
        match (&self.profile.client_certificate, &self.profile.client_key) {
            (Some(certificate), Some(key)) => builder = builder.client_identity(certificate, key),
            (None, None) => {}
            _ => return Err(Failure::option("client_certificate", "alone", "set together with `client_key`")),
        }
        if let Some(provider) = self.profile.token_provider()? {
            builder = builder.token_provider(provider);
        }
        Ok(self.profile.conf.iter().fold(builder, |builder, (key, value)| builder.config(key, value)))
    }

    /// Opens a session.
    pub(crate) async fn open(&self, output: &Output) -> Result<Session> {
        if self.remote.is_none() {
            output.say(
                "no server is named and no local Spark runs: starting one for this command (`tinderbox spark start` \
                 keeps one, with its tables)",
            );
        }
        Ok(self.builder()?.create().await?)
    }
}

/// Returns a table after a check that it exists. The error for a missing one suggests names that are near.
pub(crate) async fn table(spark: &Session, name: &str) -> Result<DataFrame> {
    let table = spark.table(name);
    let error = match table.schema().await {
        Ok(_) => return Ok(table),
        Err(error) => error,
    };
    if !error.server().is_some_and(|server| server.is("TABLE_OR_VIEW_NOT_FOUND")) {
        return Err(error.into());
    }
    let (database, bare) = name.rsplit_once('.').map_or((None, name), |(database, bare)| (Some(database), bare));
    let tables = spark.catalog().list_tables(database, None).await.unwrap_or_default();
    let names: Vec<String> = tables.into_iter().map(|table| table.name).collect();
    let bare = bare.trim_matches('`').to_lowercase();
    let likeness = |name: &String| {
        let name = name.to_lowercase();
        let slips = strsim::damerau_levenshtein(&name, &bare);
        let alike = strsim::jaro_winkler(&name, &bare);
        (alike > 0.8 || slips <= 1 + bare.chars().count() / 5).then_some(alike)
    };
    let mut near: Vec<_> = names.iter().filter_map(|name| Some((likeness(name)?, name))).collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let hint = match near.as_slice() {
        [] if names.is_empty() => "there is no table here; `tinderbox import` makes one of files".to_owned(),
        [] => "`tinderbox tables` lists those there are".to_owned(),
        near => {
            let near: Vec<_> = near.iter().take(3).map(|(_, name)| format!("`{name}`")).collect();
            format!("did you mean {}?", near.join(" or "))
        }
    };
    Err(Failure::Hinted(Box::new(error), hint))
}

/// Opens the session of a command.
pub(crate) async fn session(global: &Global, output: &Output) -> Result<Session> {
    Connection::find(global).await?.open(output).await
}
