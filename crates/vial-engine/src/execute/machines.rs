//! What virtual machines start from, laid into the directory of each: `nodes/NODE/machine`.
//!
//! ```text
//! kernel, root   hard links to what all machines of the node image share    made with the first of them, which takes seconds
//! program        the same, of this vial
//! initrd         first program, modules, and what this machine is told      written at every start
//! data           its own disk                                               made once, kept until the node is removed
//! disk-NAME      another one; of shared ones, a link to shared-disks/NAME   likewise, until the cluster is removed
//! swap           empty                                                      likewise
//! modules        of a kernel of the person's own                            a hard link
//! ```
//! The links keep a machine what it was when images come and go.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use vial_guest::MachineSpec;
use vial_image::machine::{self, Machine as Base, OwnKernel, Start};
use vial_image::{NodeImage, Store};
use vial_spec::size::Size;
use vial_spec::{DiskContent, Machine};

use super::{Prepared, program};
use crate::paths::{Paths, private_dir};
use crate::progress::{Reporter, step};
use crate::{Error, Result};

/// Lays what is missing for the machines of the plan.
///
/// # Errors
/// When the node image has no kernel, or there is no space.
pub async fn machines(paths: &Paths, prepared: &Prepared, report: &Reporter) -> Result<()> {
    let nodes = prepared.plan.running().filter_map(|node| {
        let wanted = node.config.machine.as_ref()?;
        let guest = node.containers.iter().find_map(|one| one.guest.clone())?;
        Some((node.config.name.clone(), wanted.clone(), guest))
    });
    let nodes: Vec<_> = nodes.collect();
    if nodes.is_empty() {
        return Ok(());
    }
    let (paths, cluster) = (paths.clone(), prepared.record.name.clone());
    let digest = prepared.record.image_digest.clone();
    let work = tokio::task::spawn_blocking(move || {
        let store = Store::open(&paths.home)?;
        let image = store.find(&digest)?;
        let shared = store.machine(&image)?;
        let program = store.program_disk(&image, &program(&paths)?)?;
        let cluster_dir = paths.cluster_dir(&cluster);
        for (name, wanted, guest) in nodes {
            let run = paths.run_dir(&cluster).join("agents");
            let socket = run.join(format!("{name}.node"));
            private_dir(&socket).map_err(Error::file("make", &socket))?;
            let node = cluster_dir.join("nodes").join(&name);
            for dir in ["machine-log", "machine-root"] {
                let dir = node.join(dir);
                fs::create_dir_all(&dir).map_err(Error::file("make", &dir))?;
            }
            let from = Origin {
                base: &shared,
                own: wanted
                    .kernel
                    .as_ref()
                    .map(|own| {
                        let modules = own.modules.as_deref();
                        store.own_kernel(&image, &own.file, modules, start(&wanted))
                    })
                    .transpose()?,
                program: &program,
                image: &image,
                start: start(&wanted),
            };
            let disk = (!wanted.ephemeral).then_some(wanted.disk);
            lay(&node.join("machine"), &from, disk, guest)?;
            further_disks(&cluster_dir, &node, &wanted)?;
        }
        Ok::<_, Error>(())
    });
    let text = "make what virtual machines start from";
    step(report, None, "machines", text, async {
        let joined = work.await.map_err(std::io::Error::other);
        joined.map_err(Error::file("make", Path::new("machine")))?
    })
    .await
}

/// What a machine is laid from.
pub(super) struct Origin<'a> {
    pub(super) base: &'a Base,
    pub(super) own: Option<OwnKernel>,
    pub(super) program: &'a Path,
    pub(super) image: &'a NodeImage,
    pub(super) start: Start,
}

/// Firmware costs seconds, and only a display needs it.
fn start(wanted: &Machine) -> Start {
    match wanted.display {
        true => Start::Firmware,
        false => Start::Direct,
    }
}

/// Lays into `own` what one machine starts from; without a `disk` it keeps what it writes in memory.
pub(super) fn lay(
    own: &Path,
    from: &Origin<'_>,
    disk: Option<Size>,
    guest: MachineSpec,
) -> Result<()> {
    fs::create_dir_all(own).map_err(Error::file("make", own))?;
    let (kernel, base) = match (&from.own, from.start) {
        (Some(own), _) => (&own.kernel, &own.initrd),
        (None, Start::Direct) => (&from.base.kernel, &from.base.initrd),
        (None, Start::Firmware) => (&from.base.packed, &from.base.initrd),
    };
    let modules = from.own.as_ref().and_then(|own| own.modules.as_deref());
    for (name, source) in [
        ("kernel", Some(kernel.as_path())),
        ("root", Some(&from.base.root)),
        ("program", Some(from.program)),
        ("modules", modules),
    ] {
        if let Some(source) = source {
            link(source, &own.join(name))?;
        }
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let guest = MachineSpec {
        unix_ms: u64::try_from(now.as_millis()).unwrap_or_default(),
        ..guest
    };
    let base = fs::read(base).map_err(Error::file("read", base))?;
    let initrd = own.join("initrd");
    let aside = own.join("initrd.new");
    fs::write(&aside, machine::with_spec(base, &guest.to_json()))
        .and_then(|()| fs::rename(&aside, &initrd))
        .map_err(Error::file("write", &initrd))?;
    if let Some(size) = disk {
        machine::data_disk(from.image, &own.join("data"), size.bytes())?;
    }
    Ok(())
}

/// Swap and empty disks, where they are missing: sparse files.
fn further_disks(cluster: &Path, node: &Path, wanted: &Machine) -> Result<()> {
    let own = node.join("machine");
    if let Some(size) = wanted.swap {
        sparse(&own.join("swap"), size)?;
    }
    for disk in &wanted.disks {
        let DiskContent::Empty(size) = disk.content else {
            continue;
        };
        let path = own.join(format!("disk-{}", disk.name));
        if !disk.shared {
            sparse(&path, size)?;
            continue;
        }
        let directory = cluster.join("shared-disks");
        fs::create_dir_all(&directory).map_err(Error::file("make", &directory))?;
        let shared = directory.join(&disk.name);
        sparse(&shared, size)?;
        link(&shared, &path)?;
    }
    Ok(())
}

fn sparse(path: &Path, size: Size) -> Result<()> {
    if path.is_file() {
        return Ok(());
    }
    let aside = path.with_added_extension("new");
    fs::File::create(&aside)
        .and_then(|file| file.set_len(size.bytes()))
        .and_then(|()| fs::rename(&aside, path))
        .map_err(Error::file("make", path))
}

/// Makes `target` another name of `source`, whatever it was before; a machine that runs goes on with what it has open.
fn link(source: &Path, target: &Path) -> Result<()> {
    let aside = target.with_extension("new");
    let linked = match fs::remove_file(&aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => fs::hard_link(source, &aside).and_then(|()| fs::rename(&aside, target)),
    };
    linked.map_err(Error::file("link", target))
}
