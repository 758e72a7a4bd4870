//! Makes it so: the executor of plans. It chooses nothing and may be run again at any time.
//!
//! ```text
//! prepare ──► Prepared ──► sandbox ──► bring_up ──► (record: up)
//!    │ record: creating       │            │
//!    │ keys                   │ find, else │ network → containers → components → objects → nodes Ready
//!    ▼                        ▼ make       ▼
//!  a cut here leaves a record and keys; a cut anywhere later a sandbox too: the next `up` goes on, `down` removes all.
//! ```
//!
//! # On failure
//! The cluster stays as far as it came, for a look at its logs; its record says `creating`.

mod accelerator;
mod boot;
mod bring_up;
mod check;
mod container;
mod disks;
mod down;
mod go_on;
mod limits;
mod machine;
mod machines;
mod program;
mod registry;
mod remove;
mod reset;
mod sealed;
mod stop;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

pub use accelerator::find_out as find_out_accelerator;
pub(crate) use accelerator::name as accelerator_name;
pub use boot::boot;
pub use bring_up::{Objects, Otherwise, bring_up, connect, thaw};
pub use check::check;
pub use disks::disks;
pub(crate) use disks::on_host;
pub use down::down;
pub use go_on::go_on;
pub use limits::raise as raise_limits;
pub use machines::machines;
pub use program::installed as program;
pub use registry::{Garbage, collect_garbage};
pub use reset::reset;
pub use stop::{Stop, stop};
use vial_image::NodeImage;
use vial_sandbox::{Maker, Sandbox, SandboxSpec, inside};
use vial_spec::{ClusterSpec, NodeConfig, SandboxConfig};

use crate::freeze;
use crate::paths::Paths;
use crate::pki::ClusterPki;
use crate::plan::{ADMIN, Change, Facts, ImageFacts, MachineFacts, Plan, changes, plan};
use crate::record::{Journal, OpenPort, Record};
use crate::{Error, Result};

/// A cluster that is about to be brought up: everything decided and announced on disk.
pub struct Prepared {
    /// What will be remembered.
    pub record: Record,
    /// What shall be there.
    pub plan: Plan,
    /// What the record said before; `None` for a new cluster.
    pub before: Option<Plan>,
    /// Differences to `before`.
    pub changes: Vec<Change>,
    /// The cluster's keys.
    pub pki: ClusterPki,
}

impl Prepared {
    /// For whoever made the cluster: all rights, through the loopback port.
    ///
    /// # Errors
    /// When the keys lack the administrator's certificate.
    pub fn admin_kubeconfig(&self) -> Result<String> {
        let server = format!("https://127.0.0.1:{}", self.record.api_port);
        self.pki
            .kubeconfig(ADMIN, &server, &format!("vial-{}", self.record.name))
    }
}

/// What a new cluster needs that only the caller can choose.
pub struct Birth {
    /// Changes with every creation.
    pub uid: String,
    /// RFC 3339.
    pub created: String,
    /// A free loopback port for the API.
    pub api_port: u16,
    /// Another one for the registry.
    pub registry_port: u16,
}

/// Plans, announces the plan in the record and makes missing keys. `ports` are those that are taken for it, `birth` is
/// asked only for a new cluster.
///
/// # Errors
/// When the change is one that a cluster cannot take (nothing was written then), or a file cannot be written.
pub fn prepare(
    paths: &Paths,
    spec: &ClusterSpec,
    ports: Vec<OpenPort>,
    image: &NodeImage,
    birth: impl FnOnce() -> std::io::Result<Birth>,
) -> Result<Prepared> {
    let existing = Record::load(paths, &spec.name)?;
    let port_error = || "a loopback port".into();
    let mut record = match existing.clone() {
        Some(record) => record,
        None => {
            let birth = birth().map_err(|source| Error::File {
                operation: "reserve",
                path: port_error(),
                source,
            })?;
            Record {
                name: spec.name.clone(),
                uid: birth.uid,
                created: birth.created,
                journal: Journal::Creating,
                spec: spec.clone(),
                image_digest: image.digest.to_string(),
                kubernetes: image.kubernetes.clone(),
                api_port: birth.api_port,
                registry_port: birth.registry_port,
                ports: Vec::new(),
                stopped: BTreeSet::new(),
                template: None,
                paused: false,
            }
        }
    };
    let host = accelerator::known(paths);
    let facts = Facts {
        image: match spec.sandbox {
            SandboxConfig::Namespace => image_facts(paths, image),
            SandboxConfig::Vm(_) => sealed::image_facts(image),
        },
        api_port: record.api_port,
        registry_port: record.registry_port,
        machine: MachineFacts {
            command_line: host.command_line,
            accelerator: host.accelerator,
            containerd_root: format!("/{}", NodeImage::CONTAINERD_ROOT),
        },
    };
    let mut new = plan(spec, &facts);
    record.stopped.retain(|node| spec.node(node).is_some());
    new.stopped.clone_from(&record.stopped);
    if let Some(node) = spec.control_plane()
        && new.stopped.contains(&node.name)
    {
        return Err(Error::NoControlPlane {
            cluster: spec.name.clone(),
            node: node.name.clone(),
        });
    }
    // An `up` that was cut off before its network or disks existed may still be changed in every way.
    let before = existing.map(|record| plan(&record.spec, &facts));
    let changes = match &before {
        Some(before) => changes(before, &new)?,
        None => Vec::new(),
    };
    record.spec = spec.clone();
    record.ports = ports;
    record.journal = Journal::Creating;
    record.save(paths)?;
    let pki = ClusterPki::open(&paths.cluster_dir(&spec.name).join("pki"), &new)?;
    Ok(Prepared {
        record,
        plan: new,
        before,
        changes,
        pki,
    })
}

/// The image as the planner sees it: paths as they are inside the sandbox.
fn image_facts(paths: &Paths, image: &NodeImage) -> ImageFacts {
    let images = paths.images_dir();
    let translate = |path: &std::path::Path| {
        let relative = path.strip_prefix(&images).unwrap_or(path);
        format!("{}/{}", inside::IMAGES, relative.display())
    };
    ImageFacts {
        kubernetes: image.kubernetes.clone(),
        lower: image
            .lower_dirs()
            .iter()
            .map(|dir| translate(dir))
            .collect(),
        containerd_root: translate(&image.containerd_root()),
        shown: None,
    }
}

/// What the maker must know of a cluster to find, end or sweep its sandbox; see [`sandbox`] for making one.
#[must_use]
pub fn sandbox_spec(paths: &Paths, name: &str) -> SandboxSpec {
    SandboxSpec {
        name: paths.sandbox_name(name),
        images_dir: paths.images_dir(),
        cluster_dir: paths.cluster_dir(name),
        run_dir: paths.run_dir(name),
        program: PathBuf::new(),
        mounts: Vec::new(),
        machine: None,
    }
}

/// The cluster's living sandbox, or a new one.
///
/// # Errors
/// When none lives and none can be made.
pub async fn sandbox(
    maker: &dyn Maker,
    paths: &Paths,
    prepared: &Prepared,
) -> Result<Arc<dyn Sandbox>> {
    let spec = sandbox_spec(paths, &prepared.record.name);
    if let Some(sandbox) = maker.find(&spec).await? {
        return Ok(sandbox.into());
    }
    maker.sweep(&spec).await?;
    let frozen = freeze::place(paths, &prepared.record.name);
    if let Some(frozen) = &frozen {
        freeze::take_up(paths, &prepared.plan.spec, frozen)?;
    }
    let nodes = prepared.plan.spec.nodes.iter();
    let mounts = nodes
        .flat_map(NodeConfig::host_paths)
        .map(|(path, read_only)| (path.to_path_buf(), read_only))
        .collect();
    let machine = match prepared.plan.spec.sandbox.machine() {
        Some(wanted) => Some(sealed::lay(paths, prepared, wanted, frozen).await?),
        None => None,
    };
    let spec = SandboxSpec {
        program: program(paths)?,
        mounts,
        machine,
        ..spec
    };
    let sandbox = maker.make(&spec).await?;
    // What goes on from it is ahead of it from here on.
    freeze::forget(paths, &prepared.record.name)?;
    Ok(sandbox.into())
}
