//! Pods that one can log in to, on any Kubernetes that a kubeconfig names.
//!
//! A *pod of vial* is plain Kubernetes: a Service (the root, which owns all others), a Deployment of one replica, a Secret
//! with the host key, and what was asked for beside it. Nothing of vial has to run for it to live.
//!
//! ```text
//!  options ──plan──► objects ──apply──► Service ─owns─► Secret, Deployment, … ──► ReplicaSet ──► Pod
//!                                          │                                         (comes back fresh)
//!                                          └ address, host key and annotations outlive every Pod
//! ```
//! | module | what it owns |
//! |---|---|
//! | [`words`] | labels, annotations, names of objects |
//! | [`Cloud`] | a client of the API, and what is known of its cluster |
//! | [`execute`] | making, waiting, removing |
//! | [`names`] | names, ranges of names, globs |
//! | [`plan`] | from what was asked for to objects; pure |
//! | [`pods`] | the pods of vial as they are now, and as they change |
//! | [`expiry`] | pods that were made for a time |
//! | [`forward`] | connections to their ports through the API |
//! | [`mesh`] | whether they reach each other |
//! | [`ssh`] | what OpenSSH on this machine has to know of them |

mod cloud;
mod error;
pub mod execute;
pub mod expiry;
pub mod forward;
pub mod mesh;
pub mod names;
pub mod plan;
pub mod pods;
pub mod ssh;
pub mod words;

pub use cloud::{Cloud, Facts};
pub use error::{Error, Kind, Result};
