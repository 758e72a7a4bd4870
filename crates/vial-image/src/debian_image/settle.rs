//! The few files that make a root file system of packages one to live in: where apt finds more, what dpkg leaves out, that
//! no service starts by itself, the locale.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::DebianImage;
use crate::debian::{MIRROR, SECURITY_MIRROR};
use crate::error::{IoContext as _, Result};

/// Debian's own keys, as its package `debian-archive-keyring` has them.
const DEBIAN_KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What the packages that are installed later leave out too; as the images that Debian calls slim.
const DPKG: &str = "\
path-exclude /usr/share/doc/*
path-exclude /usr/share/man/*
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/lintian/*
path-exclude /usr/share/linda/*
path-exclude /usr/share/groff/*
path-include /usr/share/doc/*/copyright
";

/// A file that no package brings.
pub(super) struct Setting {
    /// Below the root.
    pub(super) path: String,
    pub(super) content: Vec<u8>,
    mode: u32,
}

impl Setting {
    fn new(path: &str, content: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.into(),
            content: content.into(),
            mode: 0o644,
        }
    }

    /// Writes it below `root`.
    pub(super) fn write(&self, root: &Path) -> Result<()> {
        let path = root.join(&self.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).at("create", parent)?;
        }
        fs::write(&path, &self.content).at("write", &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(self.mode))
            .at("set the mode of", &path)
    }
}

/// All of them.
pub(super) struct Settings(Vec<Setting>);

impl Settings {
    pub(super) fn new(image: &DebianImage) -> Result<Self> {
        let mut files = vec![
            Setting::new("etc/dpkg/dpkg.cfg.d/vial", DPKG),
            Setting::new(
                "etc/apt/apt.conf.d/90vial",
                "Acquire::Languages \"none\";\n",
            ),
            Setting::new("etc/default/locale", "LANG=C.UTF-8\n"),
            // https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt: 101 is "not allowed".
            Setting {
                mode: 0o755,
                ..Setting::new("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n")
            },
        ];
        let mut keys = DEBIAN_KEYS.to_owned();
        if let Some(keyring) = &image.keyring {
            let content = fs::read(keyring).at("read the keyring", keyring)?;
            // apt tells armored keys by the file's name.
            let end = if content.starts_with(b"-----") {
                "asc"
            } else {
                "gpg"
            };
            let path = format!("etc/apt/keyrings/archive.{end}");
            keys = format!("/{path}");
            files.push(Setting::new(&path, content));
        }
        let sources = sources(image, &keys);
        files.push(Setting::new(
            "etc/apt/sources.list.d/debian.sources",
            sources,
        ));
        Ok(Self(files))
    }

    pub(super) fn files(&self) -> &[Setting] {
        &self.0
    }
}

/// Where the packages came from (sources.list(5), "DEB822-STYLE FORMAT").
fn sources(image: &DebianImage, keys: &str) -> String {
    let stanza = |uri: &str, suites: &str| {
        format!("Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main\nSigned-By: {keys}\n")
    };
    let suite = &image.suite;
    let suites = image.suites().map_or(0, |suites| suites.len());
    match &image.mirror {
        Some(mirror) => stanza(mirror, suite),
        None if suites == 1 => stanza(MIRROR, suite),
        None => format!(
            "{}\n{}",
            stanza(MIRROR, &format!("{suite} {suite}-updates")),
            stanza(SECURITY_MIRROR, &format!("{suite}-security"))
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_looks_where_the_packages_came_from() {
        let of = |suite: &str, mirror: Option<&str>| {
            let image = DebianImage {
                suite: suite.into(),
                mirror: mirror.map(Into::into),
                ..DebianImage::default()
            };
            sources(&image, "K")
        };
        assert_eq!(
            of("trixie", None),
            "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: trixie trixie-updates\nComponents: main\nSigned-By: K\n\n\
             Types: deb\nURIs: http://deb.debian.org/debian-security\nSuites: trixie-security\nComponents: main\nSigned-By: K\n"
        );
        assert!(of("sid", None).contains("Suites: sid\n"));
        let own = of("trixie", Some("http://mirror.example/debian"));
        assert!(own.contains("URIs: http://mirror.example/debian\nSuites: trixie\n"));
    }
}
