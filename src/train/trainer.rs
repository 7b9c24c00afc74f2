//! Trains a network on the rows of a source.

mod course;
mod task;

use std::{fmt, sync::Arc};

use arrow::datatypes::Schema;

use super::{
    Checkpoints, ClassWeights, Observer, Run, Stop, TrainParams,
    feed::{Everything, Feeder},
    reading::read_and_train,
};
use crate::{
    Result,
    model::{RowCounts, Scaling, TrainedNetwork},
    nn::{InputColumn, Network, Weights},
    stream::RecordSource,
    tensor::{
        Columns, Decoder, ElementType, ExampleDecoder, LabelKind, OnInvalid, fixed_bytes,
        reader::{RecordDecoder, RecordReader, TensorReader},
        rows_at_once,
    },
};

/// Trains a network on the rows of a [`RecordSource`].
///
/// ```no_run
/// # async fn example(source: &dyn tinderbox::stream::RecordSource) -> tinderbox::Result<()> {
/// use tinderbox::{nn::Network, tensor::Columns, train::{TrainParams, Trainer}};
///
/// let params = TrainParams { epochs: 60, validation_fraction: 0.2, ..TrainParams::default() };
/// let model = Trainer::new(Network::mlp([16, 16]), Columns::new("features", "label"), params).fit(source).await?;
/// println!("{:?}", model.history().held_out_accuracy());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Trainer {
    network: Network,
    columns: Columns,
    params: TrainParams,
    names: Option<Vec<String>>,
    scaling: Option<Scaling>,
    class_counts: Option<Vec<u64>>,
    expected_rows: Option<u64>,
    make_decoder: Option<MakeDecoder>,
    initial: Option<Weights>,
    /// Which of a row's values are which column's.
    inputs: Vec<InputColumn>,
    observers: Vec<Arc<dyn Observer>>,
    checkpoints: Option<Checkpoints>,
    stop: Stop,
}

type MakeDecoder = Arc<dyn Fn(&Schema) -> Result<Box<dyn Decoder>> + Send + Sync>;

/// Largest number of starts when the cluster loses rows while they are read.
const BEGINNINGS: u32 = 3;

impl Trainer {
    /// Trains `network` on `columns`, for the loss of the parameters. Classes are counted from the labels and named by
    /// their numbers. With a loss over values the label column holds a number, or an array of as many as there are
    /// targets; without one ([`Columns::unlabelled`]) the network learns to restore its input.
    pub fn new(network: Network, columns: Columns, params: TrainParams) -> Self {
        Self {
            network,
            columns,
            params,
            names: None,
            scaling: None,
            class_counts: None,
            expected_rows: None,
            make_decoder: None,
            initial: None,
            inputs: Vec::new(),
            observers: Vec::new(),
            checkpoints: None,
            stop: Stop::default(),
        }
    }

    /// Names the classes, by label. There are then as many as names, whether the data holds all of them or not.
    pub fn classes(mut self, names: Vec<String>) -> Self {
        self.names = Some(names);
        self
    }

    /// Names the targets, or the labels that a row has or has not, in the order of the label column's values.
    pub fn targets(mut self, names: Vec<String>) -> Self {
        self.names = Some(names);
        self
    }

    /// Says where the targets lie and how far apart, so that the network learns them at mean 0 and deviation 1. The
    /// model undoes it. Not for [`Loss::Poisson`](super::Loss::Poisson) and
    /// [`Loss::BinaryCrossEntropy`](super::Loss::BinaryCrossEntropy).
    pub fn scaling(mut self, scaling: Scaling) -> Self {
        self.scaling = Some(scaling);
        self
    }

    /// Says how many rows each class has, by label, as counted beforehand. Without names there are then as many classes
    /// as counts, and [`ClassWeights::Balanced`] goes by them.
    pub fn class_counts(mut self, counts: Vec<u64>) -> Self {
        self.class_counts = Some(counts);
        self
    }

    /// Says how many rows the source has, as counted beforehand. Another number at the end of the first epoch is an
    /// error.
    pub fn expected_rows(mut self, rows: u64) -> Self {
        self.expected_rows = Some(rows);
        self
    }

    /// Decodes the stream's batches with what `make` makes for their schema, in place of what the columns
    /// ask for: their readers, or an [`ExampleDecoder`].
    pub fn decoder(mut self, make: impl Fn(&Schema) -> Result<Box<dyn Decoder>> + Send + Sync + 'static) -> Self {
        self.make_decoder = Some(Arc::new(make));
        self
    }

    /// Says which of a row's values are which column's, for a network that joins columns. Without, columns of one
    /// number each, or a single column, are known by their names.
    pub fn input_columns(mut self, columns: Vec<InputColumn>) -> Self {
        self.inputs = columns;
        self
    }

    /// Begins with these weights; tensors of the network that are not among them are drawn from the seed.
    pub fn initial_weights(mut self, weights: impl Into<Weights>) -> Self {
        self.initial = Some(weights.into());
        self
    }

    /// Adds someone to tell how it goes.
    pub fn observe(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Writes checkpoints, and resumes from the last one of the same run if there is one.
    pub fn checkpoints(mut self, checkpoints: Checkpoints) -> Self {
        self.checkpoints = Some(checkpoints);
        self
    }

    /// Ends training early at the request of `stop`.
    pub fn stop(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }

    /// Reads the rows and trains.
    ///
    /// The first epoch trains while the rows arrive, in blocks of [`TrainParams::shuffle_buffer`] bytes whose rows are
    /// shuffled; data smaller than one block is shuffled as a whole. Later epochs shuffle all rows, which are kept in
    /// memory up to [`TrainParams::cache_memory`] bytes and on disk beyond that. Training waits for all rows when the
    /// classes are known neither by name nor by count, or weights are to be balanced and the classes are not counted.
    /// Memory is bounded by the cache's budget, three blocks, a few minibatches and 8 bytes a row.
    ///
    /// When the cluster loses rows that it kept while they arrive
    /// ([`Error::is_rows_lost`](crate::Error::is_rows_lost)), the source is opened again and training starts again,
    /// from the last checkpoint or from its beginning; the third loss is an error. Observers are called for each start.
    ///
    /// Decoding, copying minibatches together and the steps each have a blocking thread of the Tokio runtime or of
    /// their own; dropping the future stops them at the next batch or step, and removes what was cached.
    ///
    /// # Errors
    /// [`Error::Param`](crate::Error::Param) for a bad parameter or a split that leaves nothing on one side,
    /// [`Error::Schema`](crate::Error::Schema) for a column that is missing or mistyped,
    /// [`Error::Data`](crate::Error::Data) for rows that cannot be used, [`Error::Network`](crate::Error::Network) for
    /// a network that does not fit itself or the rows, [`Error::Diverged`](crate::Error::Diverged) when the loss is no
    /// longer a finite number, [`Error::RowsLost`](crate::Error::RowsLost) when the rows are not as many as
    /// expected, [`Error::Io`](crate::Error::Io) when the disk is full; whatever the source fails with, as
    /// [`Error::Interrupted`](crate::Error::Interrupted) when a checkpoint was written before.
    pub async fn fit(&self, source: &dyn RecordSource) -> Result<TrainedNetwork> {
        self.params.check()?;
        self.params.check_split(&self.columns)?;
        let mut beginnings = 1;
        loop {
            match self.run(source).await {
                Err(error) if error.is_rows_lost() && beginnings < BEGINNINGS => {
                    tracing::warn!(%error, "training begins again with rows that are computed anew");
                    beginnings += 1;
                }
                done => return done,
            }
        }
    }

    async fn run(&self, source: &dyn RecordSource) -> Result<TrainedNetwork> {
        let stream = source.open(0).await?;
        let feeder = self.feeder(stream.schema(), source.origin())?;
        let stream = stream.in_slices(rows_at_once(fixed_bytes(feeder.decoder.fields())));
        let trainer = self.clone();
        read_and_train(stream, feeder, move |blocks, cancelled| course::train(&trainer, blocks, cancelled)).await
    }

    fn feeder(&self, schema: &Schema, source: String) -> Result<Feeder> {
        let Self { columns, params, .. } = self;
        let kind = self.label_kind();
        let classes = self.names.as_ref().map(Vec::len).or(self.class_counts.as_ref().map(Vec::len));
        let classes = classes.filter(|_| kind == LabelKind::Class);
        let balanced = params.class_weights == ClassWeights::Balanced;
        Ok(Feeder {
            decoder: match &self.make_decoder {
                Some(make) => make(schema)?,
                None => decoder(schema, columns, kind, params.on_invalid)?,
            },
            params: params.clone(),
            columns: columns.clone(),
            classes,
            expected_rows: self.expected_rows,
            at_once: kind != LabelKind::Class || classes.is_some() && !(balanced && self.class_counts.is_none()),
            source,
            observers: self.observers.clone(),
        })
    }

    /// Returns the facts known of the run before its first step: exact once all rows have arrived, else by the expected
    /// number.
    fn announced(&self, everything: Option<&Everything>, parameters: usize, classes: &[String]) -> Run {
        let RowCounts { trained, held_out, skipped } = everything.map(Everything::counts).unwrap_or_else(|| {
            let rows = self.expected_rows.unwrap_or(0);
            let held_out = (rows as f64 * self.params.validation_fraction).round() as u64;
            RowCounts { trained: rows - held_out.min(rows), held_out, skipped: 0 }
        });
        Run {
            epochs: self.params.epochs,
            steps: (trained as usize).div_ceil(self.params.batch_size),
            rows: trained as usize,
            held_out: held_out as usize,
            skipped,
            parameters,
            classes: classes.to_vec(),
            devices: self.params.devices.to_string(),
            ..Run::default()
        }
    }
}

/// Decodes by the columns' readers where there are any, else numbers.
fn decoder(schema: &Schema, columns: &Columns, kind: LabelKind, on_invalid: OnInvalid) -> Result<Box<dyn Decoder>> {
    let Some(readers) = &columns.readers else {
        return Ok(Box::new(ExampleDecoder::bind_as(schema, columns, kind, on_invalid)?));
    };
    let number = TensorReader::number(&columns.label);
    let label = match kind {
        LabelKind::None => None,
        _ if readers.label.is_some() => readers.label.clone(),
        LabelKind::Class => Some(number.element(ElementType::U32).into()),
        _ => Some(number.element(ElementType::F64).into()),
    };
    let (weight, held_out) = (columns.weight.as_deref(), columns.validation.as_deref());
    let reader = RecordReader::examples(schema, readers, label, weight, held_out)?;
    Ok(Box::new(RecordDecoder::new(reader, on_invalid)?))
}

impl fmt::Debug for Trainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { network, columns, params, names, scaling, class_counts, expected_rows, .. } = self;
        f.debug_struct("Trainer")
            .field("network", network)
            .field("columns", columns)
            .field("params", params)
            .field("names", names)
            .field("scaling", scaling)
            .field("class_counts", class_counts)
            .field("expected_rows", expected_rows)
            .field("observers", &self.observers.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod sequence_tests;

#[cfg(test)]
mod sparse_tests;

#[cfg(test)]
mod accuracy_tests;
