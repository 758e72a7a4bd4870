//! A pod that asks for a name, and tells when it was answered.

use std::time::{Duration, SystemTime};

use crate::Result;

/// It ends once a name is answered, and tells when that was: kubelets look for ended containers once a second.
pub const POD: &[&str] = &[
    "run",
    "dns",
    "--image=vial/toolbox:1",
    "--image-pull-policy=IfNotPresent",
    "--restart=Never",
    "--",
    "sh",
    "-c",
    "until dig +short +time=1 +tries=1 kubernetes.default.svc.cluster.local | grep .; do sleep 0.02; done; date +%s.%N",
];

/// How it is known that the pod has ended.
pub const ENDED: &[&str] = &[
    "wait",
    "--for=jsonpath={.status.phase}=Succeeded",
    "pod/dns",
    "--timeout=180s",
];

/// What it says.
pub const LOG: &[&str] = &["logs", "dns"];

/// What the pod says last about when it had its answer. It has the clock of this machine.
///
/// # Errors
/// When it says something else.
pub fn answered(log: &str) -> Result<SystemTime> {
    time(log.lines().last().unwrap_or_default())
}

/// A time as `date +%s.%N` writes it.
///
/// # Errors
/// When it is none.
pub fn time(text: &str) -> Result<SystemTime> {
    let told: f64 = text.parse()?;
    Ok(SystemTime::UNIX_EPOCH + Duration::try_from_secs_f64(told)?)
}
