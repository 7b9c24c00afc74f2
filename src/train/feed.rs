//! Rows on their way from the stream to the training thread.
//!
//! One thread decodes, caches and decides which rows are held out ([`Feeder`]); another copies minibatches together and
//! places them on the devices ([`prefetch`]); the training thread takes steps. In the first epoch all three run at
//! once.

use std::sync::{
    Arc,
    mpsc::{Receiver, SyncSender, sync_channel},
};
use std::thread::JoinHandle;

use arrow::array::RecordBatch;
use tokio::sync::mpsc;

use super::{
    Observer, TrainParams,
    row_sum::{RowSum, RowSummer},
    split::HeldOutSplit,
};
use crate::{
    Error, Result,
    model::RowCounts,
    nn::random::{Philox, Purpose},
    stream::Cache,
    tensor::{Columns, Decoded, Decoder, Minibatch, Rows},
};

/// Minibatches that are prepared ahead.
const PREFETCHED: usize = 2;

/// Training rows, in their order.
pub(super) struct TrainingBlock {
    pub(super) rows: Arc<Rows>,
    pub(super) order: Vec<u32>,
    /// All rows, with the last block of the stream.
    pub(super) end: Option<Everything>,
}

/// All rows of the stream, at its end.
#[derive(Debug, Clone)]
pub(super) struct Everything {
    pub(super) rows: Arc<Rows>,
    pub(super) split: HeldOutSplit,
    pub(super) skipped: u64,
    /// Number of training rows of each class.
    pub(super) classes: Vec<u64>,
    /// One more than the highest label; 0 when labels are no classes.
    pub(super) labels: usize,
    /// Number and checksum of the rows, by which a resumed run knows them.
    pub(super) sum: RowSum,
}

impl Everything {
    /// Where every row went.
    pub(super) fn counts(&self) -> RowCounts {
        let HeldOutSplit { training, held_out } = &self.split;
        RowCounts { trained: training.len() as u64, held_out: held_out.len() as u64, skipped: self.skipped }
    }

    /// Returns all training rows, in the order of an epoch.
    pub(super) fn block(&self, params: &TrainParams, epoch: usize) -> TrainingBlock {
        let order = shuffled(self.split.training.clone(), params, epoch, 0);
        TrainingBlock { rows: self.rows.clone(), order, end: None }
    }
}

/// Returns a new order for the rows of one block of an epoch; that of the first block is the epoch's when there is only
/// one.
fn shuffled(mut order: Vec<u32>, params: &TrainParams, epoch: usize, block: u32) -> Vec<u32> {
    if params.shuffle {
        Philox::new(params.seed, Purpose::Shuffle, block, epoch as u64).shuffle(&mut order);
    }
    order
}

/// Output of the stream: batches, then a mark that it is complete. Without the mark it was cut off.
pub(super) enum Arrived {
    Batch(RecordBatch),
    Complete,
}

/// Decodes what arrives, caches it and passes it on block by block.
pub(super) struct Feeder {
    pub(super) decoder: Box<dyn Decoder>,
    pub(super) params: TrainParams,
    pub(super) columns: Columns,
    /// Number of classes, when that is known before.
    pub(super) classes: Option<usize>,
    pub(super) expected_rows: Option<u64>,
    /// True if training may begin before all rows have arrived.
    pub(super) at_once: bool,
    pub(super) source: String,
    pub(super) observers: Vec<Arc<dyn Observer>>,
}

/// Where the feeder stands.
struct FeedProgress {
    cache: Cache,
    split: HeldOutSplit,
    arrived: u64,
    skipped: u64,
    classes: Vec<u64>,
    labels: usize,
    summer: RowSummer,
    block: PendingBlock,
    /// Number of blocks passed on.
    sent: u32,
}

/// A block that is not yet full.
#[derive(Default)]
struct PendingBlock {
    first: u32,
    batches: Vec<RecordBatch>,
    order: Vec<u32>,
    bytes: u64,
}

/// The training thread no longer listens.
struct HungUp;

type Out = SyncSender<Result<TrainingBlock>>;

impl Feeder {
    /// Runs until the stream is complete, a step fails, or the receiver is gone.
    pub(super) fn run(mut self, arriving: mpsc::Receiver<Result<Arrived>>, out: Out) {
        if let Err(error) = self.feed(arriving, &out) {
            // The training thread may be gone.
            let _ = out.send(Err(error));
        }
    }

    fn feed(&mut self, mut arriving: mpsc::Receiver<Result<Arrived>>, out: &Out) -> Result<()> {
        let mut progress = FeedProgress {
            cache: Cache::new(self.params.cache_options()),
            split: HeldOutSplit::default(),
            arrived: 0,
            skipped: 0,
            classes: Vec::new(),
            labels: 0,
            summer: RowSummer::default(),
            block: PendingBlock::default(),
            sent: 0,
        };
        loop {
            match arriving.blocking_recv() {
                // The caller gave up.
                None => return Ok(()),
                Some(Err(error)) => return Err(error),
                Some(Ok(Arrived::Batch(batch))) => {
                    progress.arrived += batch.num_rows() as u64;
                    let Decoded { batch, skipped } = self.decoder.decode(&batch)?;
                    progress.skipped += skipped;
                    if batch.num_rows() > 0 && self.take(&mut progress, batch, out)?.is_err() {
                        return Ok(());
                    }
                    if progress.sent == 0 {
                        self.observers.iter().for_each(|o| o.reading(progress.arrived));
                    }
                }
                Some(Ok(Arrived::Complete)) => break,
            }
        }
        let block = self.finish(progress)?;
        let _ = out.send(Ok(block));
        Ok(())
    }

    /// Takes in a decoded batch, row by row.
    fn take(&self, progress: &mut FeedProgress, batch: RecordBatch, out: &Out) -> Result<Result<(), HungUp>> {
        let start = progress.split.rows();
        let rows = Rows::new(std::slice::from_ref(&batch), start)?;
        let marks = rows.marks();
        let labels = rows.classes();
        self.check_labels(progress, labels)?;
        let mut included = false;
        for i in 0..batch.num_rows() {
            if self.at_once && !included {
                let block = &mut progress.block;
                if block.batches.is_empty() {
                    block.first = start;
                }
                block.batches.push(batch.clone());
                included = true;
            }
            let mark = marks.map(|marks| marks[i] != 0);
            let (row, held_out) = progress.split.assign(mark, &self.params);
            if held_out {
                continue;
            }
            if let Some(&label) = labels.and_then(|labels| labels.get(i)) {
                progress.classes[label as usize] += 1;
            }
            if !self.at_once {
                continue;
            }
            progress.block.order.push(row);
            progress.block.bytes += rows.bytes(i);
            let whole = progress.block.order.len().is_multiple_of(self.params.batch_size);
            if whole && progress.block.bytes >= self.params.shuffle_buffer {
                let block = self.block(progress)?;
                if out.send(Ok(block)).is_err() {
                    return Ok(Err(HungUp));
                }
                progress.sent += 1;
                included = false;
            }
        }
        progress.summer.add(&batch);
        progress.cache.push(batch)?;
        Ok(Ok(()))
    }

    fn check_labels(&self, progress: &mut FeedProgress, labels: Option<&[u32]>) -> Result<()> {
        let Some(highest) = labels.and_then(|labels| labels.iter().copied().max()) else { return Ok(()) };
        if let Some(names) = self.classes.filter(|&names| highest as usize >= names) {
            let expected = format!("one of {names} named classes, from 0");
            return Err(Error::values(&self.columns.label, expected, highest));
        }
        progress.labels = progress.labels.max(highest as usize + 1);
        progress.classes.resize(progress.labels, 0);
        Ok(())
    }

    /// Closes the pending block.
    fn block(&self, progress: &mut FeedProgress) -> Result<TrainingBlock> {
        let PendingBlock { first, batches, order, .. } = std::mem::take(&mut progress.block);
        let order = shuffled(order, &self.params, 0, progress.sent);
        Ok(TrainingBlock { rows: Arc::new(Rows::new(&batches, first)?), order, end: None })
    }

    /// Counts, and closes the last block, which holds everything when it is the first too.
    fn finish(&mut self, mut progress: FeedProgress) -> Result<TrainingBlock> {
        self.decoder.finish()?;
        progress.split.check(&self.params, &self.columns)?;
        self.account(&progress)?;
        let last = self.block(&mut progress)?;
        let cached = progress.cache.finish()?;
        let everything = Everything {
            rows: Arc::new(Rows::new(cached.batches(), 0)?),
            split: progress.split,
            skipped: progress.skipped,
            classes: progress.classes,
            labels: progress.labels,
            sum: progress.summer.sum(),
        };
        let block = if progress.sent == 0 { everything.block(&self.params, 0) } else { last };
        Ok(TrainingBlock { end: Some(everything), ..block })
    }

    /// Checks that every row that the source counted arrived and was used or skipped.
    fn account(&self, progress: &FeedProgress) -> Result<()> {
        let (training, held_out) = (progress.split.training.len(), progress.split.held_out.len());
        let sum = training as u64 + held_out as u64 + progress.skipped;
        let expected = self.expected_rows.unwrap_or(progress.arrived);
        if sum == expected && progress.arrived == expected {
            return Ok(());
        }
        Err(Error::RowsLost { step: format!("reading {}", self.source), expected, found: progress.arrived })
    }
}

/// Minibatches on their devices, prepared ahead.
pub(super) struct Prefetched<T> {
    staged: Receiver<Result<T>>,
    thread: JoinHandle<Option<Everything>>,
}

/// Copies the blocks' rows together and has `stage` place them on the devices, on a separate thread that stops when
/// the receiver is gone. `stage` gets the minibatch's number within the epoch.
pub(super) fn prefetch<T, B, S>(blocks: B, stage: S, batch_size: usize) -> Prefetched<T>
where
    T: Send + 'static,
    B: Iterator<Item = Result<TrainingBlock>> + Send + 'static,
    S: Fn(Minibatch, u64) -> Result<T> + Send + 'static,
{
    let (sender, staged) = sync_channel(PREFETCHED);
    let thread = std::thread::spawn(move || {
        let (mut everything, mut index) = (None, 0);
        for block in blocks {
            let block = match block {
                Ok(block) => block,
                Err(error) => {
                    let _ = sender.send(Err(error));
                    return None;
                }
            };
            for rows in block.order.chunks(batch_size) {
                if sender.send(stage(block.rows.gather(rows), index)).is_err() {
                    return None;
                }
                index += 1;
            }
            everything = block.end;
        }
        everything
    });
    Prefetched { staged, thread }
}

impl<T> Prefetched<T> {
    /// Returns the next minibatch.
    pub(super) fn next(&self) -> Option<Result<T>> {
        self.staged.recv().ok()
    }

    /// Returns all rows, when the last block came with them.
    pub(super) fn end(self) -> Option<Everything> {
        drop(self.staged);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

#[cfg(test)]
mod tests;
