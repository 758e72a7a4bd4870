//! A virtual machine is started; why it did not come up is what QEMU and the guest's console said last.

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

/// Starts the container around a machine, and waits until its guest's agent answers.
pub(super) async fn start(
    sandbox: &dyn Sandbox,
    pki: &ClusterPki,
    plan: &ContainerPlan,
    report: &Reporter,
) -> Result<()> {
    for _ in 1..TRIES {
        match attempt(sandbox, pki, plan, SILENT).await {
            Err(Error::Rpc { status, .. }) if status.code() == Code::DeadlineExceeded => {
                let node = &plan.spec.node;
                let seconds = SILENT.as_secs();
                let text = format!(
                    "the virtual machine of {node} was silent for {seconds} s, it is started anew"
                );
                report(Progress::note(text));
                Container::stop(sandbox, plan).await?;
            }
            done => return done,
        }
    }
    attempt(sandbox, pki, plan, READY).await
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

/// Why it did not come up: what QEMU itself said last, or when it said nothing the consoles.
pub(super) fn failed(paths: &Paths, cluster: &str, node: &str, error: Error) -> Error {
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
    let disk = paths.cluster_dir(cluster).join("nodes").join(node);
    let run = paths.run_dir(cluster).join("agents");
    let qemu = vial_qemu::console::last_words(&disk.join("machine-log/vial/qemu.log"));
    // Only a kernel of the person's own has a serial port too.
    let consoles = ["serial", "console"].map(|name| {
        let log = run.join(format!("{node}.machine/{name}.log"));
        last_words(&log)
    });
    let consoles = consoles.into_iter().filter(|text| !text.is_empty());
    let consoles: Vec<_> = consoles.collect();
    let said = match (qemu.is_empty(), consoles.is_empty()) {
        (false, _) => qemu,
        (true, false) => consoles.join("\n"),
        (true, true) => "nothing".to_owned(),
    };
    Error::Machine {
        node: node.to_owned(),
        what,
        said,
    }
}
