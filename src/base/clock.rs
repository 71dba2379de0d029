//! The wall clock. Whoever decides something is told the time ([`super::time::Now`]); only those who
//! are at a socket or at the owner's side read it here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Unix time.
pub(crate) fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Unix seconds with their fraction, for the page.
pub(crate) fn unix_now() -> f64 {
    unix_time().as_secs_f64()
}

/// Unix seconds.
pub(crate) fn unix_seconds() -> u64 {
    unix_time().as_secs()
}
