//! When to try again, and when to give up.

use std::time::{Duration, Instant};

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{Error, Result};

/// Policy for retries after transport failures. Immutable; attempts are counted elsewhere.
///
/// | field | default | purpose | legal |
/// |---|---|---|---|
/// | `give_up_after` | 15 s | longest time without any progress | more than 0 |
/// | `first_delay` | 50 ms | delay before the first retry | more than 0 |
/// | `max_delay` | 2 s | longest delay between two attempts | `first_delay` or more |
/// | `factor` | 3 | growth of the delay | 1 or more |
/// | `jitter` | 0.3 | share of each delay that is drawn at random | 0 to 1 |
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// Longest time without progress before giving up.
    pub give_up_after: Duration,
    /// Delay before the first retry.
    pub first_delay: Duration,
    /// Longest delay.
    pub max_delay: Duration,
    /// Growth of the delay per attempt.
    pub factor: f64,
    /// Share of the delay that is random, so that many clients do not return at once.
    pub jitter: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            give_up_after: Duration::from_secs(15),
            first_delay: Duration::from_millis(50),
            max_delay: Duration::from_secs(2),
            factor: 3.0,
            jitter: 0.3,
        }
    }
}

impl RetryPolicy {
    /// Refuses values outside their legal range.
    ///
    /// # Errors
    /// [`Error::Param`] names the first bad field.
    pub fn check(&self) -> Result<()> {
        if self.give_up_after.is_zero() {
            return Err(Error::param("give_up_after", "0", "more than 0"));
        }
        if self.first_delay.is_zero() {
            return Err(Error::param("first_delay", "0", "more than 0"));
        }
        if self.max_delay < self.first_delay {
            return Err(Error::param("max_delay", format!("{:?}", self.max_delay), "at least first_delay"));
        }
        if !(self.factor >= 1.0 && self.factor.is_finite()) {
            return Err(Error::param("factor", self.factor, "1 or more"));
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(Error::param("jitter", self.jitter, "0 to 1"));
        }
        Ok(())
    }

    /// Returns the delay before retry number `attempt` (from 0); `jitter`, in 0..1, replaces the random number.
    fn delay(&self, attempt: u32, jitter: f64) -> Duration {
        let grown = self.first_delay.as_secs_f64() * self.factor.powi(attempt.min(64) as i32);
        let capped = grown.min(self.max_delay.as_secs_f64());
        Duration::from_secs_f64(capped * (1.0 - self.jitter * jitter))
    }
}

/// The state of one call's retries; [`Retries::progress`] starts it over.
#[derive(Debug)]
pub(super) struct Retries {
    policy: RetryPolicy,
    attempt: u32,
    since: Option<Instant>,
}

impl Retries {
    pub(super) fn new(policy: RetryPolicy) -> Self {
        Self { policy, attempt: 0, since: None }
    }

    /// Something arrived: the next failure is a first failure again.
    pub(super) fn progress(&mut self) {
        self.attempt = 0;
        self.since = None;
    }

    /// Returns the time since the first failure.
    pub(super) fn failing_for(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Counts a failure: how long to wait before trying again, or `None` when it is time to give up.
    pub(super) fn next_delay(&mut self, server_wish: Option<Duration>) -> Option<Duration> {
        let failing_for = self.since.get_or_insert_with(Instant::now).elapsed();
        let left = self.policy.give_up_after.checked_sub(failing_for).filter(|left| !left.is_zero())?;
        let jitter = (uuid::Uuid::new_v4().as_u128() as u32) as f64 / u32::MAX as f64;
        let delay = self.policy.delay(self.attempt, jitter).max(server_wish.unwrap_or_default());
        self.attempt += 1;
        Some(delay.min(left))
    }
}

/// Returns whether a failure came from the network rather than from Spark, so that a retry may help.
pub(super) fn is_transport_failure(status: &Status) -> bool {
    // A status that a server sent has no source; one that tonic made of a broken connection has.
    status.code() == Code::Unavailable
        || std::error::Error::source(status).is_some()
        || (status.code() == Code::Internal && status.message().contains("INVALID_CURSOR.DISCONNECTED"))
        || server_wish(status).is_some()
}

/// Returns the delay that the server asks for, if it does.
pub(super) fn server_wish(status: &Status) -> Option<Duration> {
    status.get_details_retry_info().and_then(|info| info.retry_delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_cap_and_jitter_only_shortens_them() {
        let policy = RetryPolicy { jitter: 0.5, ..RetryPolicy::default() };
        let millis = |attempt, probability| policy.delay(attempt, probability).as_millis();
        assert_eq!([millis(0, 0.0), millis(1, 0.0), millis(2, 0.0), millis(9, 0.0)], [50, 150, 450, 2000]);
        assert_eq!([millis(0, 1.0), millis(9, 1.0)], [25, 1000]);
        assert_eq!(millis(u32::MAX, 0.0), 2000);
    }

    #[test]
    fn it_gives_up_when_the_time_is_over_and_progress_starts_it_over() {
        let policy = RetryPolicy { give_up_after: Duration::from_millis(20), ..RetryPolicy::default() };
        let mut retries = Retries::new(policy);
        assert!(retries.next_delay(None).unwrap() <= Duration::from_millis(20), "never past the end");
        std::thread::sleep(Duration::from_millis(25));
        assert_eq!(retries.next_delay(None), None);
        retries.progress();
        assert!(retries.next_delay(None).is_some());
    }

    #[test]
    fn the_server_may_ask_for_a_longer_delay() {
        let mut retries = Retries::new(RetryPolicy::default());
        assert_eq!(retries.next_delay(Some(Duration::from_secs(3))), Some(Duration::from_secs(3)));
    }

    #[test]
    fn only_the_way_to_the_server_is_retried() {
        assert!(is_transport_failure(&Status::unavailable("")));
        assert!(is_transport_failure(&Status::internal("[INVALID_CURSOR.DISCONNECTED] …")));
        assert!(!is_transport_failure(&Status::internal("[DIVIDE_BY_ZERO] …")));
        assert!(!is_transport_failure(&Status::unauthenticated("")));
        let mut broken = Status::unknown("");
        broken.set_source(std::sync::Arc::new(std::io::Error::other("cut")));
        assert!(is_transport_failure(&broken));
    }

    #[test]
    fn bad_policies_are_refused_by_field() {
        let bad = |policy: RetryPolicy| policy.check().unwrap_err().to_string();
        let good = RetryPolicy::default;
        assert!(good().check().is_ok());
        assert!(bad(RetryPolicy { factor: f64::NAN, ..good() }).contains("factor"));
        assert!(bad(RetryPolicy { jitter: -0.1, ..good() }).contains("jitter"));
        assert!(bad(RetryPolicy { max_delay: Duration::ZERO, ..good() }).contains("max_delay"));
        assert!(bad(RetryPolicy { give_up_after: Duration::ZERO, ..good() }).contains("give_up_after"));
    }
}
