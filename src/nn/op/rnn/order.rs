//! The order in which one thread visits the steps of its sequences.

/// Steps of several sequences, packed: all first steps, then all second steps, and so on, the longest sequence first
/// within each, so that the sequences still running are always a prefix (PyTorch's `PackedSequence`).
#[derive(Debug)]
pub(super) struct Order {
    /// The sequences, longest first; of equal ones the first comes first.
    rows: Vec<usize>,
    /// Their lengths, in that order.
    lengths: Vec<usize>,
    /// Where each step begins; one more than there are steps.
    offsets: Vec<usize>,
}

impl Order {
    pub(super) fn new(lengths: &[u32]) -> Self {
        let mut rows: Vec<usize> = (0..lengths.len()).collect();
        rows.sort_by_key(|&row| std::cmp::Reverse(lengths[row]));
        let lengths: Vec<usize> = rows.iter().map(|&row| lengths[row] as usize).collect();
        let mut offsets = vec![0];
        let mut running = lengths.len();
        for step in 0..lengths.first().copied().unwrap_or(0) {
            while running > 0 && lengths[running - 1] <= step {
                running -= 1;
            }
            offsets.push(offsets[step] + running);
        }
        Self { rows, lengths, offsets }
    }

    /// Returns the number of steps of all sequences together.
    pub(super) fn len(&self) -> usize {
        self.offsets[self.steps()]
    }

    /// Returns the number of steps of the longest sequence.
    pub(super) fn steps(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Where a step begins.
    pub(super) fn offset(&self, step: usize) -> usize {
        self.offsets[step]
    }

    /// Returns the number of sequences that have this step.
    pub(super) fn count(&self, step: usize) -> usize {
        self.offsets[step + 1] - self.offsets[step]
    }

    /// Returns the lengths of the sequences, and which they are, in packed order.
    pub(super) fn sequences(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.rows.iter().copied().zip(self.lengths.iter().copied())
    }

    /// Returns the packed places of the steps of the `i`-th longest sequence.
    pub(super) fn places(&self, i: usize) -> impl DoubleEndedIterator<Item = usize> + '_ {
        self.offsets[..self.lengths[i]].iter().map(move |offset| offset + i)
    }

    /// For every packed place its sequence (as given) and its time.
    fn walk(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        (0..self.steps()).flat_map(move |step| self.rows[..self.count(step)].iter().map(move |&row| (row, step)))
    }

    /// Packs `padded`, `(sequences, time, width)`.
    pub(super) fn pack(&self, padded: &[f32], time: usize, width: usize, packed: &mut [f32]) {
        for ((row, step), to) in self.walk().zip(packed.chunks_exact_mut(width)) {
            let from = (row * time + step) * width;
            to.copy_from_slice(&padded[from..from + width]);
        }
    }

    /// Undoes [`Order::pack`]; what lies behind a sequence's end is left alone.
    pub(super) fn unpack(&self, packed: &[f32], time: usize, width: usize, padded: &mut [f32]) {
        for ((row, step), from) in self.walk().zip(packed.chunks_exact(width)) {
            let to = (row * time + step) * width;
            padded[to..to + width].copy_from_slice(from);
        }
    }

    /// Turns every sequence around, each within its own length: calls `copy(place, place when turned around)`.
    pub(super) fn turn(&self, mut copy: impl FnMut(usize, usize)) {
        for (i, &length) in self.lengths.iter().enumerate() {
            for step in 0..length {
                copy(self.offsets[step] + i, self.offsets[length - 1 - step] + i);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_packed_longest_first_and_unpacked_again() {
        let order = Order::new(&[1, 3, 2]);
        assert_eq!((order.len(), order.steps()), (6, 3));
        assert_eq!((0..3).map(|s| (order.offset(s), order.count(s))).collect::<Vec<_>>(), [(0, 3), (3, 2), (5, 1)]);
        let padded: Vec<f32> = (0..9).map(|v| v as f32).collect();
        let mut packed = vec![0.0; 6];
        order.pack(&padded, 3, 1, &mut packed);
        assert_eq!(packed, [3.0, 6.0, 0.0, 4.0, 7.0, 5.0]);
        let mut again = vec![0.0; 9];
        order.unpack(&packed, 3, 1, &mut again);
        assert_eq!(again, [0.0, 0.0, 0.0, 3.0, 4.0, 5.0, 6.0, 7.0, 0.0]);
        let mut turned = vec![0.0; 6];
        order.turn(|from, to| turned[to] = packed[from]);
        assert_eq!(turned, [5.0, 7.0, 0.0, 4.0, 6.0, 3.0]);
        assert_eq!(order.places(1).collect::<Vec<_>>(), [1, 4]);
    }

    #[test]
    fn no_sequences_have_no_steps() {
        let order = Order::new(&[]);
        assert_eq!((order.len(), order.steps()), (0, 0));
    }
}
