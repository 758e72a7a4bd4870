//! Which versions are yanked, from the copy of the registry's index that cargo keeps.
//!
//! One file a package below `$CARGO_HOME/registry/index/*/.cache/`, laid out as the index itself ("Index Format" in the
//! Cargo book): a short header, then pieces separated by zero bytes, every second one the JSON line of a version. The
//! header is not described anywhere, so nothing is made of it: pieces that are not such a line are passed over.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// What is known of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is there.
    Good,
    /// Its author took it back.
    Yanked,
    /// Cargo has not asked the registry for this package, or not since this version came out.
    Unknown,
}

/// `$CARGO_HOME`, or `~/.cargo`.
pub(super) fn cargo_home() -> PathBuf {
    let given = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    given
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
        .unwrap_or_default()
}

/// What the copy below a cargo home says of a version.
pub(super) fn standing(cargo_home: &Path, name: &str, version: &str) -> Standing {
    let registries = std::fs::read_dir(cargo_home.join("registry/index"));
    for registry in registries.into_iter().flatten().flatten() {
        if let Ok(bytes) = std::fs::read(registry.path().join(".cache").join(place(name)))
            && let Some(yanked) = yanked(&bytes, version)
        {
            return if yanked {
                Standing::Yanked
            } else {
                Standing::Good
            };
        }
    }
    Standing::Unknown
}

/// Where the index has a package: `1/a`, `2/ab`, `3/a/abc`, `ab/cd/abcdef`.
fn place(name: &str) -> PathBuf {
    let name = name.to_ascii_lowercase();
    let directory = match name.len() {
        1 => "1".to_owned(),
        2 => "2".to_owned(),
        3 => format!("3/{}", &name[..1]),
        _ => format!("{}/{}", &name[..2], &name[2..4]),
    };
    Path::new(&directory).join(name)
}

/// Is the version yanked? `None` when the file does not know it.
fn yanked(bytes: &[u8], version: &str) -> Option<bool> {
    bytes
        .split(|byte| *byte == 0)
        .filter(|piece| piece.first() == Some(&b'{'))
        .filter_map(|piece| serde_json::from_slice::<Value>(piece).ok())
        .find(|line| line["vers"] == version)
        .and_then(|line| line["yanked"].as_bool())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] = b"\x03\x02\x00\x00\x00etag\x001.0.0\x00{\"vers\":\"1.0.0\",\"yanked\":true}\x001.1.0\x00{\"vers\":\"1.1.0\",\"yanked\":false}\x00";

    #[test]
    fn tells_yanked_versions() {
        assert_eq!(yanked(FILE, "1.0.0"), Some(true));
        assert_eq!(yanked(FILE, "1.1.0"), Some(false));
        assert_eq!(yanked(FILE, "1.2.0"), None);
        assert_eq!(yanked(b"{", "1.0.0"), None);
    }

    #[test]
    fn knows_the_places() {
        for (name, path) in [
            ("a", "1/a"),
            ("ab", "2/ab"),
            ("abc", "3/a/abc"),
            ("Serde", "se/rd/serde"),
        ] {
            assert_eq!(place(name), Path::new(path));
        }
    }

    #[test]
    fn looks_into_every_registry() {
        let home = tempfile::tempdir().unwrap();
        for (registry, name) in [("one", "abc"), ("two", "serde")] {
            let file = home
                .path()
                .join("registry/index")
                .join(registry)
                .join(".cache")
                .join(place(name));
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, FILE).unwrap();
        }
        let standing = |name, version| standing(home.path(), name, version);
        assert_eq!(standing("abc", "1.0.0"), Standing::Yanked);
        assert_eq!(standing("serde", "1.1.0"), Standing::Good);
        assert_eq!(standing("serde", "9.0.0"), Standing::Unknown);
        assert_eq!(standing("other", "1.0.0"), Standing::Unknown);
    }
}
