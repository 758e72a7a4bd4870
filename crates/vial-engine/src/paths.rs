//! Where a cluster's files lie.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use vial_image::load::ImageStore;

/// Where clusters and images lie unless the environment says otherwise.
const DEFAULT_HOME: &str = "/var/lib/vial";
/// Where sockets lie unless the environment says otherwise.
const DEFAULT_RUN: &str = "/run/vial";

/// The two roots: what is kept (`$VIAL_HOME`) and what dies with the machine (`$VIAL_RUN`).
#[derive(Debug, Clone)]
pub struct Paths {
    /// `$VIAL_HOME`, by default `/var/lib/vial`.
    pub home: PathBuf,
    /// `$VIAL_RUN`, by default `/run/vial`.
    pub run: PathBuf,
}

impl Paths {
    /// The roots that the environment names, or the defaults.
    #[must_use]
    pub fn from_env() -> Self {
        let of = |variable, default: &str| {
            std::env::var_os(variable)
                .filter(|value| !value.is_empty())
                .map_or_else(|| default.into(), PathBuf::from)
        };
        Self {
            home: of("VIAL_HOME", DEFAULT_HOME),
            run: of("VIAL_RUN", DEFAULT_RUN),
        }
    }

    /// The roots of a machine whose environment names none.
    #[must_use]
    pub fn default_roots() -> Self {
        Self {
            home: DEFAULT_HOME.into(),
            run: DEFAULT_RUN.into(),
        }
    }

    /// All clusters' directories.
    #[must_use]
    pub fn clusters_dir(&self) -> PathBuf {
        self.home.join("clusters")
    }

    /// One cluster's directory: record, keys, disks of its nodes.
    #[must_use]
    pub fn cluster_dir(&self, name: &str) -> PathBuf {
        self.clusters_dir().join(name)
    }

    /// What is in one cluster's registry.
    #[must_use]
    pub fn registry_dir(&self, name: &str) -> PathBuf {
        self.cluster_dir(name).join("registry/data")
    }

    /// The container images that were loaded into a cluster.
    #[must_use]
    pub fn image_store(&self, name: &str) -> ImageStore {
        ImageStore::at(self.cluster_dir(name).join("images"))
    }

    /// The node images.
    #[must_use]
    pub fn images_dir(&self) -> PathBuf {
        self.home.join("images")
    }

    /// What was pulled from public registries, for all clusters.
    #[must_use]
    pub fn registry_cache(&self) -> PathBuf {
        self.home.join("cache/registry")
    }

    /// Whether this host runs virtual machines by KVM, as was last seen.
    #[must_use]
    pub fn accelerator(&self) -> PathBuf {
        self.home.join("cache/accelerator.json")
    }

    /// One cluster's sockets and pids.
    #[must_use]
    pub fn run_dir(&self, name: &str) -> PathBuf {
        self.run.join(name)
    }

    /// Held by whoever owns the cluster's state: its keeper, or somebody who sweeps. It lies beside the cluster's
    /// directory, not in the run directory, so that two run directories over one home do not mean two owners.
    #[must_use]
    pub fn lock_file(&self, name: &str) -> PathBuf {
        self.clusters_dir().join(format!("{name}.lock"))
    }

    /// What the cluster's sandbox is called on this machine. Homes other than the default one add a mark of their own,
    /// since cgroups are named by it and two homes may have clusters of one name.
    #[must_use]
    pub fn sandbox_name(&self, name: &str) -> String {
        if self.home == Path::new(DEFAULT_HOME) {
            return name.to_owned();
        }
        let digest = Sha256::digest(self.home.as_os_str().as_encoded_bytes());
        let mark: String = digest
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("{name}-{mark}")
    }

    /// Where the keeper answers.
    #[must_use]
    pub fn keeper_socket(&self, name: &str) -> PathBuf {
        self.run_dir(name).join("keeper.sock")
    }

    /// Where the agent of a container (`w-1.node`) answers.
    #[must_use]
    pub fn agent_socket(&self, name: &str, container: &str) -> PathBuf {
        agent_socket_below(&self.run_dir(name), container)
    }
}

/// Makes a directory, and those above it, that only its owner may enter; fine when it is there.
///
/// # Errors
/// When it cannot be made.
pub fn private_dir(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// The socket of a container's agent below a run directory, on the host or as seen in the sandbox.
pub(crate) fn agent_socket_below(run: &Path, container: &str) -> PathBuf {
    run.join("agents").join(container).join("agent.sock")
}
