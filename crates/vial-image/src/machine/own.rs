//! A kernel of the person's own instead of the image's: made ready once, and kept as long as it is used.
//!
//! It is known by what it is made of, not by where that lies: a kernel that was built anew is another one.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::disks::{self, touch};
use super::{FORMAT, Start, initrd, kernel, make, make_directory, modules};
use crate::digest::{Digest, Hasher};
use crate::disk;
use crate::error::{Error, IoContext as _, Result};
use crate::image::NodeImage;
use crate::store::Store;

/// What a machine starts from instead of the kernel and the initramfs of its node image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnKernel {
    /// An ELF file with a PVH entry, or a bzImage where it has none or starts with firmware.
    pub kernel: PathBuf,
    /// What [`with_spec`](super::with_spec) makes a machine's initramfs of.
    pub initrd: PathBuf,
    /// A raw disk: the modules.
    pub modules: Option<PathBuf>,
}

/// Looks at a kernel and its modules without making anything.
///
/// # Errors
/// [`Error::NoKernel`] when the file is no kernel, or the directory has no modules.
pub fn check_kernel(file: &Path, modules: Option<&Path>) -> Result<()> {
    kernel::own(file, Start::Direct)?;
    modules.map_or(Ok(()), |modules| gather(modules).map(drop))
}

/// See [`Store::own_kernel`].
pub(super) fn own_kernel(
    store: &Store,
    image: &NodeImage,
    (file, directory): (&Path, Option<&Path>),
    start: Start,
) -> Result<OwnKernel> {
    let content = kernel::own(file, start)?;
    let gathered = directory.map(gather).transpose()?.unwrap_or_default();
    let digest = identity(&content, &gathered, directory)?;
    let place = store.kernels().join(digest.hex());
    let own = OwnKernel {
        kernel: place.join("kernel"),
        initrd: place.join("initrd"),
        modules: directory.map(|_| place.join("modules.erofs")),
    };
    let all = [Some(&own.kernel), Some(&own.initrd), own.modules.as_ref()];
    if all.iter().flatten().all(|path| path.is_file()) && touch(&own.kernel) {
        return Ok(own);
    }
    let writer = store.lock()?;
    make_directory(&place)?;
    make(&own.kernel, || Ok(content))?;
    make(&own.initrd, || Ok(initrd::base(&gathered)))?;
    if let (Some(path), Some(directory)) = (&own.modules, directory)
        && !path.is_file()
    {
        disks::directory(&writer, image, directory, path)?;
    }
    Ok(own)
}

fn gather(directory: &Path) -> Result<Vec<modules::Module>> {
    if !directory.join("modules.dep").is_file() {
        return Err(Error::NoKernel {
            path: directory.to_path_buf(),
            reason: "it has no modules.dep, which depmod(8) makes".into(),
        });
    }
    modules::gather(directory)?.map_err(|missing| Error::NoKernel {
        path: directory.to_path_buf(),
        reason: format!("it has no driver {missing}, which every machine needs"),
    })
}

/// The kernel, what goes into the initramfs, and the other modules by name, size and time.
fn identity(
    kernel: &[u8],
    gathered: &[modules::Module],
    directory: Option<&Path>,
) -> Result<Digest> {
    let mut hasher = Hasher::default();
    hasher.field(FORMAT);
    hasher.field(vial_means::boot_digest());
    hasher.field(Digest::of(kernel).hex());
    for module in gathered {
        hasher.field(&module.file);
        hasher.field(Digest::of(&module.content).hex());
    }
    let mut waiting: Vec<PathBuf> = directory.map(Path::to_path_buf).into_iter().collect();
    while let Some(directory) = waiting.pop() {
        let entries = fs::read_dir(&directory).at("read", &directory)?;
        let mut paths = Vec::new();
        for entry in entries {
            paths.push(entry.at("read", &directory)?.path());
        }
        paths.sort();
        for path in paths {
            let metadata = fs::symlink_metadata(&path).at("look at", &path)?;
            hasher.field(path.to_string_lossy().as_bytes());
            if metadata.is_dir() {
                waiting.push(path);
                continue;
            }
            hasher.field(metadata.len().to_string());
            hasher.field(format!("{}.{}", metadata.mtime(), metadata.mtime_nsec()));
        }
    }
    Ok(hasher.finish())
}

/// Removes those that nobody used for long; returns the bytes that this frees.
pub(super) fn sweep(kernels: &Path) -> Result<u64> {
    let mut freed = 0;
    for path in super::children(kernels)? {
        if disks::is_old(&path.join("kernel")) {
            freed += disk::usage(&path);
            disk::remove_tree(&path)?;
        }
    }
    Ok(freed)
}
