//! Node images: component sources, Debian root file system, layers, OCI store.
//!
//! A *node image* is everything a node needs, as one OCI image in a local OCI layout: a Debian base, one small layer
//! per component, and a layer with container images as a ready containerd root. It is built once; every later
//! `vial up` only mounts it.
//!
//! ```text
//!   components ──┐                                         ┌─ blobs/sha256/…      (pushable, verifiable)
//!   debian ──────┼─► layers (cached by input digest) ─► Store ─ index.json         (NAME:TAG → manifest)
//!   containers ──┘                                         └─ unpacked/…          (what overlayfs mounts)
//! ```
//!
//! # Invariants
//! - Nothing in the store changes in place: every file and directory is made aside and renamed.
//! - The same inputs give the same digest: no time, no path and no order of the building machine enters a layer.
//! - Only [`Store`] writes below `$VIAL_HOME/images`, and only under its lock.
//!
//! # Deliberately absent
//! No `Dockerfile`, no container engine, no running of containerd while building: container images are put into
//! their containerd root by a small program linked with containerd's own libraries (`components/image-root`).

mod base;
mod build;
mod choice;
mod components;
mod containers;
pub mod debian;
pub mod debian_image;
mod digest;
mod disk;
mod error;
mod image;
mod layer;
mod layout;
pub mod load;
pub mod machine;
pub mod means;
mod oci;
mod options;
mod sbom;
mod store;

/// What an HTTP client does TLS with. Another part of the program may have chosen already; any will do.
fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

pub use build::build;
pub use components::{SUPPORTED, Supported, build_extra, supported};
pub use digest::{Digest, Hasher, ParseDigestError};
pub use error::{Error, Result};
pub use image::{ComponentRecord, ImageSummary, Layer, NodeImage, Reference};
pub use options::{BuildOptions, Progress, Source};
pub use store::{Store, Swept};
