//! What ends a pod that was made for a time (`--ttl`), with nothing of vial running: a Job that never runs anything.
//!
//! ```text
//! Job NAME-ttl, parallelism 0 ──(activeDeadlineSeconds)──► failed ──(ttlSecondsAfterFinished: 0)──► deleted
//!   └ owns the Service, which owns all else ──────────────────────────────────────────────────────► collected
//! ```
//! Every cluster has the three controllers that this needs
//! (<https://kubernetes.io/docs/concepts/workloads/controllers/job/#job-termination-and-cleanup>,
//! <https://kubernetes.io/docs/concepts/workloads/controllers/ttlafterfinished/>,
//! <https://kubernetes.io/docs/concepts/architecture/garbage-collection/>). The Service owns the Job as well, so that
//! whichever is deleted takes the other along.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Wanted;
use crate::words;

/// A Job that ends a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Timer {
    /// The Job, as if it began when the pod was made first.
    pub job: Value,
    /// When it is to end.
    pub expires: Timestamp,
}

impl Timer {
    /// The Job, if it began, or begins, at `started`; it ends at once when its time is over by then.
    #[must_use]
    pub fn begun(&self, started: Timestamp) -> Value {
        let left = self.expires.duration_since(started).as_secs();
        let mut job = self.job.clone();
        job["spec"]["activeDeadlineSeconds"] = left.max(1).into();
        job
    }
}

impl Wanted<'_> {
    pub(super) fn timer(&self) -> Option<Timer> {
        let expires = self.expires()?;
        let timer = Timer {
            job: json!({
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": self.metadata(&words::timer(self.name)),
                "spec": {
                    "parallelism": 0,
                    "backoffLimit": 0,
                    "ttlSecondsAfterFinished": 0,
                    "template": {"spec": {
                        "restartPolicy": "Never",
                        "automountServiceAccountToken": false,
                        "securityContext": {
                            "runAsNonRoot": true,
                            "seccompProfile": {"type": "RuntimeDefault"},
                        },
                        // Asked for by the API; none is ever made.
                        "containers": [{
                            "name": "none",
                            "image": "registry.k8s.io/pause:3.10",
                            "securityContext": {
                                "allowPrivilegeEscalation": false,
                                "capabilities": {"drop": ["ALL"]},
                            },
                        }],
                    }},
                },
            }),
            expires,
        };
        let job = timer.begun(self.identity.created);
        Some(Timer { job, ..timer })
    }
}
