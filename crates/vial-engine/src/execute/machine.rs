//! A virtual machine is started; why it did not come up is what QEMU and the guest's console said last.

use std::path::PathBuf;
use std::time::Duration;

use vial_qemu::console::last_words;
use vial_rpc::Code;
use vial_sandbox::Sandbox;

use super::container::{Container, READY};
use crate::paths::Paths;
use crate::pki::ClusterPki;
use crate::plan::{ContainerPlan, Stage};
use crate::progress::{Progress, Reporter};
use crate::{Error, Result};

/// How long a guest may be silent before it is started anew. Under software emulation one of some thirty starts on a busy
/// machine ended in a processor that waited for a timer for ever ("timer wakeup didn't happen", seen with QEMU 10.0.13).
const SILENT: Duration = Duration::from_secs(60);
/// How often; the last time it has as long as everything else.
const TRIES: usize = 3;

/// Starts the container around a machine, and waits until its guest's agent answers. One that ends without a word of QEMU
/// or of its kernel is started anew too: whatever is wrong with a machine is told.
pub(super) async fn start(
    logs: &Logs,
    sandbox: &dyn Sandbox,
    pki: &ClusterPki,
    plan: &ContainerPlan,
    report: &Reporter,
) -> Result<()> {
    for _ in 1..TRIES {
        let before = logs.length();
        let what = match attempt(sandbox, pki, plan, SILENT).await {
            Err(Error::Rpc { status, .. }) if status.code() == Code::DeadlineExceeded => {
                format!("was silent for {} s", SILENT.as_secs())
            }
            Err(Error::Rpc { .. }) if logs.length() == before => "ended without a word".to_owned(),
            done => return done,
        };
        let node = &plan.spec.node;
        let text = format!("the virtual machine of {node} {what}, it is started anew");
        report(Progress::note(text));
        Container::stop(sandbox, plan).await?;
    }
    attempt(sandbox, pki, plan, READY).await
}

/// What is said about a machine: by QEMU, and by the guest on its consoles.
pub(super) struct Logs {
    qemu: PathBuf,
    /// Only a kernel of the person's own has a serial port too.
    consoles: [PathBuf; 2],
}

impl Logs {
    pub(super) fn of(paths: &Paths, cluster: &str, node: &str) -> Self {
        let disk = paths.cluster_dir(cluster).join("nodes").join(node);
        let run = paths.run_dir(cluster).join("agents");
        let run = run.join(format!("{node}.machine"));
        Self {
            qemu: disk.join("machine-log/vial/qemu.log"),
            consoles: ["serial.log", "console.log"].map(|name| run.join(name)),
        }
    }

    /// Of all of them, in bytes.
    fn length(&self) -> u64 {
        let all = self.consoles.iter().chain([&self.qemu]);
        all.filter_map(|log| Some(log.metadata().ok()?.len())).sum()
    }

    /// What QEMU itself said last, or when it said nothing the consoles.
    fn last_words(&self) -> String {
        let qemu = last_words(&self.qemu);
        let consoles = self.consoles.iter().map(|log| last_words(log));
        let consoles: Vec<_> = consoles.filter(|text| !text.is_empty()).collect();
        match (qemu.is_empty(), consoles.is_empty()) {
            (false, _) => qemu,
            (true, false) => consoles.join("\n"),
            (true, true) => "nothing".to_owned(),
        }
    }
}

async fn attempt(
    sandbox: &dyn Sandbox,
    pki: &ClusterPki,
    plan: &ContainerPlan,
    patience: Duration,
) -> Result<()> {
    let container = Container::start(sandbox, pki, plan).await?;
    container.apply(Stage::Boot).await?;
    container.ready_within("link", patience).await
}

/// Why it did not come up.
pub(super) fn failed(logs: &Logs, node: &str, error: Error) -> Error {
    let Error::Rpc { status, .. } = &error else {
        return error;
    };
    let what = match status.code() {
        Code::DeadlineExceeded => {
            let all = SILENT * (u32::try_from(TRIES).unwrap_or(1) - 1) + READY;
            format!("was silent for {} s in {TRIES} starts", all.as_secs())
        }
        _ => "ended".to_owned(),
    };
    Error::Machine {
        node: node.to_owned(),
        what,
        said: logs.last_words(),
    }
}
