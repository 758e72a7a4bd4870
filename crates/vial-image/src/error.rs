//! What can go wrong with node images, each with the next step as a hint.

use std::io;
use std::path::{Path, PathBuf};

use crate::Digest;
use crate::debian::DebianError;

/// Shorthand.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Something that could not be done with a node image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory could not be used.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// `read`, `create`, `rename`, …
        operation: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No image of that name.
    #[error("no node image `{reference}`")]
    NotFound {
        /// As given.
        reference: String,
        /// Names that look like it; all names when none does.
        near: Vec<String>,
    },
    /// An archive or a layout does not have that image.
    #[error("there is no node image `{reference}` in it")]
    NotInside {
        /// Which one was asked for.
        reference: String,
        /// What it has.
        there: Vec<String>,
    },
    /// Not a `NAME:TAG`.
    #[error("`{reference}` is not an image name: {reason}")]
    BadReference {
        /// As given.
        reference: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Clusters stand on it.
    #[error("node image `{reference}` is in use")]
    InUse {
        /// Which image.
        reference: String,
    },
    /// A blob is missing, cut short or altered.
    #[error("blob {digest} of node image `{reference}` is damaged: {reason}")]
    DamagedBlob {
        /// Which image was looked at.
        reference: String,
        /// The blob's name.
        digest: Digest,
        /// `is missing`, `has 12 bytes instead of 40`, `has digest …`.
        reason: String,
    },
    /// A file of an unpacked layer is not as its blob has it.
    #[error("the layer `{title}` of node image `{reference}` is damaged: {}: {reason}", path.display())]
    DamagedLayer {
        /// Which image was looked at.
        reference: String,
        /// What the layer is for.
        title: String,
        /// Which file.
        path: PathBuf,
        /// `it is missing`, `its content differs`.
        reason: String,
    },
    /// A file of the store is not what it should be.
    #[error("{} is damaged", path.display())]
    DamagedFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An archive cannot be unpacked.
    #[error("cannot unpack {archive}: {reason}")]
    BadArchive {
        /// Which archive.
        archive: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file system is too full.
    #[error("not enough space in {}: {} MB needed, {} MB free", path.display(), needed / 1_000_000, free / 1_000_000)]
    NoSpace {
        /// On which file system.
        path: PathBuf,
        /// Bytes.
        needed: u64,
        /// Bytes.
        free: u64,
    },
    /// A Kubernetes version that vial has no components for.
    #[error("kubernetes `{version}` is not supported")]
    UnsupportedKubernetes {
        /// As given.
        version: String,
        /// What is.
        supported: Vec<String>,
    },
    /// The chosen source lacks something.
    #[error("cannot get {component} from {origin}: {reason}")]
    Component {
        /// `kube-apiserver`.
        component: String,
        /// A directory, an address or `go`.
        origin: String,
        /// Why.
        reason: String,
    },
    /// A download is not what its checksum says.
    #[error("{file} does not match its sha256: expected {expected}, got {actual}")]
    Mismatch {
        /// Its address.
        file: String,
        /// Hexadecimal.
        expected: String,
        /// Hexadecimal.
        actual: String,
    },
    /// Something could not be fetched.
    #[error("cannot fetch {url}")]
    Fetch {
        /// Its address.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A program that the build runs failed.
    #[error("{program} failed ({status}):\n{output}")]
    Program {
        /// What was run.
        program: String,
        /// How it ended.
        status: String,
        /// Its last lines.
        output: String,
    },
    /// A program that the build needs is not there.
    #[error("cannot run `{program}`")]
    NoProgram {
        /// Its name.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Virtual machines cannot be started from it.
    #[error("cannot start a virtual machine from {what}: {reason}")]
    NoMachine {
        /// ``node image `vial/node:v1.36.3` ``, `kernel 6.12`, a file.
        what: String,
        /// What it lacks.
        reason: String,
    },
    /// A file is no kernel for virtual machines, or a directory has not the modules of one.
    #[error("{path} is no kernel for virtual machines: {reason}")]
    NoKernel {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The Debian part of a build failed.
    #[error("cannot make the debian root file system")]
    Debian(#[source] Box<DebianError>),
    /// A thread of the build ended early.
    #[error("a build step was cancelled")]
    Cancelled,
}

impl Error {
    /// What to do next, when it is known.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotFound { near, .. } if near.is_empty() => "there is none yet; `vial node-image build` makes one".into(),
            Self::NotFound { near, .. } => format!("there is {}; `vial node-image build` makes another", near.join(", ")),
            Self::NotInside { there, .. } => format!("there is {}", there.join(", ")),
            Self::BadReference { .. } => "write it as NAME:TAG, for example vial/node:v1.36.3".into(),
            Self::InUse { .. } => "`vial down` the clusters that use it first (`vial ls` lists them)".into(),
            Self::DamagedBlob { reference, .. } => format!("build it again: `vial node-image build{}`, with the flags it was built with; only what is damaged is made anew", tag_flag(reference)),
            Self::DamagedLayer { .. } => "the next `vial up` or `vial node-image build` unpacks it anew; `vial down` clusters that run from it".into(),
            Self::DamagedFile { .. } => "remove it and run `vial node-image build`".into(),
            Self::NoSpace { .. } => "free some space there, or set VIAL_HOME to a directory on another disk; `vial node-image rm` frees images that are not needed".into(),
            Self::UnsupportedKubernetes { supported, .. } => format!("supported: {}; another version can be built from your own binaries with --k8s-bin DIR", supported.join(", ")),
            Self::Component { .. } => "`--source go` builds it from its Go module".into(),
            Self::Mismatch { .. } => "the file was refused; try again, or use another --release-url, or `--source go`".into(),
            Self::Fetch { .. } => "check the network, or use `--source go` or `--k8s-bin DIR`".into(),
            Self::NoProgram { program, .. } if program == "go" => "install Go 1.26 or newer (https://go.dev/dl), or use `--source release`".into(),
            Self::NoMachine { .. } => "`vial node-image build` without --no-vm puts a kernel and QEMU in".into(),
            Self::NoKernel { .. } => "`--kernel` is a bzImage or an uncompressed ELF kernel for x86-64, `--modules` the directory with its modules.dep".into(),
            Self::Debian(error) => return debian_hint(error),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => "free some space there, or set VIAL_HOME to a directory on another disk".into(),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => "run it as root".into(),
            _ => return None,
        })
    }
}

/// How a build is told the name of this image.
fn tag_flag(reference: &str) -> String {
    if reference.starts_with("sha256:") {
        String::new()
    } else {
        format!(" -t {reference}")
    }
}

fn debian_hint(error: &DebianError) -> Option<String> {
    Some(match error {
        DebianError::Download { .. } | DebianError::Status { .. } => {
            "check the network, or name another archive with --mirror URL; what was fetched is kept"
                .into()
        }
        DebianError::NoSuite { .. } => {
            "--suite takes a name like trixie, bookworm, stable or sid, as they stand below dists/ of the archive".into()
        }
        DebianError::NoPackage { near, .. } if near.is_empty() => {
            "https://packages.debian.org finds packages by what is in them".into()
        }
        DebianError::NoPackage { near, .. } => format!("did you mean {}?", near.join(" or ")),
        DebianError::BadPackage { .. } => {
            "write it as in a Depends field, for example nginx or 'nginx (>= 1.26)'".into()
        }
        DebianError::Signature { .. } => {
            "the file was refused; another archive may be signed with other keys: --keyring FILE"
                .into()
        }
        DebianError::Mismatch { .. } => {
            "the file was refused; try again later, or name another archive with --mirror URL"
                .into()
        }
        DebianError::Expired { .. } => {
            "--allow-expired accepts it; its signature is checked all the same".into()
        }
        DebianError::Unsatisfied { .. }
        | DebianError::Conflict { .. }
        | DebianError::Unsettled { .. } => "try another --suite, or --refresh".into(),
        DebianError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
            "free some space there, or set VIAL_HOME to a directory on another disk".into()
        }
        DebianError::Chroot { .. } => {
            "run it as root, on a kernel with mount and pid namespaces (`vial doctor`)".into()
        }
        _ => return None,
    })
}

/// Adds operation and object to an [`io::Error`].
pub(crate) trait IoContext<T> {
    fn at(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn at(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::Io {
            operation,
            path: path.as_ref().to_path_buf(),
            source,
        })
    }
}

impl<T> IoContext<T> for std::result::Result<T, rustix::io::Errno> {
    fn at(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(io::Error::from).at(operation, path)
    }
}
