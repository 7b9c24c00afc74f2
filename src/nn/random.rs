//! A counter-based random generator: any draw can be reproduced without the ones before it.
//!
//! Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011). The seed is
//! the key; the counter names what the numbers are for, so that weights, shuffles and dropout masks never share a
//! stream, and a resumed run continues from an epoch and a step alone.

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// Ten Philox rounds over one counter.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let even = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let odd = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [
            (odd >> 32) as u32 ^ counter[1] ^ key[0],
            odd as u32,
            (even >> 32) as u32 ^ counter[3] ^ key[1],
            even as u32,
        ];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// Purpose of a stream of numbers. Streams of different purposes never overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// Initial weights; the lane is the layer, the index the parameter within it.
    Weights = 1,
    /// The order of rows; the index is the epoch.
    Shuffle = 2,
    /// Dropout masks; the lane is the layer, the index the step.
    Dropout = 3,
    /// Which rows are held out; the index is the row.
    Split = 4,
    /// Corruption of inputs that a network is to restore; the lane is the epoch, the index the minibatch within it.
    Corruption = 5,
    /// States of a Boltzmann machine's units; the lane is the layer and the half-step of the chain, the index the step.
    Gibbs = 6,
    /// The same while annealing; the index is the temperature.
    Annealing = 7,
    /// Params that are tried; the lane is the param, the index the candidate.
    Search = 8,
}

/// One stream of random numbers.
#[derive(Debug, Clone)]
pub struct Philox {
    key: [u32; 2],
    counter: [u32; 4],
    block: [u32; 4],
    used: usize,
}

impl Philox {
    /// Opens the stream of `seed` for a purpose, a lane (below 2²⁴) and an index. It yields 2³⁴ numbers before it
    /// repeats.
    pub fn new(seed: u64, purpose: Purpose, lane: u32, index: u64) -> Self {
        debug_assert!(lane < 1 << 24, "a lane has 24 bits");
        let stream = u32::from(purpose as u8) << 24 | (lane & 0x00FF_FFFF);
        Self {
            key: [seed as u32, (seed >> 32) as u32],
            counter: [0, index as u32, (index >> 32) as u32, stream],
            block: [0; 4],
            used: 4,
        }
    }

    /// Moves to the `block`-th group of four numbers.
    pub fn seek(&mut self, block: u32) {
        self.counter[0] = block;
        self.used = 4;
    }

    /// Returns the next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// Returns a number in `[0, 1)`, one of 2²⁴ equally spaced ones.
    pub fn next_f32(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 * (1.0 / (1 << 24) as f32)
    }

    /// Returns a number from the normal distribution of mean 0 and deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f32 {
        // 1 - u is never 0.
        let size = (-2.0 * (1.0 - self.next_f32()).ln()).sqrt();
        size * (std::f32::consts::TAU * self.next_f32()).cos()
    }

    /// Returns a whole number below `bound`, each equally likely (Lemire, "Fast random integer generation in an
    /// interval", 2019).
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        assert!(bound > 0, "there is no number below 0");
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u64::from(self.next_u32()) * u64::from(bound);
            if product as u32 >= threshold {
                return (product >> 32) as u32;
            }
        }
    }

    /// Shuffles in place, every order equally likely (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            // Rows are counted in 32 bits throughout, see `tensor::Rows`.
            let bound = u32::try_from(i + 1).unwrap_or(u32::MAX);
            items.swap(i, self.below(bound) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The vectors "philox4x32 10" of the authors' Random123 distribution, file kat_vectors.
    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([!0; 4], [!0; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn streams_differ_by_seed_purpose_lane_and_index() {
        let first = |seed, purpose, lane, index| Philox::new(seed, purpose, lane, index).next_u32();
        let base = first(7, Purpose::Weights, 0, 0);
        assert_eq!(base, first(7, Purpose::Weights, 0, 0));
        for other in [
            first(8, Purpose::Weights, 0, 0),
            first(7 | 1 << 32, Purpose::Weights, 0, 0),
            first(7, Purpose::Shuffle, 0, 0),
            first(7, Purpose::Weights, 1, 0),
            first(7, Purpose::Weights, 0, 1),
            first(7, Purpose::Weights, 0, 1 << 32),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn seeking_finds_the_same_numbers_as_drawing_up_to_them() {
        let mut drawn = Philox::new(3, Purpose::Dropout, 1, 2);
        let numbers: Vec<u32> = (0..12).map(|_| drawn.next_u32()).collect();
        let mut sought = Philox::new(3, Purpose::Dropout, 1, 2);
        sought.seek(2);
        assert_eq!(sought.next_u32(), numbers[8]);
    }

    #[test]
    fn a_shuffle_is_a_permutation_and_spreads_evenly() {
        let mut firsts = [0; 5];
        for epoch in 0..5_000 {
            let mut items = [0, 1, 2, 3, 4];
            Philox::new(1, Purpose::Shuffle, 0, epoch).shuffle(&mut items);
            firsts[items[0]] += 1;
            items.sort_unstable();
            assert_eq!(items, [0, 1, 2, 3, 4]);
        }
        assert!(firsts.iter().all(|&n| (850..1150).contains(&n)), "{firsts:?}");
    }
}
