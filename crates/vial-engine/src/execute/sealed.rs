//! A sandbox that is one virtual machine: what it starts from, laid into `machine` of the cluster's directory.
//!
//! The files are those of a node that is a machine ([`super::machines`]); what the guest is told makes a sandbox of it.

use std::path::{Path, PathBuf};

use vial_guest::{DataMount, Interface, MachineSpec as GuestSpec, Role, Route};
use vial_image::machine::Start;
use vial_image::{NodeImage, Store};
use vial_qemu::Program;
use vial_sandbox::{MACHINE_FILES, MachineSpec, inside, outside};
use vial_spec::SandboxMachine;

use super::machines::{self, Origin};
use super::{Prepared, accelerator, program};
use crate::paths::Paths;
use crate::plan::ImageFacts;
use crate::{Error, Result};

/// The image as the planner sees it: all of its layers are one disk of the machine.
pub(super) fn image_facts(image: &NodeImage) -> ImageFacts {
    ImageFacts {
        kubernetes: image.kubernetes.clone(),
        lower: vec![inside::IMAGE.into()],
        containerd_root: format!("{}/{}", inside::IMAGE, NodeImage::CONTAINERD_ROOT),
        shown: Some(inside::IMAGE.into()),
    }
}

/// Lays what is missing, and says how the machine is to be started.
///
/// # Errors
/// When the node image has no kernel or no QEMU, or there is no space.
pub(super) async fn lay(
    paths: &Paths,
    prepared: &Prepared,
    wanted: &SandboxMachine,
    frozen: Option<PathBuf>,
) -> Result<MachineSpec> {
    let (paths, wanted) = (paths.clone(), wanted.clone());
    let digest = prepared.record.image_digest.clone();
    let (cluster, uid) = (prepared.record.name.clone(), prepared.record.uid.clone());
    let work = tokio::task::spawn_blocking(move || {
        let store = Store::open(&paths.home)?;
        let image = store.find(&digest)?;
        let shared = store.machine(&image)?;
        let own_program = store.program_disk(&image, &program(&paths)?)?;
        let qemu = Program::in_layers(&image.lower_dirs()).ok_or_else(|| Error::NoQemu {
            image: image.reference.clone(),
        })?;
        let files = paths.cluster_dir(&cluster).join(MACHINE_FILES);
        let from = Origin {
            base: &shared,
            own: None,
            program: &own_program,
            image: &image,
            start: Start::Direct,
        };
        if frozen.is_none() {
            machines::lay(&files, &from, Some(wanted.disk), guest(&cluster, &uid))?;
        }
        let host = accelerator::known(&paths);
        Ok::<_, Error>(MachineSpec {
            files,
            qemu,
            accelerator: host.accelerator,
            command_line: host.command_line,
            cpus: wanted.cpus,
            memory: wanted.memory.bytes(),
            frozen,
        })
    });
    let joined = work.await.map_err(std::io::Error::other);
    joined.map_err(Error::file("make", Path::new("machine")))?
}

/// What the guest is told; when it starts is filled in as it is laid.
fn guest(cluster: &str, uid: &str) -> GuestSpec {
    GuestSpec {
        name: cluster.to_owned(),
        role: Role::Sandbox,
        machine_id: machine_id(uid),
        mounts: vec![DataMount {
            source: "cluster".into(),
            target: inside::CLUSTER.into(),
        }],
        interfaces: vec![way_out()],
        // Without a carrier nobody is at the other end: what would go there is told so at once.
        sysctls: ["ipv4", "ipv6"]
            .map(|family| {
                let name = format!("net.{family}.conf.{OUTSIDE}.ignore_routes_with_linkdown");
                (name, "1".to_owned())
            })
            .into(),
        ..GuestSpec::default()
    }
}

/// The machine's only interface, as its kernel calls it.
const OUTSIDE: &str = "eth0";

/// What leads outside, while somebody carries.
fn way_out() -> Interface {
    let addresses = [(outside::V4[0], 30), (outside::V6[0], 64)];
    let gateways = [("0.0.0.0/0", outside::V4[1]), ("::/0", outside::V6[1])];
    Interface {
        name: OUTSIDE.into(),
        mac: outside::MAC,
        addresses: addresses
            .iter()
            .filter_map(|(address, prefix)| format!("{address}/{prefix}").parse().ok())
            .collect(),
        routes: gateways
            .iter()
            .filter_map(|(destination, gateway)| {
                Some(Route {
                    destination: destination.parse().ok()?,
                    gateway: gateway.parse().ok()?,
                })
            })
            .collect(),
        mtu: None,
    }
}

/// 32 hexadecimal digits (machine-id(5)) that change with every creation.
fn machine_id(uid: &str) -> String {
    use sha2::{Digest as _, Sha256};
    let digest = Sha256::digest(format!("{uid} sandbox"));
    digest
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
