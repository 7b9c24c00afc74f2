//! Event files for TensorBoard.
//!
//! A file is a sequence of records as TensorFlow's `TFRecord` has them, each a length, its checksum, a protocol buffer
//! message and its checksum. The messages are the few fields of `tensorflow.TfEvent` that scalars need.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use prost::Message;

use super::{Observer, Run, StepParts, StepRecord};
use crate::{
    Error, Result,
    model::{EpochRecord, History, Metric},
};

/// Writes scalars that TensorBoard shows: `step/loss` and `step/learning_rate` for every step; `epoch/loss`,
/// `epoch/accuracy` or whatever the metric is called, their `_held_out` companions and `epoch/rows_per_second`
/// for every epoch, all by the number of steps taken.
///
/// `time/waiting`, `time/forward`, `time/backward`, `time/reduce` and `time/step` are the shares of an epoch's time.
///
/// Every run gets a separate event file. A write that fails ends the file with a warning: training continues.
#[derive(Debug)]
pub struct TensorBoard {
    folder: PathBuf,
    every: usize,
    state: Mutex<WriterState>,
}

#[derive(Debug, Default)]
struct WriterState {
    file: Option<BufWriter<File>>,
    steps: i64,
    metric: Metric,
    /// Of the epoch's steps so far.
    rows: usize,
    parts: StepParts,
}

impl TensorBoard {
    /// Writes into `folder`, created if missing. `tensorboard --logdir` takes it or the folder above it.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be made.
    pub fn new(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref().to_path_buf();
        fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
        Ok(Self { folder, every: 1, state: Mutex::default() })
    }

    /// Writes only every so many steps (default 1, all of them). Epochs are always written.
    pub fn every(mut self, steps: usize) -> Self {
        self.every = steps.max(1);
        self
    }

    fn open(&self) -> io::Result<BufWriter<File>> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let seconds = since_1970() as u64;
        let path = self.folder.join(format!("events.out.tfevents.{seconds:010}.tinderbox.{}.{count}", process::id()));
        let mut file = BufWriter::new(File::create(path)?);
        write_record(&mut file, &TfEvent { file_version: Some("brain.TfEvent:2".into()), ..TfEvent::now(0) })?;
        Ok(file)
    }

    fn write(&self, state: &mut WriterState, scalars: &[(&str, f64)], flush: bool) {
        let Some(file) = &mut state.file else { return };
        let value = |(tag, value): &(&str, f64)| TfValue { tag: (*tag).into(), simple_value: Some(*value as f32) };
        let summary = TfSummary { value: scalars.iter().map(value).collect() };
        let event = TfEvent { summary: Some(summary), ..TfEvent::now(state.steps) };
        let written = write_record(file, &event).and_then(|()| if flush { file.flush() } else { Ok(()) });
        self.give_up(state, written);
    }

    fn give_up(&self, state: &mut WriterState, written: io::Result<()>) {
        if let Err(e) = written {
            tracing::warn!("{}: {e}; no more events are written for TensorBoard", self.folder.display());
            state.file = None;
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, WriterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for TensorBoard {
    fn begin(&self, run: &Run) {
        let mut state = self.state();
        *state = WriterState { metric: run.metric, ..WriterState::default() };
        match self.open() {
            Ok(file) => state.file = Some(file),
            Err(e) => self.give_up(&mut state, Err(e)),
        }
    }

    fn step(&self, step: &StepRecord) {
        let mut state = self.state();
        state.steps = step.step as i64 + 1;
        state.rows += step.rows;
        state.parts.add(step.parts);
        if step.step.is_multiple_of(self.every) {
            self.write(&mut state, &[("step/loss", step.loss), ("step/learning_rate", step.learning_rate)], false);
        }
    }

    fn epoch(&self, epoch: &EpochRecord) {
        let mut state = self.state();
        let speed = std::mem::take(&mut state.rows) as f64 / epoch.seconds.max(1e-9);
        let metric = format!("epoch/{}", state.metric.name());
        let of_held_out = format!("{metric}_held_out");
        let mut scalars = vec![
            ("epoch/loss", epoch.training.loss),
            (metric.as_str(), epoch.training.metric),
            ("epoch/rows_per_second", speed),
        ];
        let StepParts { forward, backward, reduce, step } = std::mem::take(&mut state.parts);
        scalars.push(("time/waiting", epoch.waiting / epoch.seconds.max(1e-9)));
        for (tag, time) in
            [("time/forward", forward), ("time/backward", backward), ("time/reduce", reduce), ("time/step", step)]
        {
            scalars.push((tag, time.as_secs_f64() / epoch.seconds.max(1e-9)));
        }
        if let Some(held_out) = epoch.held_out {
            scalars.push(("epoch/loss_held_out", held_out.loss));
            scalars.push((&of_held_out, held_out.metric));
        }
        self.write(&mut state, &scalars, true);
    }

    fn end(&self, _history: &History) {
        let mut state = self.state();
        if let Some(mut file) = state.file.take() {
            self.give_up(&mut state, file.flush());
        }
    }
}

/// `tensorflow.TfEvent`, as far as scalars need it.
#[derive(Clone, PartialEq, Message)]
struct TfEvent {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<TfSummary>,
}

impl TfEvent {
    fn now(step: i64) -> Self {
        Self { wall_time: since_1970(), step, ..Self::default() }
    }
}

/// `tensorflow.TfSummary`.
#[derive(Clone, PartialEq, Message)]
struct TfSummary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<TfValue>,
}

/// `tensorflow.TfSummary.TfValue`.
#[derive(Clone, PartialEq, Message)]
struct TfValue {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

fn since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

fn write_record(to: &mut impl Write, event: &TfEvent) -> io::Result<()> {
    let data = event.encode_to_vec();
    let length = (data.len() as u64).to_le_bytes();
    to.write_all(&length)?;
    to.write_all(&masked(&length).to_le_bytes())?;
    to.write_all(&data)?;
    to.write_all(&masked(&data).to_le_bytes())
}

/// Returns a checksum, turned and shifted so that the checksum of data which holds checksums is no special number.
fn masked(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli's polynomial), which is not the one of `crc32fast`.
fn crc32c(data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut i = 0;
        while i < 256 {
            let (mut value, mut bit) = (i as u32, 0);
            while bit < 8 {
                value = if value & 1 == 1 { 0x82f6_3b78 ^ (value >> 1) } else { value >> 1 };
                bit += 1;
            }
            table[i] = value;
            i += 1;
        }
        table
    };
    !data.iter().fold(!0, |crc, byte| TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Evaluation;

    #[test]
    fn the_checksum_is_castagnolis() {
        // RFC 3720, appendix B.4, and the usual check value.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    /// The events of a file, each record's checksums proven.
    use std::time::Duration;

    fn read(mut bytes: &[u8]) -> Vec<TfEvent> {
        let mut events = Vec::new();
        while !bytes.is_empty() {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            assert_eq!(bytes[8..12], masked(&bytes[..8]).to_le_bytes());
            let (data, rest) = bytes[12..].split_at(length);
            assert_eq!(rest[..4], masked(data).to_le_bytes());
            events.push(TfEvent::decode(data).unwrap());
            bytes = &rest[4..];
        }
        events
    }

    #[test]
    fn a_run_becomes_a_file_of_scalars_by_step() {
        let folder = tempfile::tempdir().unwrap();
        let board = TensorBoard::new(folder.path().join("runs")).unwrap().every(2);
        board.begin(&Run::default());
        for step in 0..3 {
            let parts = StepParts { forward: Duration::from_millis(250), ..StepParts::default() };
            board.step(&StepRecord { step, loss: 0.5, learning_rate: 0.25, rows: 50, parts, ..StepRecord::default() });
        }
        let training = Evaluation { loss: 0.75, metric: 0.5 };
        let held_out = Some(Evaluation { loss: 1.5, metric: 0.25 });
        board.epoch(&EpochRecord { training, held_out, seconds: 2.0, waiting: 0.5, ..EpochRecord::default() });
        board.end(&History::default());

        let file = fs::read_dir(folder.path().join("runs")).unwrap().next().unwrap().unwrap();
        assert!(file.file_name().to_string_lossy().starts_with("events.out.tfevents."));
        let events = read(&fs::read(file.path()).unwrap());
        assert_eq!(events[0].file_version.as_deref(), Some("brain.TfEvent:2"));
        let scalars: Vec<(i64, String, f32)> = events[1..]
            .iter()
            .flat_map(|e| {
                e.summary.iter().flat_map(|s| &s.value).map(|v| (e.step, v.tag.clone(), v.simple_value.unwrap()))
            })
            .collect();
        let expected = [
            (1, "step/loss", 0.5),
            (1, "step/learning_rate", 0.25),
            (3, "step/loss", 0.5),
            (3, "step/learning_rate", 0.25),
            (3, "epoch/loss", 0.75),
            (3, "epoch/accuracy", 0.5),
            (3, "epoch/rows_per_second", 75.0),
            (3, "time/waiting", 0.25),
            (3, "time/forward", 0.375),
            (3, "time/backward", 0.0),
            (3, "time/reduce", 0.0),
            (3, "time/step", 0.0),
            (3, "epoch/loss_held_out", 1.5),
            (3, "epoch/accuracy_held_out", 0.25),
        ];
        assert_eq!(scalars, expected.map(|(step, tag, value)| (step, tag.to_string(), value)));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let message = TensorBoard::new(file.path().join("runs")).unwrap_err().to_string();
        assert!(message.contains("runs"), "{message}");
    }
}
