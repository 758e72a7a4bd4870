//! What a virtual machine starts from: kernel, initramfs and disks, made of a node image that has the `vm` layer.
//!
//! ```text
//!  node image ─┬─ /boot/vmlinuz-V ──────► vmlinux      uncompressed, started without firmware (PVH)    kernel.rs
//!              ├─ modules of V, vial-boot ► initrd     with_spec() appends /machine.json, one a node   modules.rs, initrd.rs
//!              └─ all layers' blobs ───► root.erofs   read-only, shared by all machines    flatten.rs, disks.rs
//!  the program ─────────────────────────► HEX.erofs    read-only, shared by all machines
//!  nothing ─────────────────────────────► a data disk  one a node, where the caller wants it
//! ```
//! Names of a guest's disks are their virtio serials: `root`, `vial`, `data` (see vial-boot).
//!
//! # On disk
//! ```text
//! $VIAL_HOME/images/machine/
//!   IMAGE/vmlinux-N  initrd-N-BOOT  root-N.erofs    of one image; N: this format, BOOT: digest of vial-boot
//!   programs/PROGRAM.erofs                          by the program's digest; removed when it was not used for a week
//!   kernels/DIGEST/                                 of a person's own kernel: kernel, initrd, modules.erofs; likewise
//! ```
//! Made once, under the store's lock; each file appears whole or not at all, and goes with its image. What a machine has
//! open stays with it when the file goes. Nobody's rights are needed to make them, and everybody may read them: the image is
//! no secret.

mod disks;
mod flatten;
mod initrd;
mod kernel;
mod modules;
mod own;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::digest::{Digest, Hasher};
use crate::disk;
use crate::error::{Error, IoContext as _, Result};
use crate::image::NodeImage;
use crate::store::{Store, Writer};

pub use disks::{PROGRAM_KEPT, data_disk};
pub use initrd::with_spec;
pub use own::{OwnKernel, check_kernel};

use kernel::Kernel;

/// Increase when this module makes other files of the same image.
const FORMAT: &str = "2";

/// The kernel's command line for quick starts under software emulation, without the console. Measured with Linux 6.12 on
/// two idle cores: 1.58 s from QEMU's start to the first program; 1.89 s with `quiet panic=-1 mitigations=off` alone.
///
/// - `panic=-1`: a kernel that panics starts anew at once, which ends QEMU (`-no-reboot`).
/// - `mitigations=off`: one machine is one node of one cluster; its pods share a kernel as they do elsewhere.
/// - `tsc=reliable no_timer_check`: no tests of clocks that are emulated.
/// - `cryptomgr.notests`, `initcall_blacklist=jent_mod_init`: no self-tests of ciphers; the processor and virtio-rng give
///   entropy (`random.trust_cpu=on`).
/// - `lsm=`: those that the kernel would have, without the ones that nothing here has a policy for.
/// - `rcupdate.rcu_expedited=1`: mounts and network namespaces end without a wait.
/// - `page_reporting.page_reporting_order=0`: every free page is the host's again, not only 2 MiB in one piece.
pub const COMMAND_LINE: &str = "quiet panic=-1 mitigations=off tsc=reliable no_timer_check cryptomgr.notests \
     initcall_blacklist=jent_mod_init random.trust_cpu=on lsm=capability,landlock,yama,bpf \
     rcupdate.rcu_expedited=1 page_reporting.page_reporting_order=0 audit=0 8250.nr_uarts=1";

/// How a machine comes to its kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// QEMU enters the uncompressed kernel (PVH).
    Direct,
    /// A BIOS sets up the hardware, tells the kernel of it, and the kernel unpacks itself.
    Firmware,
}

/// Files on the host, below [`Store::root`], that every machine of a node image starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// An ELF file with a PVH entry, for `-kernel`.
    pub kernel: PathBuf,
    /// The same one as it is in the node image, for a start with firmware.
    pub packed: PathBuf,
    /// Of the kernel and its modules: `6.12.117+deb13-cloud-amd64`.
    pub kernel_version: String,
    /// What [`with_spec`] makes a machine's initramfs of.
    pub initrd: PathBuf,
    /// A raw disk: the node image.
    pub root: PathBuf,
}

impl Store {
    /// What machines of this image start from; made when it is not there yet, which takes some seconds and the writers'
    /// lock. Blocking.
    ///
    /// # Errors
    /// [`Error::NoMachine`] when the image has no kernel, or one that cannot be started so.
    pub fn machine(&self, image: &NodeImage) -> Result<Machine> {
        let kernel = kernel::find(image)?;
        let machine = self.machine_paths(image, &kernel);
        let all = [&machine.kernel, &machine.initrd, &machine.root];
        if all.iter().all(|path| path.is_file()) {
            return Ok(machine);
        }
        let writer = self.lock()?;
        let directory = self.machine_directory(&image.digest);
        make_directory(&directory)?;
        make(&machine.kernel, || kernel::extract(&kernel))?;
        make(&machine.initrd, || {
            let modules = modules::gather(&kernel.modules)?.map_err(|missing| {
                let reason = format!("it has no driver {missing}, which every machine needs");
                no_machine(format!("kernel {}", kernel.version), reason)
            })?;
            Ok(initrd::base(&modules))
        })?;
        if !machine.root.is_file() {
            disks::root(&writer, image, &machine.root)?;
        }
        // Those of other formats and other programs.
        for path in children(&directory)? {
            if !all.contains(&&path) {
                fs::remove_file(&path).at("remove", &path)?;
            }
        }
        Ok(machine)
    }

    /// A raw disk with a vial program in it, as `/vial`; made when it is not there yet, which takes a second and the
    /// writers' lock. `image` has the program that makes it. Blocking.
    ///
    /// # Errors
    /// When the program cannot be read, or there is no space.
    pub fn program_disk(&self, image: &NodeImage, program: &Path) -> Result<PathBuf> {
        disks::program(self, image, program)
    }

    /// What machines start from that have the kernel `file` instead of the image's, and the modules of a directory like
    /// `/lib/modules/VERSION`; made when it is not there yet. Blocking.
    ///
    /// # Errors
    /// [`Error::NoKernel`] when the file is no kernel, or it lacks a driver that every machine needs.
    pub fn own_kernel(
        &self,
        image: &NodeImage,
        file: &Path,
        modules: Option<&Path>,
        start: Start,
    ) -> Result<OwnKernel> {
        own::own_kernel(self, image, (file, modules), start)
    }

    fn machines(&self) -> PathBuf {
        self.root().join("machine")
    }

    fn machine_directory(&self, image: &Digest) -> PathBuf {
        self.machines().join(image.hex())
    }

    fn programs(&self) -> PathBuf {
        self.machines().join("programs")
    }

    fn kernels(&self) -> PathBuf {
        self.machines().join("kernels")
    }

    fn machine_paths(&self, image: &NodeImage, kernel: &Kernel) -> Machine {
        let directory = self.machine_directory(&image.digest);
        let mut hasher = Hasher::default();
        hasher.field(vial_means::boot_digest());
        hasher.field(initrd::MODULES.join(" "));
        let boot = hasher.finish();
        Machine {
            kernel: directory.join(format!("vmlinux-{FORMAT}")),
            packed: kernel.file.clone(),
            kernel_version: kernel.version.clone(),
            initrd: directory.join(format!("initrd-{FORMAT}-{}", boot.short())),
            root: directory.join(format!("root-{FORMAT}.erofs")),
        }
    }
}

impl Writer {
    /// Removes the files of images that are not needed any more, and disks of programs that nobody used for long;
    /// returns the bytes that this frees.
    pub(crate) fn sweep_machines(&self, needed: impl Fn(&str) -> bool) -> Result<u64> {
        let store = self.store();
        let mut freed = 0;
        for path in children(&store.machines())? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if ![store.programs(), store.kernels()].contains(&path) && !needed(&name) {
                freed += disk::usage(&path);
                disk::remove_tree(&path)?;
            }
        }
        for path in children(&store.programs())? {
            if disks::is_old(&path) {
                freed += disk::usage(&path);
                fs::remove_file(&path).at("remove", &path)?;
            }
        }
        Ok(freed + own::sweep(&store.kernels())?)
    }
}

/// Writes what `content` gives, unless it is there.
fn make(path: &Path, content: impl FnOnce() -> Result<Vec<u8>>) -> Result<()> {
    if path.is_file() {
        return Ok(());
    }
    disk::write_atomically(path, &content()?)
}

/// With its parents, open to everybody: QEMU runs as nobody.
fn make_directory(path: &Path) -> Result<()> {
    fs::create_dir_all(path).at("create", path)?;
    for path in path.ancestors().take(2) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).at("set the mode of", path)?;
    }
    Ok(())
}

fn children(directory: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries
            .and_then(|entries| {
                entries
                    .map(|entry| entry.map(|entry| entry.path()))
                    .collect()
            })
            .at("read", directory),
    }
}

fn no_machine(what: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::NoMachine {
        what: what.into(),
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{image, store};

    #[test]
    fn an_image_without_a_kernel_is_no_machine_and_nothing_is_made() {
        let (_home, store) = store();
        let image = image(&store, "a:1", "x");
        let error = store.machine(&image).unwrap_err();
        assert!(error.to_string().contains("`a:1`"), "{error}");
        assert!(error.hint().unwrap().contains("--no-vm"), "{error}");
        assert!(!store.machines().exists());
    }

    #[test]
    fn machine_files_go_with_their_image() {
        let (_home, store) = store();
        let (gone, kept) = (image(&store, "a:1", "x"), image(&store, "a:2", "y"));
        for image in [&gone, &kept] {
            let directory = store.machine_directory(&image.digest);
            make_directory(&directory).unwrap();
            fs::write(directory.join("vmlinux-1"), [1; 10_000]).unwrap();
        }
        make_directory(&store.programs()).unwrap();
        fs::write(store.programs().join("new.erofs"), "x").unwrap();
        store.remove(&["a:1".to_owned()], &[]).unwrap();
        assert!(!store.machine_directory(&gone.digest).exists());
        assert!(
            store
                .machine_directory(&kept.digest)
                .join("vmlinux-1")
                .exists()
        );
        assert!(store.programs().join("new.erofs").exists());
    }
}
