//! The training loop.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use futures::TryStreamExt;

use super::{
    CrossEntropy, Observer, Run, StepRecord, TrainParams,
    replica::{Replicas, Tally},
    split::Split,
};
use crate::{
    Error, Result,
    model::{EpochRecord, History, Model, RowCounts},
    nn::{
        Network,
        random::{Philox, Purpose},
    },
    stream::RecordSource,
    tensor::{Columns, ExampleReader, Examples, Minibatches, Remainder},
};

/// Trains a classifier on the rows of a [`RecordSource`].
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
    classes: Option<Vec<String>>,
    observers: Vec<Arc<dyn Observer>>,
}

impl Trainer {
    /// Trains `network` on `columns`. Classes are counted from the labels and named by their numbers.
    pub fn new(network: Network, columns: Columns, params: TrainParams) -> Self {
        Self { network, columns, params, classes: None, observers: Vec::new() }
    }

    /// Names the classes, by label. There are then as many as names, whether the data holds all of them or not.
    pub fn classes(mut self, names: Vec<String>) -> Self {
        self.classes = Some(names);
        self
    }

    /// Adds someone to tell how it goes.
    pub fn observe(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Reads all rows and trains.
    ///
    /// Rows are held in memory, 4 bytes a feature. Training runs on a blocking thread of the Tokio runtime; dropping the
    /// future stops it at the next step.
    ///
    /// # Errors
    /// [`Error::Param`] for a bad parameter or a split that leaves nothing on one side, [`Error::Schema`] for a column
    /// that is missing or mistyped, [`Error::Data`] for rows that cannot be used, [`Error::Network`] for a network that
    /// does not fit itself, [`Error::Training`] when the loss is no longer a finite number; whatever the source fails with.
    pub async fn fit(&self, source: &dyn RecordSource) -> Result<Model> {
        self.params.check()?;
        self.params.check_split(&self.columns)?;
        let examples = self.read(source).await?;
        let cancel = CancelOnDrop::default();
        let (trainer, cancelled) = (self.clone(), cancel.0.clone());
        match tokio::task::spawn_blocking(move || trainer.train(&examples, &cancelled)).await {
            Ok(model) => model,
            Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            Err(_) => Err(Error::Cancelled { what: "training, by the end of the runtime".into() }),
        }
    }

    async fn read(&self, source: &dyn RecordSource) -> Result<Examples> {
        let mut stream = source.open(0).await?;
        let mut reader = ExampleReader::bind(stream.schema(), &self.columns, self.params.on_invalid)?;
        let mut rows = 0;
        while let Some(batch) = stream.try_next().await? {
            reader.push(&batch)?;
            rows += batch.num_rows() as u64;
            self.observers.iter().for_each(|o| o.reading(rows));
        }
        reader.finish()
    }

    fn train(&self, examples: &Examples, cancelled: &AtomicBool) -> Result<Model> {
        let params = &self.params;
        let split = Split::new(examples, params, &self.columns)?;
        let classes = self.class_names(examples)?;
        let spec = self.network.resolve(examples.width, classes.len())?;
        let class_weights = params.class_weights.resolve(&count(examples, &split.training, classes.len()))?;
        let devices = params.devices.open()?;
        let loss = CrossEntropy::new(class_weights, params.label_smoothing);
        let mut replicas = Replicas::new(&spec, params, loss, &devices)?;

        let rows = RowCounts {
            trained: split.training.len() as u64,
            held_out: split.held_out.len() as u64,
            skipped: examples.skipped,
        };
        let mut history = History { rows, ..History::default() };
        let run = Run {
            epochs: params.epochs,
            steps: split.training.len().div_ceil(params.batch_size),
            rows: split.training.len(),
            held_out: split.held_out.len(),
            skipped: examples.skipped,
            parameters: spec.parameters().iter().map(|p| p.shape.iter().product::<usize>()).sum(),
            classes: classes.clone(),
            devices: params.devices.to_string(),
        };
        self.observers.iter().for_each(|o| o.begin(&run));

        let mut step = 0;
        for epoch in 0..params.epochs {
            let start = Instant::now();
            let mut order = split.training.clone();
            if params.shuffle {
                Philox::new(params.seed, Purpose::Shuffle, 0, epoch as u64).shuffle(&mut order);
            }
            let mut tally = Tally::default();
            for minibatch in Minibatches::new(examples, &order, params.batch_size, Remainder::Keep) {
                if cancelled.load(Ordering::Relaxed) {
                    return Err(Error::Cancelled { what: format!("training at epoch {epoch}, step {step}") });
                }
                let seen = replicas.step(&minibatch, step)?;
                if !seen.loss.is_finite() {
                    return Err(self.exploded(epoch, step, minibatch.rows(), seen.loss));
                }
                tally.add(seen);
                let record = StepRecord { epoch, step, rows: minibatch.rows(), loss: seen.mean_loss() };
                self.observers.iter().for_each(|o| o.step(&record));
                step += 1;
            }
            let mut held_out = None;
            if !split.held_out.is_empty() {
                let (evaluation, matrix) = replicas.evaluate(examples, &split.held_out)?;
                held_out = Some(evaluation);
                history.held_out = Some(matrix);
            }
            let seconds = start.elapsed().as_secs_f64();
            let record = EpochRecord { epoch, training: tally.evaluation(), held_out, seconds };
            self.observers.iter().for_each(|o| o.epoch(&record));
            history.epochs.push(record);
            if self.has_converged(&history) {
                break;
            }
        }
        self.observers.iter().for_each(|o| o.end(&history));
        let weights = replicas.weights()?;
        if weights.tensors().iter().any(|tensor| tensor.values.iter().any(|v| !v.is_finite())) {
            return Err(self.exploded(history.epochs.len() - 1, step - 1, params.batch_size, f64::NAN));
        }
        Model::new(spec, weights, self.columns.clone(), classes, history)
    }

    fn class_names(&self, examples: &Examples) -> Result<Vec<String>> {
        let highest = examples.labels.iter().copied().max().unwrap_or(0) as usize;
        let names = self.classes.clone().unwrap_or_else(|| (0..=highest).map(|class| class.to_string()).collect());
        let column = &self.columns.label;
        if highest >= names.len() {
            let reason = format!("holds label {highest}, but there are {} class names", names.len());
            return Err(Error::data(column, reason));
        }
        if names.len() < 2 {
            return Err(Error::data(column, "holds one class only; there is nothing to tell apart"));
        }
        Ok(names)
    }

    /// Whether the last epoch changed the loss by less than the tolerance allows.
    fn has_converged(&self, history: &History) -> bool {
        let loss = |e: &EpochRecord| e.held_out.unwrap_or(e.training).loss;
        match history.epochs.as_slice() {
            [.., before, last] => (loss(before) - loss(last)).abs() < self.params.tol * loss(before).abs(),
            _ => false,
        }
    }

    fn exploded(&self, epoch: usize, step: usize, rows: usize, loss: f64) -> Error {
        let rate = self.params.learning_rate;
        let reason = format!(
            "the loss is {loss} on a minibatch of {rows} rows at learning rate {rate:?}; lower the learning rate, \
             or scale the features"
        );
        Error::Training { epoch, step, reason }
    }
}

impl fmt::Debug for Trainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { network, columns, params, classes, observers } = self;
        f.debug_struct("Trainer")
            .field("network", network)
            .field("columns", columns)
            .field("params", params)
            .field("classes", classes)
            .field("observers", &observers.len())
            .finish()
    }
}

/// How many of `rows` each class has.
fn count(examples: &Examples, rows: &[u32], classes: usize) -> Vec<u64> {
    let mut counts = vec![0; classes];
    for &row in rows {
        counts[examples.labels[row as usize] as usize] += 1;
    }
    counts
}

/// Tells the training thread to stop when the future that waits for it is dropped.
#[derive(Default)]
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
