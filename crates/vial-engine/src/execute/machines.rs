//! What virtual machines start from, laid into the directory of each: `nodes/NODE/machine`.
//!
//! ```text
//! kernel, root   hard links to what all machines of the node image share    made with the first of them, which takes seconds
//! program        the same, of this vial
//! initrd         first program, modules, and what this machine is told      written at every start
//! data           its own disk                                               made once, kept until the node is removed
//! ```
//! The links keep a machine what it was when images come and go.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use vial_guest::MachineSpec;
use vial_image::machine::{self, Machine};
use vial_image::{NodeImage, Store};

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
        Some((node.config.name.clone(), wanted.disk.bytes(), guest))
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
        for (name, bytes, guest) in nodes {
            let run = paths.run_dir(&cluster).join("agents");
            let socket = run.join(format!("{name}.node"));
            private_dir(&socket).map_err(Error::file("make", &socket))?;
            let node = paths.cluster_dir(&cluster).join("nodes").join(&name);
            lay(&node, &shared, &program, &image, bytes, guest)?;
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

fn lay(
    node: &Path,
    shared: &Machine,
    program: &Path,
    image: &NodeImage,
    bytes: u64,
    guest: MachineSpec,
) -> Result<()> {
    let own = node.join("machine");
    for dir in [
        own.clone(),
        node.join("machine-log"),
        node.join("machine-root"),
    ] {
        fs::create_dir_all(&dir).map_err(Error::file("make", &dir))?;
    }
    for (name, source) in [
        ("kernel", shared.kernel.as_path()),
        ("root", &shared.root),
        ("program", program),
    ] {
        link(source, &own.join(name))?;
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let guest = MachineSpec {
        unix_ms: u64::try_from(now.as_millis()).unwrap_or_default(),
        ..guest
    };
    let base = fs::read(&shared.initrd).map_err(Error::file("read", &shared.initrd))?;
    let initrd = own.join("initrd");
    let aside = own.join("initrd.new");
    fs::write(&aside, machine::with_spec(base, &guest.to_json()))
        .and_then(|()| fs::rename(&aside, &initrd))
        .map_err(Error::file("write", &initrd))?;
    machine::data_disk(image, &own.join("data"), bytes)?;
    Ok(())
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
