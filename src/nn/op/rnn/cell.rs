//! One step of the cells, all gates at once: everything of a step but its matrix products.
//!
//! Rows are sequences. Gates stand in PyTorch's order, row-major: LSTM i f g o, GRU r z n. A forward step leaves what
//! the backward step needs in the gates' place, and the backward step replaces that by the gradients before the
//! functions.

use super::gate::{sigmoid_and_tanh, sigmoids, tanh};
use crate::nn::op::math::widened;

/// Splits a row into parts of `h` values.
macro_rules! parts {
    ($row:expr, $h:expr, $($part:ident),+) => {
        let mut rest = $row;
        $(let ($part, after) = rest.split_at_mut($h); #[allow(unused_assignments)] { rest = after; })+
    };
}

widened! {
    /// `gates` `(n, 4h)` in: sums without bias, out: i f g o. `cells`, `hidden` `(n, h)` out. `before`: the cells of
    /// the step before, none at the first. `bias` `(4h)`.
    pub(super) fn lstm(gates: &mut [f32], bias: &[f32], before: Option<&[f32]>, cells: &mut [f32], hidden: &mut [f32]) {
        let h = bias.len() / 4;
        let (bi, bias) = bias.split_at(h);
        let (bf, bias) = bias.split_at(h);
        let (bg, bo) = bias.split_at(h);
        let zeros = before.is_none().then(|| vec![0.0; h]);
        let rows = gates.chunks_exact_mut(4 * h).zip(cells.chunks_exact_mut(h)).zip(hidden.chunks_exact_mut(h));
        for (row, ((gates, c), out)) in rows.enumerate() {
            let before = match (before, &zeros) {
                (Some(before), _) => &before[row * h..][..h],
                (None, Some(zeros)) => zeros,
                (None, None) => return,
            };
            parts!(gates, h, i, f, g, o);
            let (bi, bf, bg, bo) = (&bi[..h], &bf[..h], &bg[..h], &bo[..h]);
            for j in 0..h {
                (i[j], f[j]) = sigmoids(i[j] + bi[j], f[j] + bf[j]);
                (o[j], g[j]) = sigmoid_and_tanh(o[j] + bo[j], g[j] + bg[j]);
                c[j] = f[j] * before[j] + i[j] * g[j];
                out[j] = o[j] * tanh(c[j]);
            }
        }
    }
}

widened! {
    /// `gates` `(n, 4h)` in: i f g o, out: gradients of the sums. `d_hidden` `(n, h)`. `d_cells` `(n, h)` in: the
    /// gradient from the step after, out: that for the step before.
    pub(super) fn lstm_back(
        gates: &mut [f32],
        cells: &[f32],
        before: Option<&[f32]>,
        d_hidden: &[f32],
        d_cells: &mut [f32],
        h: usize,
    ) {
        let zeros = before.is_none().then(|| vec![0.0; h]);
        let rows = gates.chunks_exact_mut(4 * h).zip(cells.chunks_exact(h)).zip(d_hidden.chunks_exact(h));
        for (row, (((gates, c), dh), dc)) in rows.zip(d_cells.chunks_exact_mut(h)).enumerate() {
            let before = match (before, &zeros) {
                (Some(before), _) => &before[row * h..][..h],
                (None, Some(zeros)) => zeros,
                (None, None) => return,
            };
            parts!(gates, h, i, f, g, o);
            for j in 0..h {
                let t = tanh(c[j]);
                let d = dc[j] + dh[j] * o[j] * (1.0 - t * t);
                o[j] = dh[j] * t * (o[j] * (1.0 - o[j]));
                let (iv, fv, gv) = (i[j], f[j], g[j]);
                i[j] = d * gv * (iv * (1.0 - iv));
                f[j] = d * before[j] * (fv * (1.0 - fv));
                g[j] = d * iv * (1.0 - gv * gv);
                dc[j] = d * fv;
            }
        }
    }
}

widened! {
    /// `gates` `(n, 3h)` in: the input's part without bias, out: r z n. `sums` `(n, 3h)`: the hidden state's part
    /// without bias. `news` `(n, h)` out: the hidden state's part of n, bias added. `bias` `(4h)`: r, z, n of the
    /// input, n of the hidden state.
    pub(super) fn gru(
        gates: &mut [f32],
        sums: Option<&[f32]>,
        bias: &[f32],
        before: Option<&[f32]>,
        news: &mut [f32],
        hidden: &mut [f32],
    ) {
        let h = bias.len() / 4;
        let (br, bias) = bias.split_at(h);
        let (bz, bias) = bias.split_at(h);
        let (bn, bh) = bias.split_at(h);
        let zeros = vec![0.0; 3 * h];
        let rows = gates.chunks_exact_mut(3 * h).zip(news.chunks_exact_mut(h)).zip(hidden.chunks_exact_mut(h));
        for (row, ((gates, new), out)) in rows.enumerate() {
            let before = before.map_or(&zeros[..h], |before| &before[row * h..][..h]);
            let sums = sums.map_or(&zeros[..], |sums| &sums[row * 3 * h..][..3 * h]);
            let (sr, sz, sn) = (&sums[..h], &sums[h..2 * h], &sums[2 * h..]);
            parts!(gates, h, r, z, n);
            let (br, bz, bn, bh) = (&br[..h], &bz[..h], &bn[..h], &bh[..h]);
            for j in 0..h {
                (r[j], z[j]) = sigmoids(r[j] + sr[j] + br[j], z[j] + sz[j] + bz[j]);
                new[j] = sn[j] + bh[j];
                n[j] = tanh(n[j] + bn[j] + r[j] * new[j]);
                out[j] = n[j] + z[j] * (before[j] - n[j]);
            }
        }
    }
}

widened! {
    /// `gates` `(n, 3h)` in: r z n, out: gradients of the input's sums. `news` `(n, h)` in: the hidden state's part of
    /// n, out: its gradient. `d_before` `(n, h)`: what reaches the step before past the products is added.
    pub(super) fn gru_back(
        gates: &mut [f32],
        news: &mut [f32],
        before: Option<&[f32]>,
        d_hidden: &[f32],
        d_before: Option<&mut [f32]>,
        h: usize,
    ) {
        let zeros = vec![0.0; h];
        let (mut d_before, mut none) = (d_before, vec![0.0; h]);
        let rows = gates.chunks_exact_mut(3 * h).zip(news.chunks_exact_mut(h)).zip(d_hidden.chunks_exact(h));
        for (row, ((gates, new), dh)) in rows.enumerate() {
            let before = before.map_or(&zeros[..], |before| &before[row * h..][..h]);
            let db = match &mut d_before {
                Some(d_before) => &mut d_before[row * h..][..h],
                None => &mut none[..],
            };
            parts!(gates, h, r, z, n);
            for j in 0..h {
                let (rv, zv, nv) = (r[j], z[j], n[j]);
                let dn = dh[j] * (1.0 - zv) * (1.0 - nv * nv);
                db[j] += dh[j] * zv;
                z[j] = dh[j] * (before[j] - nv) * (zv * (1.0 - zv));
                r[j] = dn * new[j] * (rv * (1.0 - rv));
                n[j] = dn;
                new[j] = dn * rv;
            }
        }
    }
}

widened! {
    /// `hidden` `(n, h)` out: the function of `sums` and `bias` `(h)`.
    pub(super) fn plain(sums: &[f32], bias: &[f32], relu: bool, hidden: &mut [f32]) {
        let h = bias.len();
        for (sums, out) in sums.chunks_exact(h).zip(hidden.chunks_exact_mut(h)) {
            if relu {
                // Unlike `max`, this lets NaN through.
                out.iter_mut()
                    .zip(sums)
                    .zip(bias)
                    .for_each(|((out, s), b)| *out = if s + b < 0.0 { 0.0 } else { s + b });
            } else {
                out.iter_mut().zip(sums).zip(bias).for_each(|((out, s), b)| *out = tanh(s + b));
            }
        }
    }
}

widened! {
    /// `d_sums` `(n, h)` out: the gradient before the function.
    pub(super) fn plain_back(d_sums: &mut [f32], hidden: &[f32], relu: bool, d_hidden: &[f32]) {
        for ((to, &y), &d) in d_sums.iter_mut().zip(hidden).zip(d_hidden) {
            *to = if !relu {
                d * (1.0 - y * y)
            } else if y > 0.0 {
                d
            } else {
                0.0
            };
        }
    }
}
