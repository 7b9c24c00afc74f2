//! Actions: what asks the cluster.

use std::sync::Arc;

use arrow::{
    array::{AsArray, RecordBatch, StringArray},
    datatypes::{Field, Int64Type, Schema as ArrowSchema, SchemaRef},
};
use futures::{StreamExt, TryStreamExt};
use spark_connect::functions;
use spark_connect_proto::{
    self as proto, analyze_plan_request as ask, analyze_plan_response as answer, relation::RelType,
};

use super::{DataFrame, METADATA_KEY, Schema, function, record};
use crate::{
    Error, Result,
    connect::Event,
    stream::{RecordStream, ipc},
};

/// Returns the cells of a column of text in an answer.
///
/// # Errors
/// [`Error::Incomplete`] for a column that is missing or not text.
pub(crate) fn texts(batch: &RecordBatch, column: usize) -> Result<StringArray> {
    let cells = batch.columns().get(column).and_then(|cells| cells.as_string_opt::<i32>()).cloned();
    cells.ok_or_else(|| Error::Incomplete {
        operation: "reading text".into(),
        reason: format!("expected text in column {column} of the answer, found {:?}", batch.schema()),
    })
}

/// Detail of [`DataFrame::explain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ExplainMode {
    /// The physical plan.
    #[default]
    Simple,
    /// The logical plans too.
    Extended,
    /// The generated code too.
    Codegen,
    /// The logical plan with statistics.
    Cost,
    /// The physical plan in two parts: an outline and the details of each node.
    Formatted,
}

impl DataFrame {
    /// Returns the columns, with their metadata. Spark analyses the plan; no row is read.
    ///
    /// # Errors
    /// [`Error::Server`] when Spark cannot analyse the plan; [`Error::Unreachable`].
    pub async fn schema(&self) -> Result<Schema> {
        match self.client().analyze(ask::Analyze::Schema(ask::Schema { plan: Some(self.plan()?) })).await? {
            answer::Result::Schema(answer::Schema { schema: Some(schema) }) => Schema::from_proto(&schema),
            _ => Err(unexpected("Schema")),
        }
    }

    /// As [`schema`](Self::schema); the schema also knows whether the server has vectors, which is requested once a
    /// session.
    pub(crate) async fn schema_for_stages(&self) -> Result<Schema> {
        Ok(self.schema().await?.on_server(self.has_vectors().await?))
    }

    /// Returns whether the server has Spark ML's vectors.
    pub(crate) async fn has_vectors(&self) -> Result<bool> {
        let ask = || async {
            let vector = function("array_to_vector", [function("array", [spark_connect::lit_double(0.0)])]);
            match self.select([vector.alias("vector")]).schema().await {
                Ok(_) => Ok(true),
                Err(error) if error.is_refusal() => {
                    tracing::info!(%error, "the server has no vectors; arrays of doubles stand for them");
                    Ok(false)
                }
                Err(error) => Err(error),
            }
        };
        self.context.vectors.get_or_try_init(ask).await.copied()
    }

    /// Returns Spark's account of the plan.
    ///
    /// # Errors
    /// As [`schema`](Self::schema).
    pub async fn explain(&self, mode: ExplainMode) -> Result<String> {
        let mode = match mode {
            ExplainMode::Simple => ask::explain::ExplainMode::Simple,
            ExplainMode::Extended => ask::explain::ExplainMode::Extended,
            ExplainMode::Codegen => ask::explain::ExplainMode::Codegen,
            ExplainMode::Cost => ask::explain::ExplainMode::Cost,
            ExplainMode::Formatted => ask::explain::ExplainMode::Formatted,
        };
        let explain = ask::Explain { plan: Some(self.plan()?), explain_mode: mode.into() };
        match self.client().analyze(ask::Analyze::Explain(explain)).await? {
            answer::Result::Explain(explain) => Ok(explain.explain_string),
            _ => Err(unexpected("Explain")),
        }
    }

    /// Runs the plan and gives its rows as they arrive.
    ///
    /// Resolves when the first batch has arrived. The schema's fields carry the columns' metadata under
    /// [`METADATA_KEY`]. The stream ends only when all rows have come; dropping it interrupts the work on the cluster.
    /// A vector column arrives as struct (type, size, indices, values).
    ///
    /// # Errors
    /// [`Error::Server`] when Spark cannot run the plan, [`Error::Unreachable`], [`Error::Incomplete`] when rows would
    /// be lost, [`Error::Arrow`] for data that cannot be decoded; the stream's items fail likewise.
    pub async fn stream(&self) -> Result<RecordStream> {
        self.stream_noting(|_| ()).await
    }

    /// As [`stream`](Self::stream); `note` sees every event.
    pub(super) async fn stream_noting(
        &self,
        mut note: impl FnMut(&Event) + Send + Unpin + 'static,
    ) -> Result<RecordStream> {
        let execution = self.context.execute(self.plan()?);
        let operation = execution.operation_id().to_owned();
        let observations = self.plan.observations();
        let mut events = execution.inspect_ok(move |event| {
            record(&observations, event);
            note(event);
        });
        let mut decoder = ipc::IpcDecoder::default();
        let mut spark_schema = None;
        let first = loop {
            match events.try_next().await? {
                Some(Event::Schema(schema)) => spark_schema = Some(Schema::from_proto(&schema)?),
                Some(Event::Batch(payload)) => break decode(&mut decoder, payload.data, payload.rows, &spark_schema)?,
                Some(_) => {}
                None => {
                    // Spark sends a batch even for an empty result: it carries the schema.
                    return Err(Error::Incomplete {
                        operation,
                        reason: "the server sent no batch, not even an empty one".into(),
                    });
                }
            }
        };
        let Some(arrow_schema) = decoder.schema() else { return Err(unexpected("ExecutePlan")) };
        let schema = with_spark_metadata(arrow_schema, spark_schema.as_ref());
        let rest = decoded(events, decoder, spark_schema);
        let shared = schema.clone();
        let batches = futures::stream::iter(first.into_iter().map(Ok)).chain(rest);
        let batches = batches.map(move |batch| {
            batch?.with_schema(shared.clone()).map_err(|e| Error::arrow("adding column metadata to a batch", e))
        });
        Ok(RecordStream::new(schema, batches))
    }

    /// Returns all rows, in this process's memory.
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    pub async fn collect(&self) -> Result<Vec<RecordBatch>> {
        self.stream().await?.collect().await
    }

    /// Returns the number of rows.
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    pub async fn count(&self) -> Result<u64> {
        let batches = self.agg([functions::count(spark_connect::lit(1))]).collect().await?;
        let counts = batches.iter().filter(|batch| batch.num_rows() > 0);
        let mut counts = counts.filter_map(|b| Some(b.column(0).as_primitive_opt::<Int64Type>()?.value(0)));
        counts.next().map(|n| n.max(0) as u64).ok_or_else(|| unexpected("count"))
    }

    /// Returns the first `rows` rows.
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    pub async fn take(&self, rows: i32) -> Result<Vec<RecordBatch>> {
        self.limit(rows).collect().await
    }

    /// Returns the last `rows` rows.
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    pub async fn tail(&self, rows: i32) -> Result<Vec<RecordBatch>> {
        let tail = proto::Tail { input: None, limit: rows };
        self.derive(RelType::Tail(Box::new(tail))).collect().await
    }

    /// Returns the first row, as a batch of one; `None` when there is none.
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    pub async fn first(&self) -> Result<Option<RecordBatch>> {
        Ok(self.take(1).await?.into_iter().find(|batch| batch.num_rows() > 0))
    }

    /// Returns whether the frame has no row.
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    pub async fn is_empty(&self) -> Result<bool> {
        Ok(self.select_expr(["1"]).first().await?.is_none())
    }

    /// Returns the first `rows` rows as Spark's text table, cells cut to 20 characters.
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    pub async fn to_text(&self, rows: i32) -> Result<String> {
        self.to_text_with(rows, 20, false).await
    }

    /// Returns the first `rows` rows as Spark's text table; cells cut to `truncate` characters (0: whole), or
    /// `vertical`, a line a cell.
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    pub async fn to_text_with(&self, rows: i32, truncate: i32, vertical: bool) -> Result<String> {
        let show = proto::ShowString { input: None, num_rows: rows, truncate, vertical };
        let batches = self.derive(RelType::ShowString(Box::new(show))).collect().await?;
        let batch = batches.iter().find(|batch| batch.num_rows() > 0);
        Ok(texts(batch.ok_or_else(|| unexpected("ShowString"))?, 0)?.value(0).to_owned())
    }

    /// Prints the first `rows` rows as Spark does.
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    pub async fn show(&self, rows: i32) -> Result<()> {
        println!("{}", self.to_text(rows).await?);
        Ok(())
    }
}

pub(super) fn unexpected(call: &str) -> Error {
    Error::Incomplete { operation: call.into(), reason: "the server's answer is empty".into() }
}

/// Returns the batches that follow the first.
fn decoded(
    events: impl futures::Stream<Item = Result<Event>> + Send + Unpin + 'static,
    decoder: ipc::IpcDecoder,
    schema: Option<Schema>,
) -> impl futures::Stream<Item = Result<RecordBatch>> + Send + 'static {
    let batches = futures::stream::try_unfold((events, decoder, schema), |(mut events, mut decoder, schema)| async {
        while let Some(event) = events.try_next().await? {
            if let Event::Batch(payload) = event {
                let batches = decode(&mut decoder, payload.data, payload.rows, &schema)?;
                return Ok(Some((futures::stream::iter(batches.into_iter().map(Ok)), (events, decoder, schema))));
            }
        }
        Ok::<_, Error>(None)
    });
    batches.try_flatten()
}

/// Decodes, and names the columns whose types may be the cause of a failure.
fn decode(
    decoder: &mut ipc::IpcDecoder,
    data: arrow::buffer::Buffer,
    rows: u64,
    schema: &Option<Schema>,
) -> Result<Vec<RecordBatch>> {
    decoder.decode(data, rows).map_err(|error| {
        let unusual = schema.iter().flat_map(Schema::fields).find(|field| {
            let name = field.data_type.simple_string();
            ["interval", "variant", "geo", "time("].iter().any(|kind| name.contains(kind))
        });
        match unusual {
            Some(field) => Error::schema(
                field.name.as_str(),
                "a type with an Arrow form; cast it on the cluster (to string, for example)",
                format!("{} ({error})", field.data_type.simple_string()),
            ),
            None => error,
        }
    })
}

/// Puts the columns' metadata on the fields, as Spark 4.2 does itself.
fn with_spark_metadata(arrow: &SchemaRef, spark: Option<&Schema>) -> SchemaRef {
    let Some(spark) = spark.filter(|s| s.fields().len() == arrow.fields().len()) else { return arrow.clone() };
    let fields = arrow.fields().iter().zip(spark.fields()).map(|(field, column)| {
        if column.metadata.is_empty() || field.metadata().contains_key(METADATA_KEY) {
            return field.clone();
        }
        let mut metadata = field.metadata().clone();
        let json = serde_json::to_value(&column.metadata).unwrap_or_default();
        metadata.insert(METADATA_KEY.into(), json.to_string());
        Arc::new(Field::clone(field).with_metadata(metadata))
    });
    Arc::new(ArrowSchema::new_with_metadata(fields.collect::<Vec<_>>(), arrow.metadata().clone()))
}
