//! The root of a sandbox: a tmpfs with nothing of the host but what the spec names.

use std::path::Path;

use vial_sys::cgroup::Layout;
use vial_sys::mounts::{self, Flags, Tree};
use vial_sys::{During, SysError};

use super::InitSpec;
use crate::root::cgroups;
use crate::root::devices::{Devices, MACHINES, USUAL};

/// The static binary, as seen inside.
pub(super) const PROGRAM: &str = "/vial/bin/vial";

/// Builds it and makes it the root. The mount namespace must be a private one.
pub(super) fn build(spec: &InitSpec, layout: &Layout) -> Result<(), SysError> {
    let mut shown = vec![
        (
            "/vial/images".to_owned(),
            Tree::take(&spec.images_dir)?.read_only()?,
        ),
        ("/vial/cluster".to_owned(), Tree::take(&spec.cluster_dir)?),
        ("/vial/run".to_owned(), Tree::take(&spec.run_dir)?),
        (PROGRAM.to_owned(), Tree::take(&spec.program)?.read_only()?),
    ];
    for (number, (source, read_only)) in spec.mounts.iter().enumerate() {
        let tree = Tree::take(source)?;
        shown.push((
            format!("/vial/mounts/{number}"),
            if *read_only { tree.read_only()? } else { tree },
        ));
    }
    let devices = Devices::take(USUAL.iter().chain(MACHINES))?;

    // Any directory will do as the place; this one is sure to exist, and what is below it has been taken.
    mounts::tmpfs(&spec.run_dir, Flags::empty(), "755")?;
    mounts::pivot(&spec.run_dir)?;

    let flags = Flags::NOSUID | Flags::NODEV | Flags::NOEXEC;
    mounts::mount("proc", Path::new("/proc"), flags, "")?;
    mounts::mount("sysfs", Path::new("/sys"), flags, "")?;
    cgroups::mount(layout)?;
    cgroups::leave_root(layout, "init")?;
    devices.mount()?;
    mounts::tmpfs(Path::new("/run"), Flags::NOSUID | Flags::NODEV, "755")?;
    mounts::tmpfs(Path::new("/tmp"), Flags::NOSUID | Flags::NODEV, "1777")?;
    for (target, tree) in shown {
        tree.attach(Path::new(&target))?;
    }
    // No user of the host is known here; programs that look names up find root.
    mounts::make_directory(Path::new("/etc"))?;
    std::fs::write("/etc/passwd", "root:x:0:0:root:/:/\n").during(|| "write /etc/passwd".to_owned())
}
