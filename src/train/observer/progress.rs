//! Progress on standard error: a bar on a terminal, log lines elsewhere.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Observer, Run, StepParts, StepRecord};
use crate::model::{EpochRecord, History, Metric};

/// Log lines come no closer together than this, so that quick epochs do not flood a log.
const BETWEEN_LINES: Duration = Duration::from_secs(1);

/// A bar's words change no more often than this, so that they can be read and cost nothing.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// Shows rows per second, loss, metric, the time left, and the shares of the time that went into waiting for
/// data, forward and backward pass, adding up the replicas' gradients and the optimizer.
///
/// On a terminal this is one bar on standard error. Elsewhere it is a `tracing` event at level INFO for an epoch, at
/// most one a second, and one at the end.
pub struct ProgressObserver {
    bar: ProgressBar,
    state: Mutex<BarState>,
}

#[derive(Default)]
struct BarState {
    epochs: usize,
    metric: Metric,
    last_line: Option<Instant>,
    summary: String,
    /// Rows and time of the epoch's steps so far, and when they were last shown.
    seen: EpochTotals,
}

#[derive(Default)]
struct EpochTotals {
    rows: usize,
    loss: f64,
    waited: Duration,
    took: Duration,
    parts: StepParts,
    shown: Option<Instant>,
}

impl ProgressObserver {
    /// Watches one run after another.
    pub fn new() -> Self {
        Self::to(ProgressDrawTarget::stderr())
    }

    fn to(target: ProgressDrawTarget) -> Self {
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(style("{spinner} {msg}"));
        Self { bar, state: Mutex::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, BarState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ProgressObserver {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ProgressObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgressObserver").finish_non_exhaustive()
    }
}

impl Observer for ProgressObserver {
    fn reading(&self, rows: u64) {
        self.bar.set_message(format!("reading: {} rows", HumanCount(rows)));
        self.bar.tick();
    }

    fn begin(&self, run: &Run) {
        *self.state() = BarState { epochs: run.epochs, metric: run.metric, ..BarState::default() };
        self.bar.reset();
        self.bar.set_length((run.epochs * run.steps) as u64);
        self.bar.set_style(style("{bar:32} {msg}, {eta} left"));
        self.bar.set_message("training");
        if self.bar.is_hidden() {
            let Run { rows, held_out, skipped, parameters, devices, .. } = run;
            tracing::info!(rows, held_out, skipped, parameters, devices, "training begins");
        }
    }

    fn step(&self, step: &StepRecord) {
        self.bar.inc(1);
        let mut state = self.state();
        let (epochs, seen) = (state.epochs, &mut state.seen);
        seen.rows += step.rows;
        seen.loss += step.loss * step.rows as f64;
        seen.waited += step.waited;
        seen.took += step.took;
        seen.parts.add(step.parts);
        if self.bar.is_hidden() || seen.shown.is_some_and(|at| at.elapsed() < BETWEEN_LOOKS) {
            return;
        }
        seen.shown = Some(Instant::now());
        let all = (seen.waited + seen.took).as_secs_f64().max(1e-9);
        self.bar.set_message(format!(
            "epoch {}/{epochs}: loss {:.4}, {} rows/s, {}",
            step.epoch + 1,
            seen.loss / seen.rows.max(1) as f64,
            HumanCount((seen.rows as f64 / all) as u64),
            shares(seen.waited.as_secs_f64(), &seen.parts, all)
        ));
    }

    fn epoch(&self, record: &EpochRecord) {
        let mut state = self.state();
        state.summary = scores(record, state.metric);
        let speed = state.seen.rows as f64 / record.seconds.max(1e-9);
        let parts = state.seen.parts;
        state.seen = EpochTotals { shown: Some(Instant::now()), ..EpochTotals::default() };
        let line = format!(
            "epoch {}/{}: {}, {} rows/s, {}",
            record.epoch + 1,
            state.epochs,
            state.summary,
            HumanCount(speed as u64),
            shares(record.waiting, &parts, record.seconds)
        );
        self.bar.set_message(line.clone());
        if self.bar.is_hidden() && state.last_line.is_none_or(|last| last.elapsed() >= BETWEEN_LINES) {
            state.last_line = Some(Instant::now());
            tracing::info!("{line}");
        }
    }

    fn end(&self, history: &History) {
        let seconds: f64 = history.epochs.iter().map(|epoch| epoch.seconds).sum();
        let summary = std::mem::take(&mut self.state().summary);
        let line = format!(
            "trained on {} rows for {} epochs in {seconds:.1} s: {summary}",
            HumanCount(history.rows.trained),
            history.epochs.len()
        );
        if self.bar.is_hidden() {
            tracing::info!("{line}");
        }
        self.bar.set_style(style("{msg}"));
        self.bar.finish_with_message(line);
    }
}

fn scores(record: &EpochRecord, metric: Metric) -> String {
    let training = record.training;
    let name = metric.name().replace('_', " ");
    let mut text = format!("loss {:.4}, {name} {}", training.loss, metric.show(training.metric));
    if let Some(held_out) = record.held_out {
        text += &format!(", held out {}", metric.show(held_out.metric));
    }
    text
}

/// Where the time goes; what takes less than a hundredth is left out, but for the data.
fn shares(waiting: f64, parts: &StepParts, all: f64) -> String {
    let share = |seconds: f64| 100.0 * seconds / all.max(1e-9);
    let mut text = format!("{:.0} % of the time waiting for data", share(waiting));
    let StepParts { forward, backward, reduce, step } = parts;
    for (part, time) in [("forward", forward), ("backward", backward), ("reduce", reduce), ("step", step)] {
        let share = share(time.as_secs_f64());
        if share >= 1.0 {
            text += &format!(", {share:.0} % {part}");
        }
    }
    text
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Evaluation, RowCounts};

    #[test]
    fn the_bar_says_loss_accuracy_and_speed() {
        let progress = ProgressObserver::to(ProgressDrawTarget::hidden());
        let says = |words: &[&str]| {
            let message = progress.bar.message();
            assert!(words.iter().all(|w| message.contains(w)), "{message}");
        };
        progress.reading(1500);
        says(&["1,500 rows"]);
        let run = Run {
            epochs: 2,
            steps: 3,
            rows: 1200,
            held_out: 300,
            skipped: 0,
            parameters: 9,
            devices: "cpu".into(),
            ..Run::default()
        };
        progress.begin(&run);
        let ms = Duration::from_millis;
        let parts = StepParts { forward: ms(30), backward: ms(40), step: ms(4), ..StepParts::default() };
        progress.step(&StepRecord { epoch: 0, step: 0, rows: 1200, loss: 0.5, parts, ..StepRecord::default() });
        assert_eq!((progress.bar.position(), progress.bar.length()), (1, Some(6)));
        let evaluation = Evaluation { loss: 0.5, metric: 0.875 };
        let epoch = EpochRecord {
            epoch: 0,
            training: evaluation,
            held_out: Some(evaluation),
            seconds: 0.1,
            waiting: 0.025,
            learning_rate: 0.1,
        };
        progress.epoch(&epoch);
        says(&["epoch 1/2", "loss 0.5000", "accuracy 87.5 %", "held out 87.5 %", "12,000 rows/s", "25 % of the time"]);
        says(&["for data, 30 % forward, 40 % backward, 4 % step"]);
        let rows = RowCounts { trained: 1200, held_out: 300, skipped: 0 };
        progress.end(&History { epochs: vec![epoch], rows, ..History::default() });
        says(&["trained on 1,200 rows", "0.1 s", "loss 0.5000"]);
        assert!(progress.bar.is_finished());
    }
}
