//! The layers of container images that come from Debian packages: the toolbox, and what stands on it or comes out of it.
//!
//! ```text
//!   toolbox   a Debian root file system, for people who debug
//!   nginx     what Debian's nginx adds to the toolbox
//!   busybox   alone: the toolbox's /usr/bin/busybox, its applets linked, as the image of that name has it
//! ```
//! They are kept beside the store because every Kubernetes version needs them.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use vial_sys::chroot::Chroot;

use crate::base::{Base, Kind};
use crate::digest::{Digest, Hasher};
use crate::disk;
use crate::error::{Error, IoContext, Result};
use crate::layer::{self, Compressed};
use crate::oci;

/// Increase when this file makes something else of the same packages.
const VERSION: &str = "4";

/// Where nginx serves what, as in upstream's image: Debian's own site has another directory.
const SITE: &str = "\
server {
    listen 80;
    listen [::]:80;
    server_name localhost;
    location / {
        root /usr/share/nginx/html;
        index index.html;
    }
}
";

/// The layers made of Debian packages.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Toolbox {
    pub(super) toolbox: Kept,
    pub(super) nginx: Kept,
    pub(super) busybox: Kept,
}

/// One of them: a file in the cache.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(super) compressed: Compressed,
    /// Of the package that it is named after.
    pub(super) version: String,
    #[serde(skip)]
    pub(super) file: PathBuf,
}

impl Toolbox {
    /// Digest of all that decides the layers.
    pub(crate) fn inputs(base: &Base) -> Digest {
        let mut hasher = Hasher::default();
        hasher.field(VERSION);
        hasher.field(SITE);
        hasher.field(base.inputs(Kind::Toolbox).as_str());
        hasher.field(base.inputs(Kind::Nginx).as_str());
        hasher.finish()
    }

    /// Makes the layers in `scratch`, an empty directory, and keeps them in `cache` under `inputs`. Blocking.
    pub(crate) fn make(cache: &Path, inputs: &Digest, base: &Base, scratch: &Path) -> Result<Self> {
        let [toolbox, nginx, busybox] =
            ["toolbox", "nginx", "busybox"].map(|name| scratch.join(name));
        base.build(Kind::Toolbox, &toolbox, None)?;
        base.build(Kind::Nginx, &nginx, Some(&toolbox))?;
        settle_nginx(&nginx)?;
        make_busybox(&toolbox, &busybox)?;
        Self::keep(cache, inputs, |name| {
            let version = match name {
                "nginx" => base.version(Kind::Nginx, "nginx"),
                "busybox" => base.version(Kind::Toolbox, "busybox-static"),
                _ => "1",
            };
            (scratch.join(name), version.to_owned())
        })
    }

    /// Writes each layer from the directory that `root` says, with its version.
    fn keep(
        cache: &Path,
        inputs: &Digest,
        root: impl Fn(&str) -> (PathBuf, String),
    ) -> Result<Self> {
        fs::create_dir_all(cache).at("create", cache)?;
        let keep = |name: &str| {
            let (root, version) = root(name);
            let aside = tempfile::Builder::new()
                .prefix(".tmp-")
                .tempfile_in(cache)
                .at("create a file in", cache)?;
            let compressed =
                layer::compress(aside.as_file(), aside.path(), |tar| tar.tree("", &root))?;
            let file = Self::file(cache, inputs, name);
            disk::persist(aside, &file)?;
            Ok::<_, Error>(Kept {
                compressed,
                version,
                file,
            })
        };
        let toolbox = Self {
            toolbox: keep("toolbox")?,
            nginx: keep("nginx")?,
            busybox: keep("busybox")?,
        };
        disk::write_atomically(&Self::record(cache, inputs), &oci::to_bytes(&toolbox))?;
        Ok(toolbox)
    }

    /// Removes what a killed build left and layers of older packages.
    pub(crate) fn tidy(cache: &Path, inputs: &Digest) {
        for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
            if !entry
                .file_name()
                .to_string_lossy()
                .starts_with(inputs.hex())
            {
                // Only space is lost when it stays.
                let _ = if entry.path().is_dir() {
                    fs::remove_dir_all(entry.path())
                } else {
                    fs::remove_file(entry.path())
                };
            }
        }
    }

    /// Those made from these inputs, if they are there and whole.
    pub(crate) fn cached(cache: &Path, inputs: &Digest) -> Option<Self> {
        let mut toolbox: Self =
            serde_json::from_slice(&fs::read(Self::record(cache, inputs)).ok()?).ok()?;
        for (name, kept) in [
            ("toolbox", &mut toolbox.toolbox),
            ("nginx", &mut toolbox.nginx),
            ("busybox", &mut toolbox.busybox),
        ] {
            kept.file = Self::file(cache, inputs, name);
            let (actual, _) = File::open(&kept.file).and_then(Digest::of_reader).ok()?;
            if actual != kept.compressed.digest {
                return None;
            }
        }
        Some(toolbox)
    }

    fn file(cache: &Path, inputs: &Digest, name: &str) -> PathBuf {
        cache.join(format!("{}-{name}.tar.zst", inputs.hex()))
    }

    fn record(cache: &Path, inputs: &Digest) -> PathBuf {
        cache.join(format!("{}.json", inputs.hex()))
    }

    /// Small files of the toolbox, by path.
    pub(super) fn read(&self, wanted: &[&str]) -> Result<BTreeMap<String, String>> {
        let path = &self.toolbox.file;
        let mut found = BTreeMap::new();
        let file = File::open(path).at("open", path)?;
        let mut archive = tar::Archive::new(zstd::Decoder::new(file).at("decompress", path)?);
        for entry in archive.entries().at("read", path)? {
            let mut entry = entry.at("read", path)?;
            let name = entry.path().at("read", path)?.display().to_string();
            if wanted.contains(&name.as_str()) {
                let mut text = String::new();
                entry.read_to_string(&mut text).at("read", path)?;
                found.insert(name, text);
            }
        }
        Ok(found)
    }
}

/// Makes Debian's nginx behave as in upstream's image: its directory, and its log on the container's output.
fn settle_nginx(root: &Path) -> Result<()> {
    let site = root.join("etc/nginx/sites-enabled/default");
    fs::remove_file(&site).at("remove", &site)?;
    let path = root.join("etc/nginx/conf.d/default.conf");
    fs::write(&path, SITE).at("write", &path)?;
    let log = root.join("var/log/nginx");
    fs::create_dir_all(&log).at("create", &log)?;
    for (name, target) in [("access.log", "/dev/stdout"), ("error.log", "/dev/stderr")] {
        let link = log.join(name);
        std::os::unix::fs::symlink(target, &link).at("link", &link)?;
    }
    Ok(())
}

/// Makes a root file system of busybox, as `busybox:1.37` is made: applets are links in /bin.
fn make_busybox(toolbox: &Path, root: &Path) -> Result<()> {
    for directory in [
        "bin",
        "dev",
        "etc",
        "home",
        "proc",
        "root",
        "run",
        "sys",
        "tmp",
        "usr/bin",
        "usr/sbin",
        "var/spool/mail",
        "var/www",
        "usr/share/doc/bash-static",
        "usr/share/doc/busybox-static",
    ] {
        let path = root.join(directory);
        fs::create_dir_all(&path).at("create", &path)?;
    }
    for (path, mode) in [("root", 0o700), ("tmp", 0o1777)] {
        let path = root.join(path);
        fs::set_permissions(&path, Permissions::from_mode(mode)).at("set the mode of", &path)?;
    }
    let copies = [
        ("usr/bin/busybox", "bin/busybox"),
        ("usr/bin/bash-static", "bin/bash-static"),
        ("etc/passwd", "etc/passwd"),
        ("etc/group", "etc/group"),
        ("etc/shadow", "etc/shadow"),
        (
            "usr/share/doc/bash-static/copyright",
            "usr/share/doc/bash-static/copyright",
        ),
        (
            "usr/share/doc/busybox-static/copyright",
            "usr/share/doc/busybox-static/copyright",
        ),
    ];
    for (from, to) in copies {
        let from = toolbox.join(from);
        fs::copy(&from, root.join(to)).at("copy", &from)?;
    }
    let failed = |status: String, output: String| Error::Program {
        program: "busybox --install".into(),
        status,
        output,
    };
    let output = Chroot::new(root)
        .command("/bin/busybox")
        .map_err(|error| failed("not started".into(), error.line()))?
        // Symbolic links, where `busybox:1.37` has hard ones: every node links the file again, and a file can have only
        // 65000 links (ext4).
        .args(["--install", "-s", "/bin"])
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed("not started".into(), error.to_string()))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(failed(output.status.to_string(), text));
    }
    // Debian's busybox takes variables like `data-1` out of the environment; upstream's passes them on, as bash does. The
    // conformance tests look for them below `sh`, which is found here first, and for busybox' own words from `/bin/sh`.
    let shell = root.join("usr/bin/sh");
    std::os::unix::fs::symlink("/bin/bash-static", &shell).at("link", &shell)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn toolbox(cache: &Path, inputs: &Digest) -> Toolbox {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
        let keep = |_: &str| (root.path().to_path_buf(), "1".to_owned());
        Toolbox::keep(cache, inputs, keep).unwrap()
    }

    #[test]
    fn a_kept_toolbox_is_used_while_it_is_whole() {
        let cache = tempfile::tempdir().unwrap();
        let inputs = Digest::of(b"inputs");
        assert!(Toolbox::cached(cache.path(), &inputs).is_none());
        let made = toolbox(cache.path(), &inputs);
        assert_eq!(
            Toolbox::cached(cache.path(), &inputs)
                .unwrap()
                .toolbox
                .compressed,
            made.toolbox.compressed
        );
        let mut bytes = fs::read(&made.nginx.file).unwrap();
        bytes[10] ^= 1;
        fs::write(&made.nginx.file, bytes).unwrap();
        assert!(Toolbox::cached(cache.path(), &inputs).is_none());
        Toolbox::tidy(cache.path(), &Digest::of(b"others"));
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
    }

    #[test]
    fn small_files_of_it_can_be_read() {
        let cache = tempfile::tempdir().unwrap();
        let made = toolbox(cache.path(), &Digest::of(b"inputs"));
        let found = made.read(&["etc/passwd", "etc/group"]).unwrap();
        assert_eq!(found.len(), 1);
        assert!(found["etc/passwd"].starts_with("root:"));
    }
}
