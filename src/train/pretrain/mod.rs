//! Greedy layer-wise pre-training of a stack of restricted Boltzmann machines.

mod layer;

use std::{
    fmt, iter,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::Receiver,
    },
    time::Instant,
};

use arrow::datatypes::Schema;

pub use layer::RbmLayer;

use super::{
    Observer, Run, StepParts, StepRecord, Stop, TrainParams,
    feed::{Everything, Feeder, Prefetched, TrainingBlock, prefetch},
    reading::{read_and_train, reading_ended},
    stop::LowestLoss,
};
use crate::{
    Error, Result,
    model::{EpochRecord, Evaluation, History, Metric},
    nn::{InputShape, Rbm, RbmLearner, RbmSpec, RbmStack, VisibleUnits, Weights},
    stream::RecordSource,
    tensor::{Columns, InputDecoder, Minibatch, Rows, TensorField, fixed_bytes, rows_at_once},
};

/// Rows that are measured together.
const ROWS_AT_ONCE: usize = 4096;

/// Trains a stack of restricted Boltzmann machines on the rows of a [`RecordSource`], from the bottom up: the first on
/// the rows, each other on the hidden probabilities of the one below it.
///
/// ```no_run
/// # async fn example(source: &dyn tinderbox::stream::RecordSource) -> tinderbox::Result<()> {
/// use tinderbox::{advanced::{Pretrainer, RbmLayer}, nn::VisibleUnits, tensor::Columns, train::TrainParams};
///
/// let layers = vec![RbmLayer::new(500), RbmLayer::new(250)];
/// let params = TrainParams { batch_size: 100, ..TrainParams::default() };
/// let columns = Columns::new("features", "");
/// let trained = Pretrainer::new(VisibleUnits::Bernoulli, layers, columns, params).fit(source).await?;
/// let (network, weights) = trained.stack.encoder();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Pretrainer {
    units: VisibleUnits,
    layers: Vec<RbmLayer>,
    columns: Columns,
    params: TrainParams,
    expected_rows: Option<u64>,
    initial: Option<Weights>,
    observers: Vec<Arc<dyn Observer>>,
    stop: Stop,
}

/// Result of pre-training.
#[derive(Debug, Clone, PartialEq)]
pub struct Pretrained {
    /// The machines.
    pub stack: RbmStack,
    /// The epochs of all layers, one after another; losses are reconstruction errors (the mean squared difference of a
    /// value), measured by their roots too.
    pub history: History,
}

impl Pretrainer {
    /// Trains `layers`, from the bottom up, on the features of `columns`; label and row weights are not looked at.
    ///
    /// Of `params`, those count that say what a minibatch is and where rows are kept (`batch_size`, `shuffle`,
    /// `shuffle_buffer`, `cache_memory`, `cache_folder`), what rows are held out or skipped (`validation_fraction`,
    /// `on_invalid`), `seed`, and when to stop (`early_stopping` for each layer; `max_steps` and `max_seconds` over
    /// all). Each layer has its own epochs and learning rate.
    pub fn new(units: VisibleUnits, layers: Vec<RbmLayer>, columns: Columns, params: TrainParams) -> Self {
        let (observers, stop) = (Vec::new(), Stop::default());
        Self { units, layers, columns, params, expected_rows: None, initial: None, observers, stop }
    }

    /// Says how many rows the source has, as counted beforehand. Another number at the end of the first epoch is an
    /// error.
    pub fn expected_rows(mut self, rows: u64) -> Self {
        self.expected_rows = Some(rows);
        self
    }

    /// Begins with these weights, named as in [`RbmStack::unrolled`]; what is not among them is drawn from the seed.
    pub fn initial_weights(mut self, weights: impl Into<Weights>) -> Self {
        self.initial = Some(weights.into());
        self
    }

    /// Adds an observer; each layer is a separate run to it.
    pub fn observe(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Ends training early at the request of `stop`: layers that were not reached keep their initial weights.
    pub fn stop(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }

    /// Checks all parameters.
    ///
    /// # Errors
    /// [`Error::Param`] with the name, the value and what is legal.
    pub fn check(&self) -> Result<()> {
        self.params.check()?;
        self.params.check_split(&self.columns)?;
        if self.layers.is_empty() || self.layers.len() > layer::MOST_LAYERS {
            let legal = format!("1 to {} layers", layer::MOST_LAYERS);
            return Err(Error::param("layers", format!("{} layers", self.layers.len()), legal));
        }
        self.layers.iter().enumerate().try_for_each(|(position, layer)| layer.check(position))
    }

    /// Reads the rows and trains.
    ///
    /// The first epoch of the first layer trains while the rows arrive; later ones read what was kept of them, see
    /// [`Trainer::fit`](super::Trainer::fit). The hidden units' probabilities are computed anew for each minibatch, so
    /// only the rows are kept. The processor does all of it. Dropping the future stops it at the next batch or step.
    ///
    /// # Errors
    /// [`Error::Param`] for a bad parameter, [`Error::Schema`] for a column that is missing or mistyped,
    /// [`Error::Data`] for rows that cannot be used (values outside `[0, 1]` too, when visible units are Bernoulli),
    /// [`Error::Network`] for initial weights that do not fit, [`Error::Diverged`] when a layer's weights are no longer
    /// finite, [`Error::RowsLost`] when the rows are not as many as expected, [`Error::Io`] when the disk is full;
    /// whatever the source fails with.
    pub async fn fit(&self, source: &dyn RecordSource) -> Result<Pretrained> {
        self.check()?;
        let stream = source.open(0).await?;
        let feeder = self.feeder(stream.schema(), source.origin())?;
        let trainer = self.clone();
        read_and_train(stream, feeder, move |blocks, cancelled| trainer.train(blocks, cancelled)).await
    }

    fn feeder(&self, schema: &Schema, source: String) -> Result<Feeder> {
        let decoder = InputDecoder::bind(schema, &self.columns, self.params.on_invalid)?;
        Ok(Feeder {
            decoder: Box::new(match self.units {
                VisibleUnits::Bernoulli => decoder.within(0.0, 1.0),
                VisibleUnits::Gaussian => decoder,
            }),
            params: self.params.clone(),
            columns: self.columns.clone(),
            classes: None,
            expected_rows: self.expected_rows,
            at_once: true,
            source,
            observers: self.observers.clone(),
        })
    }

    fn train(&self, blocks: Receiver<Result<TrainingBlock>>, cancelled: &AtomicBool) -> Result<Pretrained> {
        let first = blocks.recv().map_err(|_| reading_ended())??;
        let inputs = input_shape(first.rows.fields())?;
        let mut run = PretrainProgress {
            cancelled,
            begun: Instant::now(),
            everything: None,
            arriving: Some(Box::new(iter::once(Ok(first)).chain(blocks))),
            step: 0,
            over: false,
            history: History { metric: Metric::Rmse, ..History::default() },
        };
        let beginning = self.beginning(&inputs)?;
        let mut machines: Vec<Rbm> = Vec::with_capacity(self.layers.len());
        for (position, mut machine) in beginning.into_iter().enumerate() {
            if !run.over {
                self.layer(position, &machines, &mut machine, &mut run)?;
            }
            machines.push(machine);
        }
        Ok(Pretrained { stack: RbmStack::new(inputs, machines)?, history: run.history })
    }

    /// Returns the machines before they learn.
    fn beginning(&self, inputs: &InputShape) -> Result<Vec<Rbm>> {
        let (mut visible, mut units) = (inputs.count(), self.units);
        let mut machines = Vec::with_capacity(self.layers.len());
        for (position, &RbmLayer { hidden, .. }) in self.layers.iter().enumerate() {
            let spec = RbmSpec { visible, hidden, units };
            machines.push(Rbm::init_layer(spec, self.params.seed, position as u32)?);
            (visible, units) = (hidden, VisibleUnits::Bernoulli);
        }
        match &self.initial {
            Some(given) => Ok(RbmStack::new(inputs.clone(), machines)?.with_weights(given)?.machines().to_vec()),
            None => Ok(machines),
        }
    }

    /// Trains one layer on what those below make of the rows.
    fn layer(&self, position: usize, below: &[Rbm], machine: &mut Rbm, run: &mut PretrainProgress<'_>) -> Result<()> {
        let (layer, params) = (&self.layers[position], &self.params);
        let spec = machine.spec();
        let mut learner = RbmLearner::for_layer(spec, layer.divergence, params.seed, position as u32)?;
        let parameters = spec.visible * spec.hidden + spec.visible + spec.hidden;
        let (rows, held_out) = match &run.everything {
            Some(all) => (all.split.training.len(), all.split.held_out.len()),
            None => (self.expected_rows.unwrap_or(0) as usize, 0),
        };
        let told = Run {
            epochs: layer.epochs,
            steps: rows.div_ceil(params.batch_size),
            rows,
            held_out,
            skipped: run.everything.as_ref().map_or(0, |all| all.skipped),
            parameters,
            classes: Vec::new(),
            devices: "cpu".into(),
            metric: Metric::Rmse,
        };
        self.observers.iter().for_each(|o| o.begin(&told));
        let mut own = History { metric: Metric::Rmse, ..History::default() };
        let (mut lowest, mut best) = (LowestLoss::default(), None);
        for epoch in 0..layer.epochs {
            let start = Instant::now();
            // Counted over all layers, so that no two epochs have one order.
            let number = run.history.epochs.len();
            let minibatches = run.minibatches(params, number)?;
            let at = StepPlace { position, epoch, number };
            let training = self.epoch(at, below, machine, &mut learner, &minibatches, run)?;
            if run.over {
                break;
            }
            run.everything = minibatches.end().or(run.everything.take());
            let all = run.everything.as_ref().ok_or_else(reading_ended)?;
            run.history.rows = all.counts();
            let held_out = match all.split.held_out.as_slice() {
                [] => None,
                rows => Some(evaluation(error(below, machine, &all.rows, rows)?)),
            };
            let seconds = start.elapsed().as_secs_f64();
            let learning_rate = layer.learning_rate;
            let record =
                EpochRecord { epoch: number, training, held_out, seconds, learning_rate, ..Default::default() };
            self.observers.iter().for_each(|o| o.epoch(&record));
            own.epochs.push(record.clone());
            run.history.epochs.push(record.clone());
            if let Some(stopping) = params.early_stopping {
                if lowest.note(&record, stopping.min_delta) && stopping.restore_best {
                    best = Some(machine.clone());
                }
                if lowest.out_of(stopping.patience) {
                    break;
                }
            }
        }
        if let Some(best) = best {
            *machine = best;
        }
        own.rows = run.history.rows;
        self.observers.iter().for_each(|o| o.end(&own));
        Ok(())
    }

    /// Takes a step for every minibatch.
    fn epoch(
        &self,
        at: StepPlace,
        below: &[Rbm],
        machine: &mut Rbm,
        learner: &mut RbmLearner,
        minibatches: &Prefetched<Vec<f32>>,
        run: &mut PretrainProgress<'_>,
    ) -> Result<Evaluation> {
        let (layer, params) = (&self.layers[at.position], &self.params);
        let momentum = layer.divergence.momentum_at(at.epoch);
        let (mut sum, mut rows) = (0.0, 0usize);
        let mut asked = Instant::now();
        loop {
            let late = params.max_seconds.is_some_and(|most| run.begun.elapsed().as_secs_f64() >= most);
            if late || self.stop.requested() || params.max_steps.is_some_and(|most| run.step >= most) {
                run.over = true;
                break;
            }
            let Some(values) = minibatches.next() else { break };
            let waited = asked.elapsed();
            let step = run.step;
            if run.cancelled.load(Ordering::Relaxed) {
                let what = format!("pre-training of layer {} at epoch {}, step {step}", at.position, at.epoch);
                return Err(Error::Cancelled { what });
            }
            let begun = Instant::now();
            let values = features(below, values?)?;
            let seen = learner.step(machine, &values, layer.learning_rate, momentum)?;
            let loss = seen.reconstruction_error;
            if !loss.is_finite() {
                return Err(exploded(at, step, seen.rows, loss, layer.learning_rate));
            }
            sum += loss * seen.rows as f64;
            rows += seen.rows;
            let (learning_rate, took) = (layer.learning_rate, begun.elapsed());
            let record = StepRecord {
                epoch: at.number,
                step,
                rows: seen.rows,
                loss,
                learning_rate,
                waited,
                took,
                parts: StepParts::default(),
            };
            self.observers.iter().for_each(|o| o.step(&record));
            run.step += 1;
            asked = Instant::now();
        }
        let finite = |values: &[f32]| values.iter().all(|v| v.is_finite());
        if !(finite(machine.weight()) && finite(machine.visible_bias()) && finite(machine.hidden_bias())) {
            return Err(exploded(at, run.step, rows, f64::NAN, layer.learning_rate));
        }
        Ok(evaluation(sum / rows.max(1) as f64))
    }
}

/// Returns the metric of epochs.
fn evaluation(error: f64) -> Evaluation {
    Evaluation { loss: error, metric: error.sqrt() }
}

/// Where a step is.
#[derive(Clone, Copy)]
struct StepPlace {
    position: usize,
    /// Of the layer.
    epoch: usize,
    /// Of all layers.
    number: usize,
}

/// Where training stands, over all layers.
struct PretrainProgress<'a> {
    cancelled: &'a AtomicBool,
    begun: Instant,
    everything: Option<Everything>,
    arriving: Option<Box<dyn Iterator<Item = Result<TrainingBlock>> + Send>>,
    step: usize,
    over: bool,
    history: History,
}

impl PretrainProgress<'_> {
    /// Returns the rows of an epoch, those that still arrive or all in a new order.
    fn minibatches(&mut self, params: &TrainParams, number: usize) -> Result<Prefetched<Vec<f32>>> {
        match (&self.everything, self.arriving.take()) {
            (None, Some(blocks)) => Ok(prefetch(blocks, staged, params.batch_size)),
            (Some(all), _) => Ok(prefetch(iter::once(Ok(all.block(params, number))), staged, params.batch_size)),
            (None, None) => Err(reading_ended()),
        }
    }
}

/// Returns a minibatch's values.
fn staged(minibatch: Minibatch, _: u64) -> Result<Vec<f32>> {
    Ok(values(minibatch))
}

/// Returns the one input of a minibatch, as numbers.
fn values(minibatch: Minibatch) -> Vec<f32> {
    minibatch.inputs.into_iter().next().map(|input| input.values.into_single()).unwrap_or_default()
}

/// Returns the output of machines for rows, from the bottom up.
fn features(below: &[Rbm], rows: Vec<f32>) -> Result<Vec<f32>> {
    below.iter().try_fold(rows, |rows, machine| machine.hidden(&rows))
}

/// Returns the mean reconstruction error of some rows.
fn error(below: &[Rbm], machine: &Rbm, rows: &Rows, numbers: &[u32]) -> Result<f64> {
    let mut sum = 0.0;
    for part in numbers.chunks(rows_at_once(fixed_bytes(rows.fields())).min(ROWS_AT_ONCE)) {
        let values = features(below, values(rows.gather(part)))?;
        sum += machine.reconstruction_error(&values)?.into_iter().sum::<f64>();
    }
    Ok(sum / numbers.len().max(1) as f64)
}

/// Returns the shape of the one input.
fn input_shape(fields: &[TensorField]) -> Result<InputShape> {
    let inputs: Vec<&TensorField> = fields.iter().filter(|field| field.is_input()).collect();
    match inputs.as_slice() {
        [input] if !input.shape.ragged && !input.shape.dims.is_empty() => Ok(input.shape.dims.clone().into()),
        inputs => Err(Error::Network {
            layer: "input".into(),
            got: format!("{} inputs", inputs.len()),
            fits: "one input of numbers is taken, each row of the same shape".into(),
        }),
    }
}

fn exploded(at: StepPlace, step: usize, rows: usize, error: f64, rate: f64) -> Error {
    Error::Diverged {
        epoch: at.number,
        step,
        quantity: format!("the reconstruction error of layer {}", at.position),
        value: error,
        rows: rows as u64,
        learning_rate: rate,
    }
}

impl fmt::Debug for Pretrainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { units, layers, columns, params, expected_rows, observers, .. } = self;
        f.debug_struct("Pretrainer")
            .field("units", units)
            .field("layers", layers)
            .field("columns", columns)
            .field("params", params)
            .field("expected_rows", expected_rows)
            .field("observers", &observers.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
