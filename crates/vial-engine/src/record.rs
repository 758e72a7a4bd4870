//! What vial remembers of a cluster: `cluster.json`, written whole and atomically before each act it announces.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use vial_spec::ClusterSpec;
use vial_spec::port::PortForward;

use crate::paths::{Paths, private_dir};
use crate::{Error, Result};

/// How far the last operation on a cluster came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Journal {
    /// An `up` began; until it ends the cluster may be anything between nothing and whole.
    Creating,
    /// The last `up` ended well.
    Up,
    /// A `down` began: only a `down` may go on.
    Deleting,
}

/// One cluster, as remembered on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The cluster's name.
    pub name: String,
    /// Changes with every creation.
    pub uid: String,
    /// RFC 3339.
    pub created: String,
    /// How far it came.
    pub journal: Journal,
    /// The wanted state of the last `up`.
    pub spec: ClusterSpec,
    /// The node image at creation; a later image of the same name does not touch this cluster.
    pub image_digest: String,
    /// `v1.36.3`.
    pub kubernetes: String,
    /// The loopback port of the API, for the cluster's life.
    pub api_port: u16,
    /// The loopback port of the registry, for the cluster's life.
    pub registry_port: u16,
    /// Forwarded ports: those of the specification, and those added since.
    #[serde(default)]
    pub ports: Vec<OpenPort>,
    /// Nodes that were stopped by command: they stay so until they are started by command.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub stopped: BTreeSet<String>,
    /// The template that it went on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// It was halted by command: it stays so until it is resumed by command.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
}

/// A forwarded port, as it was asked for and where it is, for the cluster's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenPort {
    /// What was asked for; its port may be 0.
    pub forward: PortForward,
    /// The port of the host, chosen when 0 was asked for.
    pub port: u16,
}

impl OpenPort {
    /// With the port it has.
    #[must_use]
    pub fn resolved(&self) -> PortForward {
        PortForward {
            port: self.port,
            ..self.forward.clone()
        }
    }
}

impl Record {
    /// Reads a cluster's record; `None` when there is no such cluster.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn load(paths: &Paths, name: &str) -> Result<Option<Self>> {
        let path = paths.cluster_dir(name).join("cluster.json");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("read", &path)(error)),
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| Error::Damaged { path, source })
    }

    /// Writes it, replacing the earlier one atomically.
    ///
    /// # Errors
    /// When the directory or the file cannot be written.
    pub fn save(&self, paths: &Paths) -> Result<()> {
        let dir = paths.cluster_dir(&self.name);
        private_dir(&dir).map_err(Error::file("make", &dir))?;
        let path = dir.join("cluster.json");
        let json = serde_json::to_vec_pretty(self).map_err(|source| Error::Damaged {
            path: path.clone(),
            source,
        })?;
        write_private(&path, &json)
    }
}

/// Names of all clusters on disk, sorted; also those whose record is damaged.
///
/// # Errors
/// When the directory cannot be read.
pub fn names(paths: &Paths) -> Result<Vec<String>> {
    let dir = paths.clusters_dir();
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file("read", &dir)(error)),
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        // Whatever else lies there (`lost+found`) is no cluster.
        .filter(|name| vial_spec::names::check_cluster(name).is_ok())
        .collect();
    names.sort();
    Ok(names)
}

/// Writes a file that only its owner may read, atomically: a reader sees the old content or the new one.
pub fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let aside = Path::new(&aside);
    let write = || -> std::io::Result<()> {
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(aside)?;
        file.write_all(content)?;
        file.sync_data()?;
        fs::rename(aside, path)
    };
    write().map_err(Error::file("write", path))
}
