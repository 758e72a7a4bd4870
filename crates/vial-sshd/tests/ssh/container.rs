//! A server as PID 1 of a container: in namespaces of its own, on the root file system of some image.
//!
//! The images are the Debian layer of vial's node image, writable or not, and nothing at all. The network is the test's.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::{Server, lacks, prepare};

/// Directories of unpacked layers of node images.
fn layers() -> Vec<PathBuf> {
    let home = std::env::var_os("VIAL_TEST_HOME").map_or_else(
        || Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cache/vial-test"),
        PathBuf::from,
    );
    let entries = fs::read_dir(home.join("images/unpacked"))
        .into_iter()
        .flatten();
    entries.flatten().map(|entry| entry.path()).collect()
}

/// An unpacked Debian.
pub(crate) struct Debian(PathBuf);

/// The one of a node image; without one the test says that it cannot run.
pub(crate) fn debian() -> Option<Debian> {
    let found = layers()
        .into_iter()
        .find(|layer| layer.join("usr/bin/rsync").is_file());
    if found.is_none() {
        vial_testing::skip(
            "there is no node image with Debian: run the tests of the crate vial before",
        );
    }
    found.map(Debian)
}

impl Debian {
    /// A program of it that runs here, by its own loader and libraries.
    pub(crate) fn program(&self, directory: &Path, name: &str) -> PathBuf {
        let root = self.0.display();
        let script = format!(
            "#!/bin/sh\nexec {root}/lib64/ld-linux-x86-64.so.2 --library-path {root}/usr/lib/x86_64-linux-gnu \
             {root}/usr/bin/{name} \"$@\"\n"
        );
        let path = directory.join(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

/// A static busybox; without one the test says that it cannot run.
pub(crate) fn busybox() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|directory| directory.join("busybox"));
    // The layer of container images has one in each of several of them.
    let of_images = layers().into_iter().flat_map(|layer| {
        let snapshots = "usr/lib/vial/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots";
        let entries = fs::read_dir(layer.join(snapshots))
            .into_iter()
            .flatten()
            .flatten();
        entries
            .map(|entry| entry.path().join("fs/bin/busybox"))
            .collect::<Vec<_>>()
    });
    let found = installed
        .chain(of_images)
        .find(|path| path.is_file() && !path.is_symlink());
    if found.is_none() {
        vial_testing::skip("there is no static busybox, not in a node image either");
    }
    found
}

/// What the container's root file system is.
pub(crate) enum Image {
    /// Debian, which can be written.
    Writable,
    /// Debian, which cannot.
    ReadOnly,
    /// Nothing but the server's own files.
    Scratch,
}

/// A container's description.
pub(crate) struct Container {
    image: Image,
    user: String,
    privileges: String,
    change: &'static str,
    beside: bool,
}

impl Container {
    pub(crate) fn of(image: Image) -> Self {
        Self {
            image,
            user: "0:0".into(),
            privileges: String::new(),
            change: "",
            beside: false,
        }
    }

    /// The server runs beside an entry point that is PID 1; what a hook would see is in the line `hook: CODE`.
    pub(crate) fn beside_an_entry_point(mut self) -> Self {
        self.beside = true;
        self
    }

    /// The server runs as this user and group.
    pub(crate) fn user(mut self, user: &str) -> Self {
        self.user = user.into();
        self
    }

    /// As with `allowPrivilegeEscalation: false`.
    pub(crate) fn no_new_privileges(mut self) -> Self {
        self.privileges = "setpriv --no-new-privs ".into();
        self
    }

    /// The image has no sudo of its own.
    pub(crate) fn without_sudo(mut self) -> Self {
        self.change = "rm -r $root/usr/bin/sudo $root/etc/sudoers.d";
        self
    }

    /// Starts it; `None` where that is not possible, which was said then.
    pub(crate) fn start(self, arguments: &str) -> Option<Server> {
        if lacks(&["ssh", "ssh-keygen", "unshare", "mount", "chroot", "setpriv"]) {
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            vial_testing::skip("only root can make a container");
            return None;
        }
        let busybox = busybox()?;
        let mount = match self.image {
            Image::Scratch => "mount -t tmpfs tmpfs $root".to_owned(),
            _ => format!(
                "mount -t tmpfs tmpfs $root; mkdir $root/up $root/work $root/all\n\
                 mount -t overlay -o lowerdir={},upperdir=$root/up,workdir=$root/work overlay $root/all\n\
                 root=$root/all",
                debian()?.0.display()
            ),
        };
        let freeze = match self.image {
            Image::ReadOnly => "mount -o remount,ro $root",
            _ => "",
        };
        let directory = prepare();
        fs::create_dir(directory.path().join("root")).unwrap();
        for entry in fs::read_dir(directory.path()).unwrap().flatten() {
            // As in a Secret that a group may read.
            if entry.path().is_file() {
                fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o644)).unwrap();
            }
        }
        let server = format!("/vial/bin/vial-sshd --listen 127.0.0.1 --port 0 {arguments}");
        let start = if self.beside {
            // In a subshell: the shell redirects its own output while it starts a program.
            format!(
                "/vial/bin/busybox sh -c '({server} --detach >/tmp/hook 2>&1); echo \"hook: $?\" >&2; \
                 while :; do /vial/bin/busybox sleep 1000; done'"
            )
        } else {
            server
        };
        let script = format!(
            "set -e; cd {}; keys=$PWD root=$PWD/root\n{mount}\n\
             mkdir -p $root/proc $root/dev $root/vial/bin $root/vial/keys $root/run $root/tmp; chmod 1777 $root/tmp\n\
             mount --rbind /dev $root/dev; mount -t proc proc $root/proc\n\
             for file in vial-sshd busybox; do touch $root/vial/bin/$file; done\n\
             mount --bind {} $root/vial/bin/vial-sshd; mount --bind {} $root/vial/bin/busybox\n\
             cp ssh_host_ed25519_key authorized_keys $root/vial/keys; chmod 600 id\n{}\n{freeze}\n\
             chown {} /proc/self/fd/2; export HOME=/root; exec {}chroot --userspec={} $root {start}",
            directory.path().display(),
            env!("CARGO_BIN_EXE_vial-sshd"),
            busybox.display(),
            self.change,
            // As runc does: whoever runs in there may open its output.
            self.user,
            self.privileges,
            self.user,
        );
        let mut command = Command::new("unshare");
        command
            .args([
                "--mount",
                "--pid",
                "--fork",
                "--kill-child=KILL",
                "--propagation=private",
            ])
            .args(["sh", "-c", &script])
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            );
        Some(Server::run(directory, command))
    }
}
