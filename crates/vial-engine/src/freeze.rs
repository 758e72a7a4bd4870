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

use std::fs;
use std::path::{Path, PathBuf};

use vial_sandbox::{After, MACHINE_FILES, Sandbox};
use vial_spec::{ClusterSpec, SandboxConfig};

use crate::paths::{Paths, private_dir};
use crate::plan::Plan;
use crate::progress::{Reporter, step};
use crate::record::{Journal, Record};
use crate::template::{Ground, Made, Template, Templates};
use crate::{Error, Result};

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
) -> Result<Template> {
    let paths = cluster.paths;
    let record = cluster.record;
    let ground = Ground::of(paths, &record.spec)?;
    let making = Templates::of(paths).make(&wanted.name, wanted.replace)?;
    let (into, frozen) = (making.cluster()?, making.frozen()?);
    step(report, None, "freeze", "freeze the cluster", async {
        match record.spec.sandbox {
            SandboxConfig::Vm(_) => machine::freeze(cluster, &frozen, after).await,
            SandboxConfig::Namespace => Err(not_yet(record)),
        }
    })
    .await?;
    let keeping = keep(cluster, &into, &frozen, after);
    step(report, None, "keep", "keep its disks", async { keeping }).await?;
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
    Ok(template)
}

/// Links and copies what a template has of a cluster; and where the cluster stays halted, what it goes on from itself.
fn keep(cluster: Cluster<'_>, into: &Path, frozen: &Path, after: After) -> Result<()> {
    let own = cluster.paths.cluster_dir(&cluster.record.name);
    for part in KEPT {
        let source = own.join(part);
        if source.is_dir() {
            clone(&source, &into.join(part))?;
        }
    }
    machine::keep(&own.join(MACHINE_FILES), &into.join(MACHINE_FILES), frozen)?;
    if after == After::Stay {
        let place = own.join(FROZEN);
        discard(&place)?;
        clone(frozen, &place)?;
    }
    Ok(())
}

/// Freezes a cluster in its own place; its sandbox is to be ended then.
///
/// # Errors
/// As for [`freeze`].
pub async fn stop(cluster: Cluster<'_>, report: &Reporter) -> Result<()> {
    let place = cluster.paths.cluster_dir(&cluster.record.name).join(FROZEN);
    let aside = place.with_added_extension("new");
    discard(&aside)?;
    private_dir(&aside).map_err(Error::file("make", &aside))?;
    let frozen = step(report, None, "freeze", "freeze the cluster", async {
        match cluster.record.spec.sandbox {
            SandboxConfig::Vm(_) => machine::freeze(cluster, &aside, After::Stay).await,
            SandboxConfig::Namespace => Err(not_yet(cluster.record)),
        }
    });
    if let Err(error) = frozen.await {
        // It is of no use; the first error is the one to tell.
        let _ = discard(&aside);
        return Err(error);
    }
    discard(&place)?;
    fs::rename(&aside, &place).map_err(Error::file("write", &place))
}

fn not_yet(record: &Record) -> Error {
    Error::Unfreezable {
        cluster: record.name.clone(),
        why: "its sandbox is of namespaces".into(),
    }
}

/// Is everything of such a cluster of a kind that can be frozen?
#[must_use]
pub fn can_be_frozen(spec: &ClusterSpec) -> bool {
    matches!(spec.sandbox, SandboxConfig::Vm(_))
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
    let source = from.join("cluster");
    for part in KEPT {
        if source.join(part).is_dir() {
            clone(&source.join(part), &own.join(part))?;
        }
    }
    clone(&source.join(MACHINE_FILES), &own.join(MACHINE_FILES))?;
    if cold {
        machine::take_up(&own.join(MACHINE_FILES), &from.join(FROZEN))?;
    } else {
        clone(&from.join(FROZEN), &own.join(FROZEN))?;
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

/// A tree of hard links: nothing of it is changed in place, by nobody.
fn clone(source: &Path, target: &Path) -> Result<()> {
    const NOTHING: [&str; 0] = [];
    vial_sys::tree::clone(source, target, &NOTHING).map_err(|error| {
        let error = std::io::Error::other(error);
        Error::file("clone files to", target)(error)
    })
}

/// Where the state of a cluster that does not run is to be taken up from.
#[must_use]
pub fn place(paths: &Paths, name: &str) -> Option<PathBuf> {
    let place = paths.cluster_dir(name).join(FROZEN);
    place.is_dir().then_some(place)
}
