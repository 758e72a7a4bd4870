//! Mounts: trees taken and attached, file systems mounted, the root exchanged (mount(2), open_tree(2), move_mount(2),
//! mount_setattr(2), pivot_root(2)).
//!
//! A new root is filled *after* pivot_root, when paths mean what they will mean inside: what comes from the old root
//! is taken before as a detached [`Tree`] and attached afterwards. No symbolic link of an image can therefore lead a
//! mount out of the new root.

use std::ffi::CString;
use std::fs::{DirBuilder, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{CWD, FileType};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};

use crate::{During, SysError};

pub use rustix::mount::MountFlags as Flags;

/// A copy of a mount tree that is not attached anywhere yet; dropping it forgets it.
#[derive(Debug)]
pub struct Tree {
    fd: OwnedFd,
    file_type: FileType,
}

impl Tree {
    /// Takes a copy of the tree at `source`, with all that is mounted below.
    ///
    /// # Errors
    /// When `source` does not exist or is in a mount that cannot be bound.
    pub fn take(source: &Path) -> Result<Self, SysError> {
        let operation = || format!("take the mount tree {}", source.display());
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE;
        let fd = rustix::mount::open_tree(CWD, source, flags).during(operation)?;
        let stat = rustix::fs::fstat(&fd).during(operation)?;
        Ok(Self {
            fd,
            file_type: FileType::from_raw_mode(stat.st_mode),
        })
    }

    /// Makes every mount of the tree read-only; the place it was taken from is left as it is.
    ///
    /// # Errors
    /// When the kernel lacks mount_setattr(2) (before Linux 5.12).
    pub fn read_only(self) -> Result<Self, SysError> {
        set_attributes(&self.fd, "", libc::MOUNT_ATTR_RDONLY, 0, true)
            .during(|| "make a mount tree read-only".to_owned())?;
        Ok(self)
    }

    /// Attaches it at `target`, which is made when missing: a directory for a directory, an empty file else.
    ///
    /// # Errors
    /// When `target` cannot be made or is of another kind.
    pub fn attach(self, target: &Path) -> Result<(), SysError> {
        let operation = || format!("attach a mount tree at {}", target.display());
        if self.file_type == FileType::Directory {
            make_directory(target)?;
        } else {
            make_file(target)?;
        }
        rustix::mount::move_mount(
            &self.fd,
            "",
            CWD,
            target,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
        .during(operation)
    }
}

/// Makes a directory and its parents, 0755 whatever the umask.
///
/// # Errors
/// When something else is in the way, or the file system is read-only.
pub fn make_directory(path: &Path) -> Result<(), SysError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .during(|| format!("make the directory {}", path.display()))
}

/// Makes an empty file and its parents, unless something that is no directory is there already.
///
/// # Errors
/// When a directory is in the way, or the file system is read-only.
pub fn make_file(path: &Path) -> Result<(), SysError> {
    if let Some(parent) = path.parent() {
        make_directory(parent)?;
    }
    match path.metadata() {
        Ok(found) if !found.is_dir() => Ok(()),
        _ => File::create(path)
            .map(drop)
            .during(|| format!("make the file {}", path.display())),
    }
}

/// Mounts a file system at a directory, which is made when missing. `data` are its own options, comma separated.
///
/// # Errors
/// When the kernel does not know the type or refuses the options.
pub fn mount(kind: &str, target: &Path, flags: MountFlags, data: &str) -> Result<(), SysError> {
    make_directory(target)?;
    let operation = || format!("mount {kind} on {} ({data})", target.display());
    let options = CString::new(data)
        .map_err(std::io::Error::from)
        .during(operation)?;
    rustix::mount::mount(kind, target, kind, flags, options.as_c_str()).during(operation)
}

/// Mounts an empty tmpfs; `mode` as text: "755".
///
/// # Errors
/// As [`mount()`].
pub fn tmpfs(target: &Path, flags: MountFlags, mode: &str) -> Result<(), SysError> {
    mount("tmpfs", target, flags, &format!("mode={mode}"))
}

/// Makes the mount at `target` read-only or writable again; the file system behind it, and other mounts of it, stay.
///
/// # Errors
/// When nothing is mounted there.
pub fn set_read_only(target: &Path, read_only: bool) -> Result<(), SysError> {
    let (set, clear) = if read_only {
        (libc::MOUNT_ATTR_RDONLY, 0)
    } else {
        (0, libc::MOUNT_ATTR_RDONLY)
    };
    let operation = || format!("change the attributes of the mount {}", target.display());
    let path = target
        .to_str()
        .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::InvalidInput))
        .during(operation)?;
    set_attributes(CWD, path, set, clear, false).during(operation)
}

/// Nothing that is mounted from now on in this mount namespace shows up elsewhere, nor the other way round.
///
/// # Errors
/// Without privilege.
pub fn make_private() -> Result<(), SysError> {
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
    )
    .during(|| "make all mounts private".to_owned())
}

/// What is mounted below `/` shows up in copies of the tree that are made from now on (mount_namespaces(7): a peer
/// group): what volumes with `Bidirectional` propagation need.
///
/// # Errors
/// Without privilege.
pub fn make_shared() -> Result<(), SysError> {
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::REC | MountPropagationFlags::SHARED,
    )
    .during(|| "make all mounts shared".to_owned())
}

/// Makes `new_root`, a mount point, the root of this mount namespace, and lets go of all that was mounted before.
///
/// # Errors
/// When `new_root` is no mount point, or mounts are not private.
pub fn pivot(new_root: &Path) -> Result<(), SysError> {
    let operation = || format!("make {} the root", new_root.display());
    rustix::process::chdir(new_root).during(operation)?;
    // The old root ends up mounted over the new one (pivot_root(2), NOTES), where it needs no directory of its own.
    rustix::process::pivot_root(".", ".").during(operation)?;
    detach(Path::new("."))?;
    rustix::process::chdir("/").during(operation)
}

/// Takes a mount, and all below it, out of the tree; what is open stays usable.
///
/// # Errors
/// When nothing is mounted there.
pub fn detach(target: &Path) -> Result<(), SysError> {
    rustix::mount::unmount(target, UnmountFlags::DETACH)
        .during(|| format!("unmount {}", target.display()))
}

/// Mounts an overlay (kernel: Documentation/filesystems/overlayfs.rst) at `target`: `lower` from the topmost on,
/// `upper` and `work` on one file system that is no overlay. `scratch`, an empty directory, is used meanwhile.
///
/// # Errors
/// When the kernel refuses, for example an `upper` on an overlay.
pub fn overlay(
    target: &Path,
    lower: &[impl AsRef<Path>],
    upper: &Path,
    work: &Path,
    scratch: &Path,
) -> Result<(), SysError> {
    let operation = || {
        format!(
            "mount overlay on {} ({} layers, upper {})",
            target.display(),
            lower.len(),
            upper.display()
        )
    };
    make_directory(target)?;
    // The options must fit in one page, and `:`, `,` and `\` in them would need escapes: short symbolic links on a
    // tmpfs of our own spare both.
    tmpfs(scratch, MountFlags::empty(), "700")?;
    let result = (|| {
        rustix::process::chdir(scratch).during(operation)?;
        let mut names = Vec::with_capacity(lower.len());
        for (number, layer) in lower.iter().enumerate() {
            layer
                .as_ref()
                .metadata()
                .during(|| format!("find the layer {}", layer.as_ref().display()))?;
            std::os::unix::fs::symlink(layer.as_ref(), number.to_string()).during(operation)?;
            names.push(number.to_string());
        }
        std::os::unix::fs::symlink(upper, "u").during(operation)?;
        std::os::unix::fs::symlink(work, "w").during(operation)?;
        let data = format!("lowerdir={},upperdir=u,workdir=w", names.join(":"));
        mount("overlay", target, MountFlags::empty(), &data).map_err(|error| SysError {
            operation: operation(),
            ..error
        })
    })();
    let back = rustix::process::chdir("/").during(operation);
    detach(scratch)?;
    result.and(back)
}

fn set_attributes(
    fd: impl AsFd,
    path: &str,
    set: u64,
    clear: u64,
    recursive: bool,
) -> std::io::Result<()> {
    let path = CString::new(Path::new(path).as_os_str().as_bytes())?;
    let attributes = libc::mount_attr {
        attr_set: set,
        attr_clr: clear,
        propagation: 0,
        userns_fd: 0,
    };
    let mut flags = if path.is_empty() {
        libc::AT_EMPTY_PATH
    } else {
        0
    };
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path is NUL-terminated and the attributes are a whole struct of the size that is told; both outlive
    // the call, which only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_fd().as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}
