//! How often an API that does not answer is asked again.

use std::time::Duration;

use kube::runtime::utils::Backoff;

/// The same short pause, however often: while a cluster comes up, its API is wanted at once.
pub(crate) struct Soon;

impl Soon {
    pub(crate) const PAUSE: Duration = Duration::from_millis(200);
}

impl Iterator for Soon {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Self::PAUSE)
    }
}

impl Backoff for Soon {
    fn reset(&mut self) {}
}
