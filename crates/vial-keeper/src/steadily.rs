//! How often an API that does not answer is asked again.

use std::time::Duration;

use kube::runtime::utils::Backoff;

/// While a cluster comes up, its API is wanted at once.
pub(crate) const SOON: Duration = Duration::from_millis(200);

/// The same pause, however often: the API is at hand, and its return is what somebody waits for.
pub(crate) struct Steadily(pub(crate) Duration);

impl Iterator for Steadily {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.0)
    }
}

impl Backoff for Steadily {
    fn reset(&mut self) {}
}
