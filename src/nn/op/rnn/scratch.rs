//! Buffers that are used again, step after step.

use std::sync::{Mutex, PoisonError};

/// Buffers between two uses. Fresh memory comes from the system page by page, which costs as much as the arithmetic.
#[derive(Debug, Default)]
pub(super) struct RnnBuffers(Mutex<Vec<Vec<f32>>>);

impl RnnBuffers {
    /// More buffers than this are not kept.
    const KEPT: usize = 64;

    /// Returns a buffer of this length with anything in it.
    pub(super) fn take(&self, len: usize) -> Vec<f32> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |(_, b): &(usize, &Vec<f32>)| b.capacity() >= len && b.capacity() / 2 <= len;
        let best = free.iter().enumerate().filter(fits).min_by_key(|(_, b)| b.capacity()).map(|(i, _)| i);
        let mut buffer = best.map(|i| free.swap_remove(i)).unwrap_or_default();
        drop(free);
        buffer.resize(len, 0.0);
        buffer
    }

    /// Returns a buffer of this length full of zeros.
    pub(super) fn zeros(&self, len: usize) -> Vec<f32> {
        let mut buffer = self.take(len);
        buffer.fill(0.0);
        buffer
    }

    /// Takes a buffer back.
    pub(super) fn give(&self, buffer: Vec<f32>) {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() == Self::KEPT {
            free.remove(0);
        }
        free.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_of_a_like_size_is_used_again() {
        let scratch = RnnBuffers::default();
        let buffer = scratch.take(100);
        let place = buffer.as_ptr();
        scratch.give(buffer);
        let small = scratch.take(10);
        assert_ne!(small.as_ptr(), place);
        let again = scratch.take(80);
        assert_eq!((again.as_ptr(), again.len()), (place, 80));
        scratch.give(again);
        assert_eq!(scratch.zeros(90), vec![0.0; 90]);
    }
}
