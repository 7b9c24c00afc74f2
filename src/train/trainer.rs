//! The training loop.

mod task;

use std::{
    fmt, iter,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::Receiver,
    },
    time::{Duration, Instant},
};

use arrow::datatypes::Schema;

use super::{
    Checkpoints, ClassWeights, Observer, Position, Run, StepRecord, Stop, TrainParams,
    checkpoint::{Course, Keeper, is_finite, run_identity},
    feed::{Block, Everything, Feeder, Prefetched, prefetch},
    reading::{read_and_train, reading_ended},
    replica::{Replicas, Staged, check_fields},
};
use crate::{
    Error, Result,
    model::{EpochRecord, History, Model, RowCounts, Scaling},
    nn::{Network, Weights},
    stream::RecordSource,
    tensor::{
        Columns, Decoder, Element, ExampleDecoder, LabelKind, OnInvalid,
        reader::{RecordDecoder, RecordReader, TensorReader},
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
    observers: Vec<Arc<dyn Observer>>,
    checkpoints: Option<Checkpoints>,
    stop: Stop,
}

type MakeDecoder = Arc<dyn Fn(&Schema) -> Result<Box<dyn Decoder>> + Send + Sync>;

impl Trainer {
    /// Trains `network` on `columns`, for the loss of the parameters. Classes are counted from the labels and named by their
    /// numbers. With a loss over values the label column holds a number, or an array of as many as there are targets; without
    /// one ([`Columns::unlabelled`]) the network learns to restore its input.
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

    /// Says where the targets lie and how far apart, so that the network learns them at mean 0 and deviation 1. The model
    /// undoes it. Not for
    /// [`Loss::Poisson`](super::Loss::Poisson) and [`Loss::BinaryCrossEntropy`](super::Loss::BinaryCrossEntropy).
    pub fn scaling(mut self, scaling: Scaling) -> Self {
        self.scaling = Some(scaling);
        self
    }

    /// Says how many rows each class has, by label, as counted beforehand. Without names there are then as many classes as
    /// counts, and [`ClassWeights::Balanced`] goes by them.
    pub fn class_counts(mut self, counts: Vec<u64>) -> Self {
        self.class_counts = Some(counts);
        self
    }

    /// Says how many rows the source has, as counted beforehand. Another number at the end of the first epoch is an error.
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

    /// Begins with these weights; tensors of the network that are not among them are drawn from the seed.
    pub fn initial_weights(mut self, weights: Weights) -> Self {
        self.initial = Some(weights);
        self
    }

    /// Adds someone to tell how it goes.
    pub fn observe(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Writes checkpoints, and goes on from the last one of the same run if there is one.
    pub fn checkpoints(mut self, checkpoints: Checkpoints) -> Self {
        self.checkpoints = Some(checkpoints);
        self
    }

    /// Ends training early when `stop` is asked to.
    pub fn stop(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }

    /// Reads the rows and trains.
    ///
    /// The first epoch trains while the rows arrive, in blocks of [`TrainParams::shuffle_buffer`] bytes whose rows are
    /// shuffled; data smaller than one block is shuffled as a whole. Later epochs shuffle all rows, which are kept in memory
    /// up to [`TrainParams::cache_memory`] bytes and on disk beyond that. Training waits for all rows when the classes are
    /// known neither by name nor by count, or weights are to be balanced and the classes are not counted. Memory is bounded
    /// by the cache's budget, three blocks, a few minibatches and 8 bytes a row.
    ///
    /// Decoding, copying minibatches together and the steps each have a blocking thread of the Tokio runtime or of their
    /// own; dropping the future stops them at the next batch or step, and removes what was cached.
    ///
    /// # Errors
    /// [`Error::Param`] for a bad parameter or a split that leaves nothing on one side, [`Error::Schema`] for a column
    /// that is missing or mistyped, [`Error::Data`] for rows that cannot be used, [`Error::Network`] for a network that
    /// does not fit itself or the rows, [`Error::Training`] when the loss is no longer a finite number,
    /// [`Error::Incomplete`] when the rows are not as many as expected, [`Error::Io`] when the disk is full; whatever the
    /// source fails with.
    pub async fn fit(&self, source: &dyn RecordSource) -> Result<Model> {
        self.params.check()?;
        self.params.check_split(&self.columns)?;
        let stream = source.open(0).await?;
        let feeder = self.feeder(stream.schema(), source.describe())?;
        let trainer = self.clone();
        read_and_train(stream, feeder, move |blocks, cancelled| trainer.train(blocks, cancelled)).await
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

    fn train(&self, blocks: Receiver<Result<Block>>, cancelled: &AtomicBool) -> Result<Model> {
        let params = &self.params;
        let first = blocks.recv().map_err(|_| reading_ended())??;
        let inputs = check_fields(first.rows.fields(), self.label_kind(), self.network.takes_ids())?;
        let (task, outputs) = self.task(&first, &inputs)?;
        let spec = self.network.resolve(inputs, outputs)?;
        let devices = params.devices.open()?;
        let objective = self.objective(&task, first.end.as_ref(), outputs)?;
        let mut replicas = Replicas::new(&spec, params, objective, &devices)?;
        if let Some(given) = &self.initial {
            replicas.load(&spec, &spec.initial_weights(params.seed, given)?)?;
        }
        let parameters = spec.parameters().iter().map(|p| p.shape.iter().product::<usize>()).sum();
        let run = Run { metric: replicas.metric(), ..self.run(first.end.as_ref(), parameters, task.names()) };
        self.observers.iter().for_each(|o| o.begin(&run));

        let mut keeper = Keeper::new(self.checkpoints.as_ref(), run_identity(&spec, params, &self.columns, &task)?);
        let mut course = keeper.resume(&spec, params, &mut replicas)?;
        course.history.metric = replicas.metric();
        let mut everything: Option<Everything> = None;
        let mut arriving = Some(iter::once(Ok(first)).chain(blocks));
        for epoch in 0..params.epochs {
            // What an epoch's order and steps depend on is its number; only the first, which brings the rows, is read again.
            if course.over || (0 < epoch && epoch < course.epoch) {
                continue;
            }
            let start = Instant::now();
            let stager = replicas.stager();
            let stage = move |minibatch, index| stager.stage(minibatch, Some((epoch, index)));
            let minibatches = match (&everything, arriving.take()) {
                (None, Some(blocks)) => prefetch(blocks, stage, params.batch_size),
                (Some(all), _) => prefetch(iter::once(Ok(all.block(params, epoch))), stage, params.batch_size),
                (None, None) => return Err(reading_ended()),
            };
            let steps =
                everything.as_ref().map_or(run.steps, |all| all.split.training.len().div_ceil(params.batch_size));
            let passed = match epoch < course.epoch {
                true => skip(&minibatches, usize::MAX).map(|()| Passed::default())?,
                false => {
                    skip(&minibatches, course.step_in_epoch)?;
                    self.epoch(&mut replicas, &minibatches, &mut course, steps, &mut keeper, cancelled)?
                }
            };
            if passed.ended {
                break;
            }
            everything = minibatches.end().or(everything);
            if epoch < course.epoch {
                continue;
            }
            let all = everything.as_ref().ok_or_else(reading_ended)?;
            course.history.rows = all.counts();
            let mut held_out = None;
            if !all.split.held_out.is_empty() {
                let (evaluation, matrix) = replicas.evaluate(&all.rows, &all.split.held_out)?;
                held_out = Some(evaluation);
                course.history.held_out = matrix;
            }
            let seconds = start.elapsed().as_secs_f64();
            let Passed { waiting, learning_rate, .. } = passed;
            let (training, waiting) =
                (std::mem::take(&mut course.tally).evaluation(replicas.metric()), waiting.as_secs_f64());
            let record = EpochRecord { epoch, training, held_out, seconds, waiting, learning_rate };
            params.schedule.epoch(held_out.unwrap_or(training).loss, &mut course.plateau);
            self.observers.iter().for_each(|o| o.epoch(&record));
            if let Some(stopping) = params.early_stopping {
                if course.lowest.note(&record, stopping.min_delta) && stopping.restore_best {
                    keeper.best = Some(replicas.weights()?);
                }
                course.over = course.lowest.out_of(stopping.patience);
            }
            course.history.epochs.push(record);
            course.over |= self.has_converged(&course.history);
            (course.epoch, course.step_in_epoch) = (epoch + 1, 0);
            keeper.epoch_is_over(&course, &replicas, epoch + 1 == params.epochs)?;
        }
        if let Some(best) = keeper.best.take() {
            replicas.load(&spec, &best)?;
            if let Some(all) = everything.filter(|all| !all.split.held_out.is_empty()) {
                course.history.held_out = replicas.evaluate(&all.rows, &all.split.held_out)?.1;
            }
        }
        let weights = replicas.weights()?;
        if !is_finite(&weights) {
            let (epoch, step) = (course.epoch.saturating_sub(1), course.step.saturating_sub(1));
            return Err(exploded(epoch, step, params.batch_size, f64::NAN, params.learning_rate));
        }
        self.observers.iter().for_each(|o| o.end(&course.history));
        Model::new(spec, weights, self.columns.clone(), task, course.history)
    }

    /// Takes a step for every minibatch.
    fn epoch(
        &self,
        replicas: &mut Replicas,
        minibatches: &Prefetched<Staged>,
        course: &mut Course,
        steps: usize,
        keeper: &mut Keeper<'_>,
        cancelled: &AtomicBool,
    ) -> Result<Passed> {
        let params = &self.params;
        let mut passed = Passed { learning_rate: params.learning_rate, ..Passed::default() };
        let mut asked = Instant::now();
        loop {
            let late = params.max_seconds.is_some_and(|most| keeper.seconds() >= most);
            if late || self.stop.requested() || params.max_steps.is_some_and(|most| course.step >= most) {
                keeper.save(course, replicas)?;
                passed.ended = true;
                return Ok(passed);
            }
            let Some(staged) = minibatches.next() else { return Ok(passed) };
            let waited = asked.elapsed();
            passed.waiting += waited;
            let (epoch, step) = (course.epoch, course.step);
            if cancelled.load(Ordering::Relaxed) {
                return Err(Error::Cancelled { what: format!("training at epoch {epoch}, step {step}") });
            }
            let staged = staged?;
            let at = Position {
                epoch,
                epochs: params.epochs,
                step_in_epoch: course.step_in_epoch as u64,
                steps_per_epoch: (steps > 0).then_some(steps as u64),
                step: step as u64,
            };
            let learning_rate = params.learning_rate * params.schedule.share(&at, &course.plateau);
            replicas.set_learning_rate(learning_rate);
            passed.learning_rate = learning_rate;
            let begun = Instant::now();
            let seen = replicas.step(&staged, step)?;
            if !seen.loss.is_finite() {
                return Err(exploded(epoch, step, staged.rows, seen.loss, learning_rate));
            }
            course.tally.add(seen);
            let (rows, loss, took) = (staged.rows, seen.mean_loss(), begun.elapsed());
            let record = StepRecord { epoch, step, rows, loss, learning_rate, waited, took };
            self.observers.iter().for_each(|o| o.step(&record));
            course.step += 1;
            course.step_in_epoch += 1;
            keeper.step_is_over(course, replicas)?;
            asked = Instant::now();
        }
    }

    /// What is known of the run before its first step: exact when all rows are there, else by what is expected.
    fn run(&self, everything: Option<&Everything>, parameters: usize, classes: &[String]) -> Run {
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

    /// Whether the last epoch changed the loss by less than the tolerance allows.
    fn has_converged(&self, history: &History) -> bool {
        let loss = |e: &EpochRecord| e.held_out.unwrap_or(e.training).loss;
        match history.epochs.as_slice() {
            [.., before, last] => (loss(before) - loss(last)).abs() < self.params.tol * loss(before).abs(),
            _ => false,
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
        LabelKind::Class => Some(number.element(Element::U32).into()),
        _ => Some(number.into()),
    };
    let (weight, held_out) = (columns.weight.as_deref(), columns.validation.as_deref());
    let reader = RecordReader::examples(schema, readers, label, weight, held_out)?;
    Ok(Box::new(RecordDecoder::new(reader, on_invalid)?))
}

/// What came of an epoch's steps.
#[derive(Default)]
struct Passed {
    /// For minibatches.
    waiting: Duration,
    /// That of the last step.
    learning_rate: f64,
    /// Whether training ended before the epoch did.
    ended: bool,
}

/// Passes over minibatches that were learnt from before an interruption.
fn skip(minibatches: &Prefetched<Staged>, count: usize) -> Result<()> {
    for _ in 0..count {
        match minibatches.next() {
            Some(staged) => staged.map(|_| ())?,
            None => break,
        }
    }
    Ok(())
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

fn exploded(epoch: usize, step: usize, rows: usize, loss: f64, rate: f64) -> Error {
    let reason = format!(
        "the loss is {loss} on a minibatch of {rows} rows at learning rate {rate:?}; lower the learning rate, \
         or scale the features"
    );
    Error::Training { epoch, step, reason }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod sequence_tests;
