//! Kernels made of kernels: some one after another, and a sum with what goes in.

use std::{mem, ops::Range};

use super::{
    op::{Gradients, Kernel, Moments, Pass, SavedState, add_values, room},
    stage::KernelStage,
};

/// Kernels one after another, as a kernel.
#[derive(Debug, Clone, Default)]
pub(super) struct Chain {
    pub(super) stages: Vec<KernelStage>,
    /// Which of the chain's parameters, and which of its statistics, are a stage's own.
    pub(super) own: Vec<[Range<usize>; 2]>,
    /// Number of parameters and of statistics.
    pub(super) counts: [usize; 2],
    /// Values of a row, or of a step, that go in and come out.
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// The steps of a row, where its stages look at those; 1 where the lengths of sequences tell.
    pub(super) time: usize,
}

impl Chain {
    /// Returns the steps that rows have, or are padded to.
    fn steps(&self, pass: &Pass<'_>) -> usize {
        if pass.lengths.is_some() { pass.time(self.inputs) } else { self.time }
    }

    /// Returns a stage's own tensors of those of the chain.
    fn params<'a>(&self, i: usize, all: &[&'a [f32]]) -> Vec<&'a [f32]> {
        let [trained, statistics] = self.own[i].clone();
        let after = &all[self.counts[0]..];
        all[trained].iter().chain(&after[statistics]).copied().collect()
    }
}

impl Kernel for Chain {
    fn name(&self) -> &'static str {
        "block"
    }

    fn inputs(&self) -> usize {
        self.inputs
    }

    fn outputs(&self) -> usize {
        self.outputs
    }

    fn forward(&self, pass: Pass<'_>, y: &mut [f32], saved: &mut SavedState) {
        let (time, last) = (self.steps(&pass), self.stages.len().saturating_sub(1));
        if self.stages.is_empty() {
            y.copy_from_slice(pass.x);
            return;
        }
        let SavedState { inner, between, .. } = saved;
        inner.resize_with(self.stages.len(), SavedState::default);
        between.resize_with(last, Vec::new);
        for (i, (stage, saved)) in self.stages.iter().zip(inner).enumerate() {
            let params = self.params(i, pass.params);
            let (before, after) = between.split_at_mut(i);
            let own = stage.pass(pass, time, before.last().map_or(pass.x, Vec::as_slice), &params);
            let y = if i == last { &mut *y } else { room(&mut after[0], pass.rows * stage.outputs(time)) };
            stage.kernel.forward(own, y, saved);
        }
    }

    fn backward(
        &self,
        pass: Pass<'_>,
        y: &[f32],
        dy: &mut [f32],
        saved: &mut SavedState,
        gradients: Gradients<'_, '_>,
    ) {
        let (time, last) = (self.steps(&pass), self.stages.len().saturating_sub(1));
        let Gradients { x: mut dx, params: mut rest } = gradients;
        if self.stages.is_empty() {
            dx.into_iter().for_each(|dx| dx.copy_from_slice(dy));
            return;
        }
        let SavedState { inner, between, upstream: [above, below], .. } = saved;
        for (i, (stage, saved)) in self.stages.iter().zip(inner).enumerate().rev() {
            let params = self.params(i, pass.params);
            let own = stage.pass(pass, time, if i == 0 { pass.x } else { &between[i - 1] }, &params);
            let (inputs, outputs) = (pass.rows * stage.inputs(time), pass.rows * stage.outputs(time));
            let (y, dy) = if i == last { (y, &mut *dy) } else { (&between[i][..outputs], &mut above[..outputs]) };
            let (before, trained) = mem::take(&mut rest).split_at_mut(self.own[i][0].start);
            rest = before;
            let x = if i == 0 { dx.take() } else { Some(room(below, inputs)) };
            stage.kernel.backward(own, y, dy, saved, Gradients { x, params: trained });
            mem::swap(above, below);
        }
    }

    fn found<'a>(&self, saved: &'a SavedState, rows: usize) -> Vec<Moments<'a>> {
        let stages = self.stages.iter().zip(&self.own).zip(&saved.inner);
        let of = |((stage, own), saved): ((&KernelStage, &[Range<usize>; 2]), &'a SavedState)| {
            let first = own[1].start;
            stage.kernel.found(saved, rows).into_iter().map(move |m| Moments { place: first + m.place, ..m })
        };
        stages.flat_map(of).collect()
    }
}

/// Output of kernels plus the input itself, or plus the output of a shortcut: `y = f(x) + g(x)`.
#[derive(Debug, Clone)]
pub(super) struct Sum {
    pub(super) inside: Chain,
    pub(super) beside: Chain,
}

impl Sum {
    /// Returns the tensors of the one and of the other.
    fn params<'a>(&self, all: &[&'a [f32]]) -> [Vec<&'a [f32]>; 2] {
        let ([a, c], [b, _]) = (self.inside.counts, self.beside.counts);
        let (trained, statistics) = all.split_at(a + b);
        let both = |x: &[&'a [f32]], y: &[&'a [f32]]| x.iter().chain(y).copied().collect();
        [both(&trained[..a], &statistics[..c]), both(&trained[a..], &statistics[c..])]
    }
}

impl Kernel for Sum {
    fn name(&self) -> &'static str {
        "residual"
    }

    fn inputs(&self) -> usize {
        self.inside.inputs
    }

    fn outputs(&self) -> usize {
        self.inside.outputs
    }

    fn forward(&self, pass: Pass<'_>, y: &mut [f32], saved: &mut SavedState) {
        let [inside, beside] = self.params(pass.params);
        saved.inner.resize_with(2, SavedState::default);
        saved.between.resize_with(2, Vec::new);
        let ([first, second], [kept, other]) = (&mut saved.inner[..], &mut saved.between[..]) else { return };
        // The sum is not what comes out of the kernels, which their backward pass asks for.
        let kept = room(kept, y.len());
        self.inside.forward(Pass { params: &inside, ..pass }, kept, first);
        if self.beside.stages.is_empty() {
            y.copy_from_slice(pass.x);
        } else {
            let other = room(other, y.len());
            self.beside.forward(Pass { params: &beside, ..pass }, other, second);
            y.copy_from_slice(other);
        }
        add_values(y, kept);
    }

    fn backward(
        &self,
        pass: Pass<'_>,
        _: &[f32],
        dy: &mut [f32],
        saved: &mut SavedState,
        gradients: Gradients<'_, '_>,
    ) {
        let [inside, beside] = self.params(pass.params);
        let SavedState { inner, between, upstream: [copy, through], .. } = saved;
        let ([first, second], [kept, other]) = (&mut inner[..], &mut between[..]) else { return };
        let (Gradients { x: mut dx, params }, count) = (gradients, dy.len());
        let (own, others) = params.split_at_mut(self.inside.counts[0]);
        let copy = room(copy, count);
        copy.copy_from_slice(dy);
        let into = Gradients { x: dx.as_deref_mut(), params: own };
        self.inside.backward(Pass { params: &inside, ..pass }, &kept[..count], dy, first, into);
        if self.beside.stages.is_empty() {
            dx.into_iter().for_each(|dx| add_values(dx, copy));
            return;
        }
        let through = dx.as_ref().map(|dx| room(through, dx.len()));
        let (mut through, pass) = (through, Pass { params: &beside, ..pass });
        let into = Gradients { x: through.as_deref_mut(), params: others };
        self.beside.backward(pass, &other[..count], copy, second, into);
        if let (Some(dx), Some(through)) = (dx, through) {
            add_values(dx, through);
        }
    }

    fn found<'a>(&self, saved: &'a SavedState, rows: usize) -> Vec<Moments<'a>> {
        let [first, second] = &saved.inner[..] else { return Vec::new() };
        let shifted = |m: Moments<'a>| Moments { place: self.inside.counts[1] + m.place, ..m };
        let beside = self.beside.found(second, rows).into_iter().map(shifted);
        self.inside.found(first, rows).into_iter().chain(beside).collect()
    }
}
