//! A cluster is frozen: to a template, or in its own place; and a new one is laid from a template.
//!
//! ```text
//!   freeze   cluster ──► state of its processes + its disks ──► template          (cluster goes on, or is stopped)
//!   stop     cluster ──► state of its processes ──► clusters/NAME/frozen          (its disks stay what they are)
//!   lay      template ──► clusters/NEW, with frozen/, and a record
//!   up       clusters/NAME with frozen/ ──► goes on from it, and frozen/ is removed
//! ```
//! # Invariants
//! - **What is frozen belongs to its disks.** The manifest of a frozen state says which layers of which disks it goes on from; what
//!   was written to others after it was taken up is dropped when it is taken up again.
//! - **A frozen state is taken up once.** It goes as soon as what goes on from it runs: from then on the disks are ahead.

pub mod machine;
pub mod namespace;

use std::fs;
use std::path::{Path, PathBuf};

use vial_sandbox::{After, MACHINE_FILES, Sandbox};
use vial_spec::{ClusterSpec, NodeConfig, SandboxConfig};

use crate::paths::{Paths, private_dir};
use crate::plan::Plan;
use crate::progress::{Reporter, step};
use crate::record::{Journal, Record};
use crate::template::{Ground, Made, Template, Templates};
use crate::{Error, Result};
use namespace::Disks;

/// Below a cluster's directory: the processes, while they do not run.
pub const FROZEN: &str = "frozen";
/// What of a cluster's directory belongs to a template beside its disks.
const KEPT: [&str; 2] = ["pki", "images"];

/// A living cluster.
#[derive(Clone, Copy)]
pub struct Cluster<'a> {
    /// Of its home.
    pub paths: &'a Paths,
    /// What is remembered of it.
    pub record: &'a Record,
    /// What runs.
    pub plan: &'a Plan,
    /// Where it runs.
    pub sandbox: &'a dyn Sandbox,
}

/// How a template is to be made.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Whose idea it is.
    pub made: Made,
    /// Another one of that name may be there.
    pub replace: bool,
    /// RFC 3339.
    pub now: String,
}

/// Nothing of the cluster runs as long as this is not dropped, where it was to stay; its sandbox is to be ended before.
pub struct Halted {
    _containers: Option<namespace::Halted>,
}

/// Freezes a cluster to a template. With [`After::Stay`] nothing runs on in it: its sandbox is to be ended, and it can go on
/// in its own place as well.
///
/// # Errors
/// When there is a template of that name, no space, or something that cannot be frozen: the cluster goes on then, and
/// there is no template.
pub async fn freeze(
    cluster: Cluster<'_>,
    wanted: Wanted,
    after: After,
    report: &Reporter,
) -> Result<Halted> {
    let paths = cluster.paths;
    let record = cluster.record;
    let ground = Ground::of(paths, &record.spec)?;
    let making = Templates::of(paths).make(&wanted.name, wanted.replace)?;
    let frozen = making.frozen()?;
    let halted = state(cluster, &frozen, Disks::Copy, after, report).await?;
    let own = paths.cluster_dir(&record.name);
    if let SandboxConfig::Vm(_) = record.spec.sandbox {
        let into = making.cluster()?;
        link_parts(&own, &into)?;
        machine::keep(&own.join(MACHINE_FILES), &into.join(MACHINE_FILES), &frozen)?;
    }
    if after == After::Stay {
        let place = own.join(FROZEN);
        discard(&place)?;
        link_state(&frozen, &place)?;
    }
    let template = Template {
        name: wanted.name,
        created: wanted.now,
        cluster: record.name.clone(),
        cluster_uid: record.uid.clone(),
        made: wanted.made,
        spec: record.spec.clone(),
        image_digest: record.image_digest.clone(),
        kubernetes: record.kubernetes.clone(),
        stopped: record.stopped.clone(),
        ground,
    };
    making.finish(&template)?;
    Ok(halted)
}

/// Freezes a cluster in its own place; its sandbox is to be ended then.
///
/// # Errors
/// As for [`freeze`].
pub async fn stop(cluster: Cluster<'_>, report: &Reporter) -> Result<Halted> {
    let place = cluster.paths.cluster_dir(&cluster.record.name).join(FROZEN);
    let aside = place.with_added_extension("new");
    discard(&aside)?;
    private_dir(&aside).map_err(Error::file("make", &aside))?;
    let halted = state(cluster, &aside, Disks::Leave, After::Stay, report).await;
    let halted = halted.inspect_err(|_| {
        // It is of no use; the first error is the one to tell.
        let _ = discard(&aside);
    })?;
    discard(&place)?;
    fs::rename(&aside, &place).map_err(Error::file("write", &place))?;
    Ok(halted)
}

/// Writes the processes of a cluster, and with [`Disks::Copy`] the disks that are directories of the host.
async fn state(
    cluster: Cluster<'_>,
    into: &Path,
    disks: Disks,
    after: After,
    report: &Reporter,
) -> Result<Halted> {
    let containers = match cluster.record.spec.sandbox {
        SandboxConfig::Vm(_) => {
            let freezing = machine::freeze(cluster, into, after);
            step(report, None, "freeze", "freeze the machine", freezing).await?;
            None
        }
        SandboxConfig::Namespace if !can_be_frozen(&cluster.record.spec) => {
            let machines = machines(&cluster.record.spec);
            let names: Vec<&str> = machines.map(|node| node.name.as_str()).collect();
            return Err(Error::NotFreezable {
                cluster: cluster.record.name.clone(),
                why: format!(
                    "nodes that are virtual machines beside others cannot be frozen yet ({})",
                    names.join(", ")
                ),
            });
        }
        SandboxConfig::Namespace => {
            Some(namespace::freeze(cluster, into, disks, after, report).await?)
        }
    };
    Ok(Halted {
        _containers: containers,
    })
}

/// Is everything of such a cluster of a kind that can be frozen?
#[must_use]
pub fn can_be_frozen(spec: &ClusterSpec) -> bool {
    matches!(spec.sandbox, SandboxConfig::Vm(_)) || machines(spec).next().is_none()
}

fn machines(spec: &ClusterSpec) -> impl Iterator<Item = &NodeConfig> {
    spec.nodes.iter().filter(|node| node.machine.is_some())
}

/// Does a cluster that does not run go on from a frozen state?
#[must_use]
pub fn is_frozen(paths: &Paths, name: &str) -> bool {
    paths.cluster_dir(name).join(FROZEN).is_dir()
}

/// A cluster that does not run starts from its disks: its processes are not wanted any more.
///
/// # Errors
/// When they cannot be removed.
pub fn forget(paths: &Paths, name: &str) -> Result<()> {
    discard(&paths.cluster_dir(name).join(FROZEN))
}

/// Removes a frozen state: its name goes at once.
fn discard(place: &Path) -> Result<()> {
    let away = place.with_added_extension("old");
    for path in [&away, place] {
        if path == place {
            match fs::rename(place, &away) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                renamed => renamed.map_err(Error::file("remove", place))?,
            }
        }
        match fs::remove_dir_all(&away) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file("remove", &away)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Who a new cluster is.
#[derive(Debug, Clone)]
pub struct Newborn {
    /// Its name.
    pub name: String,
    /// See [`Record::uid`].
    pub uid: String,
    /// RFC 3339.
    pub created: String,
    /// A free loopback port for the API.
    pub api_port: u16,
    /// Another one for the registry.
    pub registry_port: u16,
    /// What it shall be, but for forwarded ports, which the next `up` opens; `None`: what was frozen.
    pub spec: Option<ClusterSpec>,
}

/// Lays the directory of a new cluster from a template: the next `up` has it go on, or where it is to be `cold` start from its
/// disks, as after a power loss. The record is written last.
///
/// # Errors
/// When the template cannot go on here, or there is no space.
pub fn lay(paths: &Paths, template: &Template, newborn: Newborn, cold: bool) -> Result<Record> {
    let here = Ground::of(paths, &template.spec)?;
    if !cold {
        template.ground.check(&template.name, &here)?;
    }
    let templates = Templates::of(paths);
    let from = templates.directory(&template.name);
    let own = paths.cluster_dir(&newborn.name);
    private_dir(&own).map_err(Error::file("make", &own))?;
    let frozen = from.join(FROZEN);
    match template.spec.sandbox {
        SandboxConfig::Vm(_) => {
            let source = from.join("cluster");
            link_parts(&source, &own)?;
            clone(&source.join(MACHINE_FILES), &own.join(MACHINE_FILES))?;
            if cold {
                machine::take_up(&own.join(MACHINE_FILES), &frozen)?;
            }
        }
        SandboxConfig::Namespace => namespace::lay(paths, &frozen, &newborn.name)?,
    }
    if !cold {
        link_state(&frozen, &own.join(FROZEN))?;
    }
    let spec = newborn.spec.unwrap_or_else(|| template.spec.clone());
    let record = Record {
        spec: ClusterSpec {
            name: newborn.name.clone(),
            ports: Vec::new(),
            ..spec
        },
        name: newborn.name,
        uid: newborn.uid,
        created: newborn.created,
        journal: Journal::Creating,
        image_digest: template.image_digest.clone(),
        kubernetes: template.kubernetes.clone(),
        api_port: newborn.api_port,
        registry_port: newborn.registry_port,
        ports: Vec::new(),
        stopped: template.stopped.clone(),
        template: Some(template.name.clone()),
        paused: false,
    };
    record.save(paths)?;
    Ok(record)
}

/// Keys and loaded images.
fn link_parts(source: &Path, target: &Path) -> Result<()> {
    for part in KEPT {
        let source = source.join(part);
        if source.is_dir() {
            clone(&source, &target.join(part))?;
        }
    }
    Ok(())
}

/// The processes, without the disks that may lie beside them.
fn link_state(frozen: &Path, place: &Path) -> Result<()> {
    let aside = place.with_added_extension("new");
    discard(&aside)?;
    private_dir(&aside).map_err(Error::file("make", &aside))?;
    let entries = fs::read_dir(frozen).map_err(Error::file("read", frozen))?;
    for entry in entries {
        let entry = entry.map_err(Error::file("read", frozen))?;
        let target = aside.join(entry.file_name());
        if entry.file_name() == namespace::CLUSTER {
            continue;
        }
        match entry.path().is_dir() {
            true => clone(&entry.path(), &target)?,
            false => fs::hard_link(entry.path(), &target).map_err(Error::file("link", &target))?,
        }
    }
    fs::rename(&aside, place).map_err(Error::file("write", place))
}

/// A tree of hard links: nothing of it is changed in place, by nobody.
fn clone(source: &Path, target: &Path) -> Result<()> {
    const NOTHING: [&str; 0] = [];
    vial_sys::tree::clone(source, target, &NOTHING).map_err(|error| {
        let error = std::io::Error::other(error);
        Error::file("clone files to", target)(error)
    })
}

/// Has the disks of a cluster be as its frozen state expects them, before its sandbox is made.
///
/// # Errors
/// When it is not whole.
pub(crate) fn take_up(paths: &Paths, spec: &ClusterSpec, frozen: &Path) -> Result<()> {
    match spec.sandbox {
        SandboxConfig::Vm(_) => {
            machine::take_up(&paths.cluster_dir(&spec.name).join(MACHINE_FILES), frozen)
        }
        SandboxConfig::Namespace => namespace::lay(paths, frozen, &spec.name),
    }
}

/// Where the state of a cluster that does not run is to be taken up from.
#[must_use]
pub(crate) fn place(paths: &Paths, name: &str) -> Option<PathBuf> {
    let place = paths.cluster_dir(name).join(FROZEN);
    place.is_dir().then_some(place)
}
