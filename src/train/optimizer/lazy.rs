//! Steps of a weight whose gradient is zero but for some columns: a column is moved when it is next needed.
//!
//! A step moves a value without a gradient too, by its running means and by weight decay. Those steps are not left out,
//! as PyTorch's `SparseAdam` does, but taken later: one after another as long as the means move the value, the rest at
//! once. The result is that of the dense optimizer to rounding.

use candle_core::Result;
use rayon::prelude::*;

use super::{
    host,
    rule::{Idling, Rule, StepSize},
};
use crate::nn::wide;

/// Values that are moved side by side.
const LANES: usize = 32;

/// Columns of a weight whose missed steps are taken at once.
const COLUMNS_AT_ONCE: usize = 4096;

/// Share of a value, left by weight decay, below which all columns are moved.
const VANISHING: f64 = 1e-100;

/// Fewer values than this are not worth a second thread.
const WORTH_SHARING: usize = 1 << 15;

/// Steps taken by each column of a weight `(outputs, inputs)`.
#[derive(Debug)]
pub(super) struct Lazy {
    outputs: usize,
    inputs: usize,
    /// Steps that each column has taken.
    taken: Vec<u64>,
    /// True if a column's state was ever more than zeros.
    touched: Vec<bool>,
    /// The steps since all columns were last moved.
    sizes: Vec<StepSize>,
    /// Factor that weight decay leaves of a value after so many of them.
    kept: Vec<f64>,
    /// Of each of them, by what Adam multiplies a mean, and the root of a mean square, once their own shrinking is
    /// counted.
    means: Vec<(f64, f64)>,
    /// True if weight decay was the same in all of them and left something of a value.
    steady: bool,
    /// Steps taken before those.
    before: u64,
}

impl Lazy {
    /// Starts with all columns at the same step.
    pub(super) fn new((outputs, inputs): (usize, usize), step: u64, slots: &[Vec<f32>]) -> Self {
        let mut touched = vec![false; inputs];
        for row in slots.iter().filter(|_| step > 0).flat_map(|slot| slot.chunks_exact(inputs)) {
            touched.iter_mut().zip(row).for_each(|(touched, value)| *touched |= *value != 0.0);
        }
        Self {
            outputs,
            inputs,
            taken: vec![step; inputs],
            touched,
            sizes: Vec::new(),
            kept: vec![1.0],
            means: Vec::new(),
            steady: true,
            before: step,
        }
    }

    /// Takes the steps that these columns have missed.
    pub(super) fn catch_up(
        &mut self,
        rule: &Rule,
        columns: &[u32],
        theta: &mut [f32],
        slots: &mut [Vec<f32>],
    ) -> Result<()> {
        let now = self.before + self.sizes.len() as u64;
        let late: Vec<u32> = columns.iter().copied().filter(|&c| self.taken[c as usize] < now).collect();
        if late.is_empty() {
            return Ok(());
        }
        let idling = self.idling(rule);
        let mut own = self.gather(&late, theta);
        let mut state: Vec<Vec<f32>> = slots.iter().map(|slot| self.gather(&late, slot)).collect();
        let mut shares: Vec<ColumnState<'_>> =
            own.chunks_mut(self.outputs).zip(&late).map(|(theta, &c)| ColumnState::new(c as usize, theta)).collect();
        for slot in &mut state {
            shares.iter_mut().zip(slot.chunks_mut(self.outputs)).for_each(|(share, slot)| share.slots.push(slot));
        }
        let replay = |share: &mut ColumnState<'_>| self.replay(rule, idling.as_ref(), share);
        let missed = late.iter().map(|&c| now - self.taken[c as usize]).sum::<u64>() as usize;
        match missed * self.outputs < WORTH_SHARING {
            true => shares.iter_mut().try_for_each(replay)?,
            false => shares.par_iter_mut().with_min_len(8).try_for_each(replay)?,
        }
        self.scatter(&late, &own, theta);
        state.iter().zip(slots).for_each(|(own, slot)| self.scatter(&late, own, slot));
        late.iter().for_each(|&c| self.taken[c as usize] = now);
        Ok(())
    }

    /// Takes the steps that one column has missed by Adam's running means, all at once: only their shares change from
    /// step to step, so that a step costs a division a value.
    fn coast(&self, betas: (f64, f64), eps: f64, remembered: usize, share: &mut ColumnState<'_>) {
        let (first, end) = ((self.taken[share.column] - self.before) as usize, self.sizes.len());
        let (mut mean_left, mut root_left) = (1.0, 1.0);
        let moved = first..end.min(first + remembered);
        let moves: Vec<(f32, f32)> = moved
            .map(|i| {
                let (mean, root) = self.means[i];
                (mean_left, root_left) = (mean_left * betas.0, root_left * betas.1.sqrt());
                let kept = self.kept[end] / self.kept[i + 1];
                ((mean * mean_left * kept) as f32, (root * root_left) as f32)
            })
            .collect();
        let left = |beta: f64| beta.powi(i32::try_from(end - first).unwrap_or(i32::MAX)) as f32;
        let (mean_left, square_left) = (left(betas.0), left(betas.1));
        let (eps, kept) = (eps as f32, (self.kept[end] / self.kept[first]) as f32);
        let [mean, square] = share.slots.as_mut_slice() else { return };
        wide(|| {
            let values = share.theta.chunks_mut(LANES).zip(mean.chunks_mut(LANES)).zip(square.chunks_mut(LANES));
            for ((theta, mean), square) in values {
                let (mut roots, mut sums) = ([0.0f32; LANES], [0.0f32; LANES]);
                roots.iter_mut().zip(&*square).for_each(|(root, square)| *root = square.sqrt());
                for (mean, root) in &moves {
                    sums.iter_mut().zip(&roots).for_each(|(sum, r)| *sum += mean / (r * root + eps));
                }
                for ((theta, mean), sum) in theta.iter_mut().zip(&mut *mean).zip(sums) {
                    *theta = kept * *theta - *mean * sum;
                    *mean *= mean_left;
                }
                square.iter_mut().for_each(|square| *square *= square_left);
            }
        });
    }

    /// Takes the steps that one column has missed.
    fn replay(&self, rule: &Rule, idling: Option<&Idling>, share: &mut ColumnState<'_>) -> Result<()> {
        let first = (self.taken[share.column] - self.before) as usize;
        let remembered = match idling {
            Some(_) if !self.touched[share.column] => 0,
            Some(idling) => idling.remembered,
            None => self.sizes.len(),
        };
        if let (Rule::Adam { betas, eps, .. }, Some(_)) = (rule, idling) {
            self.coast(*betas, *eps, remembered, share);
            return Ok(());
        }
        let alone = self.sizes.len().min(first + remembered);
        if alone > first {
            let zeros = vec![0.0; share.theta.len()];
            let mut state: Vec<Vec<f32>> = share.slots.iter().map(|slot| slot.to_vec()).collect();
            for size in &self.sizes[first..alone] {
                host::step(rule, size, share.theta, &zeros, &mut state)?;
            }
            share.slots.iter_mut().zip(state).for_each(|(slot, state)| slot.copy_from_slice(&state));
        }
        let rest = self.sizes.len() - alone;
        if let Some(idling) = idling.filter(|_| rest > 0) {
            let kept = (self.kept[alone + rest] / self.kept[alone]) as f32;
            share.theta.iter_mut().for_each(|value| *value *= kept);
            for (slot, shrink) in share.slots.iter_mut().zip(&idling.shrink) {
                let shrink = shrink.powi(i32::try_from(rest).unwrap_or(i32::MAX)) as f32;
                slot.iter_mut().for_each(|value| *value *= shrink);
            }
        }
        Ok(())
    }

    /// Returns the effect of all missed steps on values without a gradient; `None` where steps differ in it.
    fn idling(&self, rule: &Rule) -> Option<Idling> {
        let decay = self.sizes.first().map_or(0.0, |size| size.weight_decay);
        rule.idling(decay).filter(|_| self.steady)
    }

    /// Takes the next step: these columns by their gradient, `(columns, outputs)`; the others take it later.
    pub(super) fn step(
        &mut self,
        rule: &Rule,
        size: StepSize,
        (columns, gradient): (&[u32], &[f32]),
        theta: &mut [f32],
        slots: &mut [Vec<f32>],
    ) -> Result<()> {
        self.catch_up(rule, columns, theta, slots)?;
        let mut own = self.gather(columns, theta);
        let mut state: Vec<Vec<f32>> = slots.iter().map(|slot| self.gather(columns, slot)).collect();
        host::step(rule, &size, &mut own, gradient, &mut state)?;
        self.scatter(columns, &own, theta);
        state.iter().zip(&mut *slots).for_each(|(own, slot)| self.scatter(columns, own, slot));
        let kept = self.kept[self.sizes.len()] * rule.kept(&size);
        self.steady &= kept > 0.0 && self.sizes.first().is_none_or(|first| first.weight_decay == size.weight_decay);
        self.kept.push(kept);
        if let Rule::Adam { betas, .. } = rule {
            let (mean, square) = size.corrections(*betas);
            self.means.push((size.learning_rate / mean, 1.0 / square.sqrt()));
        }
        self.sizes.push(size);
        let now = self.before + self.sizes.len() as u64;
        for (i, &c) in columns.iter().enumerate() {
            let own = i * self.outputs..(i + 1) * self.outputs;
            self.taken[c as usize] = now;
            self.touched[c as usize] |= state.iter().any(|slot| slot[own.clone()].iter().any(|value| *value != 0.0));
        }
        // Shares of what is left are quotients, which must not come from numbers that vanish.
        if kept < VANISHING { self.settle(rule, theta, slots) } else { Ok(()) }
    }

    /// Takes every step that any column has missed.
    pub(super) fn settle(&mut self, rule: &Rule, theta: &mut [f32], slots: &mut [Vec<f32>]) -> Result<()> {
        let now = self.before + self.sizes.len() as u64;
        let mut late: Vec<u32> = (0..self.inputs as u32).collect();
        if self.idling(rule).is_some() {
            // A value that never had a gradient has no state, or one that does not change.
            late.retain(|&c| self.touched[c as usize]);
            self.decay_untouched(self.kept[self.sizes.len()] as f32, theta);
        }
        for columns in late.chunks(COLUMNS_AT_ONCE) {
            self.catch_up(rule, columns, theta, slots)?;
        }
        self.taken.fill(now);
        self.sizes.clear();
        self.kept.truncate(1);
        self.means.clear();
        self.steady = true;
        self.before = now;
        Ok(())
    }

    fn decay_untouched(&self, kept: f32, theta: &mut [f32]) {
        if kept == 1.0 {
            return;
        }
        theta.par_chunks_mut(self.inputs).for_each(|row| {
            let untouched = row.iter_mut().zip(&self.touched).filter(|(_, touched)| !**touched);
            untouched.for_each(|(value, _)| *value *= kept);
        });
    }

    /// Copies columns of `(outputs, inputs)` to `(columns, outputs)`.
    fn gather(&self, columns: &[u32], from: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; columns.len() * self.outputs];
        let copy = |(out, &column): (&mut [f32], &u32)| {
            out.iter_mut().zip(from[column as usize..].iter().step_by(self.inputs)).for_each(|(out, v)| *out = *v);
        };
        match out.len() < WORTH_SHARING {
            true => out.chunks_mut(self.outputs).zip(columns).for_each(copy),
            false => out.par_chunks_mut(self.outputs).with_min_len(64).zip(columns).for_each(copy),
        }
        out
    }

    /// Copies them back.
    fn scatter(&self, columns: &[u32], from: &[f32], to: &mut [f32]) {
        let copy = |(output, row): (usize, &mut [f32])| {
            for (&column, own) in columns.iter().zip(from.chunks_exact(self.outputs)) {
                row[column as usize] = own[output];
            }
        };
        match from.len() < WORTH_SHARING {
            true => to.chunks_mut(self.inputs).enumerate().for_each(copy),
            false => to.par_chunks_mut(self.inputs).enumerate().for_each(copy),
        }
    }
}

/// The values of one column, and their state.
struct ColumnState<'a> {
    column: usize,
    theta: &'a mut [f32],
    slots: Vec<&'a mut [f32]>,
}

impl<'a> ColumnState<'a> {
    fn new(column: usize, theta: &'a mut [f32]) -> Self {
        Self { column, theta, slots: Vec::new() }
    }
}
