//! A model that the server keeps.

use std::{any::Any, time::Duration};

use futures::future::BoxFuture;

use super::{
    MlValue, SavedModel,
    call::{self, answer},
    proto::{self, ml_command as ml},
    vectors,
};
use crate::{
    Error, Result,
    dataframe::{DataFrame, Schema},
    ml::stage::{Model, Transformer},
};

/// A fitted model of Spark ML's, in the memory of the server's session.
///
/// It goes with the session, or when the server needs its memory. Every use first checks that it still exists, and the
/// error says what to do if not: fit again, or [`load`](SavedModel::load) a [saved](Self::save) model. A frame
/// transformed before that fails with Spark's `CONNECT_ML.CACHE_INVALID` when it is computed, never with a wrong
/// result; a frame of another session is refused. A clone is the same model on the server.
#[derive(Debug, Clone)]
pub struct RemoteModel {
    /// A frame of the session that has the model.
    of: DataFrame,
    id: String,
    class: String,
    /// Columns that it takes as vectors, if they exist.
    inputs: Vec<String>,
}

/// Longest time that a deletion may take.
const PATIENCE: Duration = Duration::from_secs(10);

impl RemoteModel {
    pub(super) fn new(of: &DataFrame, id: String, class: String, inputs: Vec<String>) -> Self {
        Self { of: of.clone(), id, class, inputs }
    }

    /// Returns the model's class, by Spark ML's rules of naming.
    pub fn class(&self) -> &str {
        &self.class
    }

    fn reference(&self) -> proto::ObjectRef {
        proto::ObjectRef { id: self.id.clone() }
    }

    fn fetch(&self, path: &str) -> proto::Fetch {
        let methods = path.split('.').map(|name| proto::fetch::Method { method: name.to_owned(), args: Vec::new() });
        proto::Fetch { obj_ref: Some(self.reference()), methods: methods.collect() }
    }

    /// Returns the server's answer to a command about the model; an error that says what to do if it has the model no
    /// more.
    async fn answer(&self, command: ml::Command) -> Result<Option<proto::ml_command_result::ResultType>> {
        answer(&self.of, command).await.map_err(|error| match error.server() {
            Some(server) if server.is("CONNECT_ML.CACHE_INVALID") => {
                let why = &server.class;
                let legal = format!(
                    "a model that the server has in its memory, and this one it has no more ({why}): fit it again, or load \
                     what was saved (SavedModel::load, PipelineModel::load)"
                );
                Error::param("model", &self.class, legal)
            }
            _ => error,
        })
    }

    /// Checks that the server has the model. A model that does not report its name exists too.
    async fn check_presence(&self) -> Result<()> {
        match self.answer(ml::Command::Fetch(self.fetch("toString"))).await {
            Err(Error::Unsupported { .. }) => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Returns an attribute by Spark ML's name, such as `explainedVariance`; of the summary of the fit,
    /// `summary.accuracy`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an attribute that the model lacks or the server does not give away; [`Error::Param`]
    /// when the model is gone; [`Error::Incomplete`] for one that is no value; [`Error::Unreachable`].
    pub async fn attribute(&self, path: &str) -> Result<MlValue> {
        let answer = self.answer(ml::Command::Fetch(self.fetch(path))).await?;
        call::value(answer).ok_or_else(|| call::incomplete("a value"))
    }

    /// Returns an attribute that is a table, such as `getVectors` of Word2Vec; lazy.
    pub fn attribute_frame(&self, path: &str) -> DataFrame {
        call::over(&self.of, proto::ml_relation::MlType::Fetch(self.fetch(path)))
    }

    /// Writes the model to a path of the cluster's file system, and says how to read it back.
    ///
    /// # Errors
    /// [`Error::Server`] when the path exists and is not to be overwritten, or cannot be written; [`Error::Param`] when
    /// the model is gone; [`Error::Unreachable`].
    pub async fn save(&self, path: &str, overwrite: bool) -> Result<SavedModel> {
        let write = ml::Write {
            r#type: Some(ml::write::Type::ObjRef(self.reference())),
            params: None,
            path: path.to_owned(),
            should_overwrite: Some(overwrite),
            options: Default::default(),
        };
        self.check_presence().await?;
        self.answer(ml::Command::Write(write)).await?;
        Ok(SavedModel { inputs: self.inputs.clone(), ..SavedModel::new(&self.class, path) })
    }

    /// Refuses a frame of another session, where the model is not.
    fn check_session(&self, frame: &DataFrame) -> Result<()> {
        let (here, there) = (frame.client().session_id(), self.of.client().session_id());
        if here == there {
            return Ok(());
        }
        let found = format!("{} in the memory of session {there}", self.class);
        let legal = format!(
            "a model of the frame's session {here}: fit it there, or save it and load it there (RemoteModel::save, \
             SavedModel::load, PipelineModel::save_beside)"
        );
        Err(Error::param("model", found, legal))
    }

    /// Frees the server's memory of the model; frames it has transformed cannot be computed any more. Given up after 10
    /// seconds.
    ///
    /// # Errors
    /// [`Error::Server`]; [`Error::Unreachable`]; [`Error::Cancelled`] when it took too long: the server may or may not
    /// have deleted it, and will at the end of the session.
    pub async fn delete(self) -> Result<()> {
        let delete = ml::Delete { obj_refs: vec![self.reference()], evict_only: None };
        let deleted = tokio::time::timeout(PATIENCE, answer(&self.of, ml::Command::Delete(delete))).await;
        let late = |_| Error::Cancelled { what: format!("deleting the model after {} s", PATIENCE.as_secs()) };
        deleted.map_err(late)?.map(drop)
    }
}

impl Transformer for RemoteModel {
    fn transform<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<DataFrame>> {
        let by = proto::ml_relation::transform::Operator::ObjRef(self.reference());
        Box::pin(async move {
            self.check_session(frame)?;
            self.check_presence().await?;
            let schema = frame.schema().await?;
            let input = vectors::as_vectors(frame, &self.inputs, &schema);
            let output = call::transformed(&input, by, proto::MlParams::default());
            Ok(vectors::as_before(output, &self.inputs, &schema))
        })
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        Ok(schema.clone())
    }

    fn has_known_schema(&self) -> bool {
        false
    }

    fn duplicate(&self) -> Box<dyn Transformer> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Model for RemoteModel {
    fn into_transformer(self: Box<Self>) -> Box<dyn Transformer> {
        self
    }
}
