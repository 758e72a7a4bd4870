//! Debian: verified packages from an archive, and root file systems made of them.
//!
//! ```text
//! Suite ─ InRelease (OpenPGP) ─ Packages (SHA256) ─┐
//!                                                  ├─ resolve ─► Lock ─ fetch ─► cache of .deb (SHA256) ─ rootfs ─► directory
//! PackageList (wanted names) ──────────────────────┘
//! ```
//!
//! The caller keeps the [`Lock`]: its digest says whether a layer has to be built anew, and with it everything after
//! `lock` works without asking the archive what is new. Nothing of Debian's tools is needed on the host: archives, indices
//! and packages are read here, and dpkg runs only inside the new root, in namespaces of its own.
//!
//! # Invariants
//! - What was not verified is never parsed further than verifying takes, never kept under its final name, never unpacked.
//! - The same lock gives the same tree.

pub mod archive;
mod control;
mod deb;
mod error;
mod fetch;
pub mod keyring;
pub mod lists;
mod lock;
mod progress;
mod relation;
mod release;
pub mod resolve;
pub mod rootfs;
mod version;

pub use archive::{MIRROR, SECURITY_MIRROR, Suite};
pub use control::{Package, Priority};
pub use error::DebianError;
pub use keyring::Keyring;
pub use lists::PackageList;
pub use lock::{Lock, LockedPackage, fetch, lock};
pub use progress::{Progress, Report};
pub use relation::{AnyOf, Operator, Relation};
pub use version::Version;
