//! What the sandbox is made of, and what it must be for the nodes in it.

use super::{FieldPath, Overrides, Problems};
use crate::file::SandboxEntry;
use crate::size::Size;
use crate::{Maker, NodeConfig, SandboxConfig, SandboxMachine};

/// A control plane and a node do not come up with less.
const LEAST_MEMORY: Size = Size::from_bytes(2 << 30);
const LEAST_DISK: Size = Size::from_bytes(4 << 30);
const MOST_CPUS: u32 = 64;

/// Flags win over the file. What is said of a machine makes no machine of it.
pub(super) fn resolve(
    entry: &SandboxEntry,
    overrides: &Overrides,
    nodes: &[NodeConfig],
    problems: &mut Problems,
) -> SandboxConfig {
    let root = FieldPath::root().key("sandbox");
    let place = |flag: &str, key: &str, given: bool| match given {
        true => FieldPath::argument(flag),
        false => root.key(key),
    };
    let usual = SandboxMachine::default();
    let given = &overrides.sandbox;
    let machine = SandboxMachine {
        cpus: given.cpus.or(entry.cpus).unwrap_or(usual.cpus),
        memory: given.memory.or(entry.memory).unwrap_or(usual.memory),
        disk: entry.disk.unwrap_or(usual.disk),
    };
    if !(1..=MOST_CPUS).contains(&machine.cpus) {
        let message = format!("a machine has 1 to {MOST_CPUS} processors");
        problems.add(&place("--cpus", "cpus", given.cpus.is_some()), message);
    }
    for (path, size, least) in [
        (
            place("--memory", "memory", given.memory.is_some()),
            machine.memory,
            LEAST_MEMORY,
        ),
        (root.key("disk"), machine.disk, LEAST_DISK),
    ] {
        if size < least {
            let message = format!("{size} is too little, a cluster needs {least} at least");
            problems.add(&path, message);
        }
    }
    let maker = given.maker.or(entry.maker).unwrap_or_default();
    let path = place("--sandbox", "maker", given.maker.is_some());
    match maker {
        Maker::Auto | Maker::Namespace => {
            let sizes = [given.cpus.is_some(), given.memory.is_some()];
            for (flag, _) in ["--cpus", "--memory"]
                .iter()
                .zip(sizes)
                .filter(|(_, is)| *is)
            {
                problems.add_hint(
                    &FieldPath::argument(flag),
                    "is the size of a sandbox that is a machine",
                    Some(
                        "say --sandbox vm too; a node's size stands in vial.yaml (nodes.NAME.vm)"
                            .into(),
                    ),
                );
            }
            SandboxConfig::Namespace
        }
        Maker::Vm => {
            for node in nodes {
                if node.machine.is_some() {
                    let message = format!(
                        "node {} is a virtual machine, and the sandbox shall be one: machines in a machine are not made",
                        node.name
                    );
                    problems.add(&path, message);
                }
                if !node.mounts.is_empty() {
                    let message = format!(
                        "node {} has mounts of the host, which a sandbox that is a machine cannot see",
                        node.name
                    );
                    problems.add(&path, message);
                }
            }
            SandboxConfig::Vm(machine)
        }
    }
}
