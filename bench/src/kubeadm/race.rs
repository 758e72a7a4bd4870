//! The kubeadm way, from nothing to "DNS answers in a pod".

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::Kubeadm;
use crate::Result;
use crate::dns::{ENDED, LOG, POD, answered};

/// How long what took.
#[derive(Debug, Default, Clone, Copy)]
pub struct Race {
    /// Nodes with containerd.
    pub boot: Duration,
    /// `kubeadm init`.
    pub init: Duration,
    /// `kubeadm join` of all workers.
    pub join: Duration,
    /// From there until DNS answered in a pod.
    pub dns: Duration,
}

impl Race {
    /// All of it.
    #[must_use]
    pub fn total(self) -> Duration {
        self.boot + self.init + self.join + self.dns
    }
}

/// Runs it; the cluster stays.
///
/// # Errors
/// When a step fails.
pub async fn race(program: &Path, kubeadm: &Path, cluster: &str, workers: u32) -> Result<Race> {
    super::down(cluster).await?;
    let started = Instant::now();
    let made = Kubeadm::boot(program.to_owned(), kubeadm, cluster, workers).await?;
    let boot = started.elapsed();
    made.import().await?;
    let started = Instant::now();
    made.init().await?;
    let init = started.elapsed();
    made.join().await?;
    let join = started.elapsed() - init;
    let joined = SystemTime::now();
    // Until the namespace's service account is made, a pod is refused.
    while made.kubectl(POD).await.is_err() {
        if started.elapsed() > Duration::from_secs(180) {
            made.kubectl(POD).await?;
        }
    }
    made.kubectl(ENDED).await?;
    let dns = answered(&made.kubectl(LOG).await?)?.duration_since(joined)?;
    Ok(Race {
        boot,
        init,
        join,
        dns,
    })
}
