//! `--volume SOURCE[:SIZE][:/MOUNT][:ro]`: a path of the node, a claim that is there, or a new claim.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path of the node.
    HostPath(String),
    /// A PersistentVolumeClaim of the namespace.
    Claim(String),
    /// A claim that is made for the pod, and goes with it.
    New {
        /// Its name is that of the pod, `-` and this.
        name: String,
        /// A quantity: `10Gi`.
        size: String,
    },
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VolumeWish {
    /// What is mounted.
    pub source: Source,
    /// Where to in the container; absolute.
    pub mount: String,
    /// Not to be written to.
    pub read_only: bool,
}

impl VolumeWish {
    fn default_mount(source: &Source) -> String {
        match source {
            Source::HostPath(path) => path.clone(),
            Source::Claim(name) | Source::New { name, .. } => format!("/mnt/{name}"),
        }
    }
}

impl FromStr for VolumeWish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(':').peekable();
        let first = words.next().unwrap_or_default();
        let source = if first.starts_with('/') {
            Source::HostPath(first.to_owned())
        } else {
            check_name(first)?;
            match words.next_if(|word| is_quantity(word)) {
                Some(size) => Source::New {
                    name: first.to_owned(),
                    size: size.to_owned(),
                },
                None => Source::Claim(first.to_owned()),
            }
        };
        let mount = words.next_if(|word| word.starts_with('/'));
        let mount = mount.map_or_else(|| Self::default_mount(&source), str::to_owned);
        let read_only = words.next_if(|word| ["ro", "rw"].contains(word)) == Some("ro");
        match words.next() {
            None if mount == "/" || mount.starts_with("/vial") => {
                Err(format!("nothing can be mounted at {mount}"))
            }
            None => Ok(Self {
                source,
                mount,
                read_only,
            }),
            Some(rest) => Err(format!(
                "`{rest}` is not understood; write /PATH, CLAIM or NAME:SIZE, then maybe :/MOUNT and :ro"
            )),
        }
    }
}

/// The name of a claim (RFC 1123, subdomain).
fn check_name(name: &str) -> Result<(), String> {
    let good = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let fits = !name.is_empty()
        && name.len() <= 200
        && name
            .chars()
            .all(|letter| good(letter) || letter == '-' || letter == '.')
        && name.starts_with(good)
        && name.ends_with(good);
    match fits {
        true => Ok(()),
        false => Err(format!(
            "`{name}` is neither an absolute path nor the name of a claim"
        )),
    }
}

/// A size as Kubernetes writes it: `500Mi`, `10Gi`, `1G`.
fn is_quantity(text: &str) -> bool {
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    unit.len() < text.len()
        && ["", "k", "M", "G", "T", "P", "Ki", "Mi", "Gi", "Ti", "Pi"].contains(&unit)
        && text.bytes().any(|digit| (b'1'..=b'9').contains(&digit))
}

impl fmt::Display for VolumeWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::HostPath(path) => f.write_str(path)?,
            Source::Claim(name) => f.write_str(name)?,
            Source::New { name, size } => write!(f, "{name}:{size}")?,
        }
        if self.mount != Self::default_mount(&self.source) {
            write!(f, ":{}", self.mount)?;
        }
        match self.read_only {
            true => f.write_str(":ro"),
            false => Ok(()),
        }
    }
}

impl TryFrom<String> for VolumeWish {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<VolumeWish> for String {
    fn from(wish: VolumeWish) -> Self {
        wish.to_string()
    }
}
