//! What is mounted in the machine's root beside what vial-boot mounted, and how it is left in the end.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use vial_sys::cgroup::{Group, Layout, ROOT};
use vial_sys::mounts::{self, Flags, Tree};
use vial_sys::{During as _, SysError, tree};

use crate::spec::MachineSpec;
use crate::{DATA, IMAGE};

/// Mounts what every node has, then what this one has on its disk.
pub(crate) fn mount(spec: &MachineSpec) -> Result<(), SysError> {
    system()?;
    for clone in &spec.clones {
        let (source, target) = (below(IMAGE, &clone.source), below(DATA, &clone.target));
        tree::shadow(&source, &target, &clone.copy, &clone.whole)?;
    }
    for mount in &spec.mounts {
        let source = below(DATA, &mount.source);
        mounts::make_directory(&source)?;
        Tree::take(&source)?.attach(&mount.target)?;
    }
    // What volumes with `Bidirectional` propagation need.
    mounts::make_shared()
}

/// `path`, absolute or not, below `root`.
fn below(root: &str, path: &Path) -> PathBuf {
    Path::new(root).join(path.strip_prefix("/").unwrap_or(path))
}

fn system() -> Result<(), SysError> {
    let safe = Flags::NOSUID | Flags::NODEV;
    let flags = safe | Flags::NOEXEC;
    mounts::tmpfs(Path::new("/tmp"), safe, "1777")?;
    let dev = Path::new("/dev");
    // gid 5 is Debian's `tty`.
    let terminals = "ptmxmode=0666,mode=620,gid=5";
    let quiet = Flags::NOSUID | Flags::NOEXEC;
    mounts::mount("devpts", &dev.join("pts"), quiet, terminals)?;
    mounts::tmpfs(&dev.join("shm"), safe, "1777")?;
    mounts::mount("mqueue", &dev.join("mqueue"), flags, "")?;
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, dev.join(name)).during(|| format!("link /dev/{name}"))?;
    }
    mounts::mount("bpf", Path::new("/sys/fs/bpf"), flags, "mode=700")?;
    mounts::mount("cgroup2", Path::new(ROOT), flags, "")?;
    // As in a container: the agent in a leaf, the controllers for all groups beside it.
    let layout = Layout::detect()?;
    let group = Group::new(layout.clone(), "agent");
    group.create_leaf()?;
    group.join()?;
    Group::new(layout, "").delegate();
    Ok(())
}

/// Leaves the disk clean: what is in memory is written, and the journal closed as far as mounts allow.
pub(crate) fn settle() {
    rustix::fs::sync();
    // The root lies on the disk too, and is in use; it can only be made read-only (what fails is replayed next time).
    let _ = rustix::mount::mount_remount("/", Flags::RDONLY, c"");
    let _ = rustix::mount::mount_remount(DATA, Flags::RDONLY, c"");
    rustix::fs::sync();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_their_root() {
        assert_eq!(
            below("/vial/image", Path::new("/usr/lib")),
            Path::new("/vial/image/usr/lib")
        );
        assert_eq!(
            below("/vial/data", Path::new("log")),
            Path::new("/vial/data/log")
        );
    }
}
