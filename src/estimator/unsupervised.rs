//! Common parts of the estimators without labels: columns, parameters, the path from a frame to training rows.

use std::sync::Arc;

use super::{encoder_model, features, params::policies, readers};
use crate::{
    Result,
    dataframe::{DataFrame, NestedFields, PartitionedSource, Schema, SourceOptions},
    ml::{Preflight, feature::HandleInvalid},
    model::{EncodeOptions, Lineage, RowCounts},
    stream::RecordSource,
    tensor::{
        Columns, OnInvalid,
        reader::{Reader, Readers},
    },
    train::{Observer, Stop, TrainParams},
};

/// Columns and parameters of an estimator without labels.
#[derive(Clone)]
pub(super) struct Unsupervised {
    pub(super) columns: Columns,
    pub(super) training: TrainParams,
    /// Strategy and size of reads.
    pub(super) source: SourceOptions,
    pub(super) options: EncodeOptions,
    pub(super) observers: Vec<Arc<dyn Observer>>,
    pub(super) stop: Stop,
}

/// Training rows, not yet read.
pub(super) struct PreparedRows {
    /// Exactly the columns that are used, cast on the cluster.
    pub(super) rows: PartitionedSource,
    /// The columns, their readers fitted.
    pub(super) columns: Columns,
    /// Number of rows that the cluster counted.
    pub(super) count: u64,
}

impl Unsupervised {
    pub(super) fn new() -> Self {
        Self {
            columns: Columns::unlabelled("features"),
            training: TrainParams::default(),
            source: SourceOptions::default(),
            options: EncodeOptions::default(),
            observers: Vec::new(),
            stop: Stop::default(),
        }
    }

    pub(super) fn read(&mut self, change: impl FnOnce(Readers) -> Readers) {
        let readers = self.columns.readers.take().unwrap_or_default();
        self.columns = self.columns.clone().read_by(change(readers));
    }

    pub(super) fn input(&mut self, reader: Reader) {
        self.read(|readers| readers.input(reader));
    }

    pub(super) fn handle_invalid(&mut self, policy: HandleInvalid) {
        (self.training.on_invalid, self.options.on_invalid) = policies(policy);
    }

    /// Checks the columns it uses and those it will write.
    pub(super) fn check(&self, schema: &Schema) -> Result<()> {
        self.training.check()?;
        self.source.check()?;
        features::check(schema, &self.columns)?;
        self.options.outputs.check(schema.names())
    }

    /// Returns the schema after the stage, as far as it is known before fitting.
    pub(super) fn output_schema(&self, schema: &Schema, code: Option<usize>) -> Result<Schema> {
        self.check(schema)?;
        encoder_model::output_schema(schema, &self.options.outputs, code, None)
    }

    /// Checks the columns, has the cluster count what is in them, and selects exactly those.
    pub(super) async fn prepare(&self, frame: &DataFrame) -> Result<PreparedRows> {
        let schema = frame.schema().await?;
        let (frame, schema) = NestedFields::of(&schema).open(frame, &schema);
        let frame = &frame;
        self.check(&schema)?;
        let mut columns = self.columns.clone();
        if let Some(given) = &columns.readers {
            columns.readers = Some(readers::fit(frame, &schema, given).await?);
        }
        let counted = if columns.readers.is_some() { &[] } else { columns.features.as_slice() };
        let report = Preflight::new(counted.iter().cloned()).run(frame).await?;
        if self.training.on_invalid == OnInvalid::Error || report.rows == 0 {
            report.check_rows(frame).await?;
        }
        if columns.readers.is_none() {
            features::keep_sparse(&columns, &report, &self.training, false)?;
        }
        let rows = features::select(frame, &schema, &columns, None, None)?.source_with(self.source.clone());
        Ok(PreparedRows { rows, columns, count: report.rows })
    }
}

/// Where the rows came from that went as `counts` say.
pub(super) fn lineage(frame: &DataFrame, counts: RowCounts) -> Lineage {
    let RowCounts { trained, held_out, skipped } = counts;
    Lineage { source: frame.origin(), rows: trained + held_out + skipped, plan_hash: None }
}

/// The methods that set what all estimators without labels have; `self.base` is an [`Unsupervised`].
macro_rules! unsupervised_params {
    ($estimator:ident) => {
        impl $estimator {
            /// Names the column of features: a Spark ML vector, an array of numbers, or a number.
            pub fn features_col(mut self, name: impl Into<String>) -> Self {
                self.base.columns.features = vec![name.into()];
                self
            }

            /// Reads an input by a reader: images, text, categories, raw bytes. Several lie side by side. What a reader
            /// is not given is fitted on the cluster; the model keeps it. Replaces the column of features.
            pub fn input(mut self, reader: impl Into<$crate::tensor::reader::Reader>) -> Self {
                self.base.input(reader.into());
                self
            }

            /// Names a column that says where a row comes from, for errors about cells that cannot be read.
            pub fn origin_col(mut self, name: impl Into<String>) -> Self {
                self.base.read(|readers| readers.origin(name));
                self
            }

            /// Names the boolean column that is true for rows to hold out.
            pub fn validation_indicator_col(mut self, name: impl Into<String>) -> Self {
                self.base.columns.validation = Some(name.into()).filter(|name: &String| !name.is_empty());
                self
            }

            /// Names the output column of codes: a Spark ML vector.
            pub fn output_col(mut self, name: impl Into<String>) -> Self {
                self.base.options.outputs.code = name.into();
                self
            }

            /// Names the output column of reconstructions, as long as the features; off unless named.
            pub fn reconstruction_col(mut self, name: impl Into<String>) -> Self {
                self.base.options.outputs.reconstruction = name.into();
                self
            }

            /// Names the output column of the mean squared difference of a value from its reconstruction.
            pub fn reconstruction_error_col(mut self, name: impl Into<String>) -> Self {
                self.base.options.outputs.error = name.into();
                self
            }

            /// Says what to do with rows that cannot be used.
            /// [`HandleInvalid::Keep`](crate::ml::feature::HandleInvalid) keeps them when encoding, with nulls for
            /// outputs, and leaves them out of training.
            pub fn handle_invalid(mut self, policy: $crate::ml::feature::HandleInvalid) -> Self {
                self.base.handle_invalid(policy);
                self
            }

            /// Rows per step.
            pub fn batch_size(mut self, rows: usize) -> Self {
                self.base.training.batch_size = rows;
                self
            }

            /// Decides everything random.
            pub fn seed(mut self, seed: u64) -> Self {
                self.base.training.seed = seed;
                self
            }

            /// Sets the share of rows to hold out.
            pub fn validation_fraction(mut self, fraction: f64) -> Self {
                self.base.training.validation_fraction = fraction;
                self
            }

            /// Sets the bytes of rows that the first epoch shuffles together; it trains while they arrive.
            pub fn shuffle_buffer(mut self, bytes: u64) -> Self {
                self.base.training.shuffle_buffer = bytes;
                self
            }

            /// Sets the bytes of rows that are kept in memory for later epochs; the others go to disk.
            pub fn cache_memory(mut self, bytes: u64) -> Self {
                self.base.training.cache_memory = bytes;
                self
            }

            /// Sets how the rows are read from the cluster: the strategy and size of partition groups.
            pub fn source(mut self, options: $crate::dataframe::SourceOptions) -> Self {
                self.base.source = options;
                self
            }

            /// Changes training parameters that have no method on the estimator.
            pub fn train_params(mut self, change: impl FnOnce(&mut $crate::train::TrainParams)) -> Self {
                change(&mut self.base.training);
                self
            }

            /// Adds an observer of the training.
            pub fn observe(mut self, observer: std::sync::Arc<dyn $crate::train::Observer>) -> Self {
                self.base.observers.push(observer);
                self
            }

            /// Shows [`ProgressObserver`](crate::train::ProgressObserver) on standard error.
            #[cfg(feature = "progress")]
            pub fn progress(self) -> Self {
                self.observe(std::sync::Arc::new($crate::train::ProgressObserver::new()))
            }

            /// Ends training early at the request of `stop`.
            pub fn stop(mut self, stop: $crate::train::Stop) -> Self {
                self.base.stop = stop;
                self
            }
        }
    };
}
pub(super) use unsupervised_params;
