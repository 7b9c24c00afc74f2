//! Kernels side by side, each over values of a row that are its own.

use super::{
    chain::Chain,
    op::{Gradients, Kernel, Moments, Pass, SavedState, room},
};

/// Values of a row, and the kernels that they go through.
#[derive(Debug, Clone)]
pub(super) struct BranchKernels {
    /// Where its values begin, and how many there are.
    pub(super) parts: Vec<(usize, usize)>,
    pub(super) chain: Chain,
}

/// Branches over some of the values each, their outputs side by side.
#[derive(Debug, Clone)]
pub(super) struct Branches {
    /// Values of a row that go in.
    pub(super) inputs: usize,
    pub(super) ways: Vec<BranchKernels>,
}

impl Branches {
    /// Returns each way's own tensors.
    fn params<'a>(&self, all: &[&'a [f32]]) -> Vec<Vec<&'a [f32]>> {
        let trained: usize = self.ways.iter().map(|way| way.chain.counts[0]).sum();
        let (mut first, mut second) = all.split_at(trained);
        let own = |way: &BranchKernels| {
            let (trained, more) = first.split_at(way.chain.counts[0]);
            let (statistics, still) = second.split_at(way.chain.counts[1]);
            (first, second) = (more, still);
            trained.iter().chain(statistics).copied().collect()
        };
        self.ways.iter().map(own).collect()
    }
}

impl Kernel for Branches {
    fn name(&self) -> &'static str {
        "join"
    }

    fn inputs(&self) -> usize {
        self.inputs
    }

    fn outputs(&self) -> usize {
        self.ways.iter().map(|way| way.chain.outputs).sum()
    }

    fn forward(&self, pass: Pass<'_>, y: &mut [f32], saved: &mut SavedState) {
        let (rows, outputs, params) = (pass.rows, self.outputs(), self.params(pass.params));
        saved.inner.resize_with(self.ways.len(), SavedState::default);
        let mut at = 0;
        for ((BranchKernels { parts, chain }, own), saved) in self.ways.iter().zip(&params).zip(&mut saved.inner) {
            saved.between.resize_with(2, Vec::new);
            saved.inner.resize_with(1, SavedState::default);
            let SavedState { inner, between, .. } = saved;
            let ([inner], [x, z]) = (&mut inner[..], &mut between[..]) else { return };
            let (x, z) = (room(x, rows * chain.inputs), room(z, rows * chain.outputs));
            for (x, row) in x.chunks_exact_mut(chain.inputs).zip(pass.x.chunks_exact(self.inputs)) {
                let mut to = x;
                for &(begin, count) in parts {
                    let (own, rest) = to.split_at_mut(count);
                    own.copy_from_slice(&row[begin..begin + count]);
                    to = rest;
                }
            }
            chain.forward(Pass { x, params: own, ..pass }, z, inner);
            for (y, z) in y.chunks_exact_mut(outputs).zip(z.chunks_exact(chain.outputs)) {
                y[at..at + chain.outputs].copy_from_slice(z);
            }
            at += chain.outputs;
        }
    }

    fn backward(
        &self,
        pass: Pass<'_>,
        _: &[f32],
        dy: &mut [f32],
        saved: &mut SavedState,
        gradients: Gradients<'_, '_>,
    ) {
        let (rows, outputs, params) = (pass.rows, self.outputs(), self.params(pass.params));
        let Gradients { x: mut dx, params: mut rest } = gradients;
        if let Some(dx) = &mut dx {
            dx.fill(0.0);
        }
        let mut at = 0;
        for ((BranchKernels { parts, chain }, own), saved) in self.ways.iter().zip(&params).zip(&mut saved.inner) {
            let SavedState { inner, between, upstream: [above, below], .. } = saved;
            let ([inner], [x, z]) = (&mut inner[..], &mut between[..]) else { return };
            let (x, z) = (&x[..rows * chain.inputs], &z[..rows * chain.outputs]);
            let dz = room(above, z.len());
            for (dz, dy) in dz.chunks_exact_mut(chain.outputs).zip(dy.chunks_exact(outputs)) {
                dz.copy_from_slice(&dy[at..at + chain.outputs]);
            }
            at += chain.outputs;
            let (trained, others) = std::mem::take(&mut rest).split_at_mut(chain.counts[0]);
            rest = others;
            let mut into = dx.as_ref().map(|_| room(below, x.len()));
            let gradients = Gradients { x: into.as_deref_mut(), params: trained };
            chain.backward(Pass { x, params: own, ..pass }, z, dz, inner, gradients);
            let (Some(dx), Some(into)) = (&mut dx, into) else { continue };
            for (dx, mut own) in dx.chunks_exact_mut(self.inputs).zip(into.chunks_exact(chain.inputs)) {
                for &(begin, count) in parts {
                    let (part, more) = own.split_at(count);
                    dx[begin..begin + count].iter_mut().zip(part).for_each(|(sum, d)| *sum += d);
                    own = more;
                }
            }
        }
    }

    fn found<'a>(&self, saved: &'a SavedState, rows: usize) -> Vec<Moments<'a>> {
        let (mut all, mut first) = (Vec::new(), 0);
        for (way, saved) in self.ways.iter().zip(&saved.inner) {
            let own = saved.inner.first().map(|inner| way.chain.found(inner, rows)).unwrap_or_default();
            all.extend(own.into_iter().map(|m| Moments { place: first + m.place, ..m }));
            first += way.chain.counts[1];
        }
        all
    }
}
