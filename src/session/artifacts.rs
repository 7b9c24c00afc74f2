//! Files for the session: jars, Python modules, archives, plain files.

use std::path::Path;

use spark_connect::types::DataType;
use spark_connect_proto::{self as proto, command::CommandType, common_inline_user_defined_function::Function};

use super::Session;
use crate::{Error, Result};

/// Purpose of a file of [`Session::add_artifact`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArtifactKind {
    /// Java classes: on the class path of the session's queries.
    Jar,
    /// A Python module (`.py`, `.zip`, `.egg`, `.jar`): on the path of the session's Python functions.
    PythonFile,
    /// An archive (`.zip`, `.jar`, `.tar.gz`, `.tgz`, `.tar`): unpacked into a folder of its name, beside Python
    /// functions.
    Archive,
    /// A file beside Python functions.
    File,
}

impl Session {
    /// Sends a file of this machine to the session. Sent again, it must have the same content.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read; [`Error::Param`] for a name that its kind does not have;
    /// [`Error::Incomplete`] when it arrived damaged; [`Error::Server`], also when another file of the name is there;
    /// [`Error::Unreachable`].
    pub async fn add_artifact(&self, path: impl AsRef<Path>, kind: ArtifactKind) -> Result<()> {
        let path = path.as_ref();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Error::param("path", path.display(), "a file with a name in Unicode"))?;
        let (folder, endings): (_, &[&str]) = match kind {
            ArtifactKind::Jar => ("jars", &[".jar"]),
            ArtifactKind::PythonFile => ("pyfiles", &[".py", ".zip", ".egg", ".jar"]),
            ArtifactKind::Archive => ("archives", &[".zip", ".jar", ".tar.gz", ".tgz", ".tar"]),
            ArtifactKind::File => ("files", &[""]),
        };
        if !endings.iter().any(|ending| name.ends_with(ending)) {
            return Err(Error::param(
                "path",
                format!("`{name}`"),
                format!("a name that ends in {}", endings.join(", ")),
            ));
        }
        self.send_file(path, format!("{folder}/{name}")).await
    }

    /// Copies a file of this machine to a path of the cluster's, where the server allows it
    /// (`spark.connect.copyFromLocalToFs.allowDestLocal` for its own disk).
    ///
    /// # Errors
    /// As [`add_artifact`](Self::add_artifact); [`Error::Param`] for a path that is not absolute.
    pub async fn copy_from_local_to_fs(&self, local: impl AsRef<Path>, destination: &str) -> Result<()> {
        if !destination.starts_with('/') {
            return Err(Error::param("destination", format!("`{destination}`"), "a path that begins with `/`"));
        }
        self.send_file(local.as_ref(), format!("forward_to_fs{destination}")).await
    }

    async fn send_file(&self, path: &Path, name: String) -> Result<()> {
        let content = tokio::fs::read(path).await.map_err(|e| Error::io(path, e))?;
        self.client().upload_artifact(name, content.into()).await
    }

    /// Gives a Java class that is a function of Spark's (`org.apache.spark.sql.api.java.UDF1` …) a name in SQL; Spark
    /// finds the result's type in the class unless it is given. The class comes with the server, or in a
    /// [jar](ArtifactKind::Jar).
    ///
    /// # Errors
    /// [`Error::Server`] when there is no such class; [`Error::Unreachable`].
    pub async fn register_java_function(&self, name: &str, class: &str, result: Option<DataType>) -> Result<()> {
        self.register(name, class, result, false).await
    }

    /// As [`register_java_function`](Self::register_java_function), of a class that aggregates
    /// (`UserDefinedAggregateFunction`).
    ///
    /// # Errors
    /// As [`register_java_function`](Self::register_java_function).
    pub async fn register_java_aggregate(&self, name: &str, class: &str) -> Result<()> {
        self.register(name, class, None, true).await
    }

    async fn register(&self, name: &str, class: &str, result: Option<DataType>, aggregate: bool) -> Result<()> {
        let function =
            proto::JavaUdf { class_name: class.to_owned(), output_type: result.map(|kind| kind.to_proto()), aggregate };
        let function = proto::CommonInlineUserDefinedFunction {
            function_name: name.to_owned(),
            deterministic: true,
            function: Some(Function::JavaUdf(function)),
            ..Default::default()
        };
        self.context.command(CommandType::RegisterFunction(function)).await.map(drop)
    }
}
