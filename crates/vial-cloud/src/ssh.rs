//! What OpenSSH on this machine has to know to find pods by their names.
//!
//! ```text
//! ~/.ssh/config                    first line: Include ~/.ssh/vial/config      (asked for: `vial ssh-config --install`)
//! ~/.ssh/vial/
//!   config                         includes all of the following
//!   names                          `ssh NAME`, where only one pod is called so; who is meant, where several are
//!   contexts/CONTEXT.conf          pods of other clusters                      (written by every vial pod command)
//!   contexts/CONTEXT.known_hosts
//!   id_ed25519                     opens them all
//! $VIAL_HOME/ssh/UID/CLUSTER/
//!   pods, pods_known_hosts         pods of a cluster of this machine           (written by its keeper)
//!   config                         its nodes
//! ```
//! A pod is called `NAME.NAMESPACE.CONTEXT.vial`, and `NAME.CONTEXT.vial` and `NAME` where nothing else is. Whoever wrote
//! names of a place has [`Home::settle`] put the short ones together anew.
//!
//! | what | where |
//! |---|---|
//! | the text of a place's configuration | [`config`], pure |
//! | short names and clashes | [`names`], pure |
//! | words of ssh and of shells | [`quote`], pure |
//! | `~/.ssh/vial` | [`Home`] |
//! | the line in `~/.ssh/config` | [`install`], pure |
//! | files of a person, written as that person | [`Who`] |

pub mod config;
mod files;
mod home;
pub mod install;
pub mod names;
pub mod quote;
mod who;

pub use files::put;
pub use home::{Home, Installed};
pub use who::Who;
