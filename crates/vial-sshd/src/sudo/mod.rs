//! Root's rights for the user of a pod, in images without sudo and without setuid programs.
//!
//! A session of `--user` cannot become root by itself, and must not need to: `no_new_privs` and `nosuid` take setuid
//! programs away, and a setuid one of ours would serve every other user of the image, too. So `sudo` (this program by
//! another name) asks the server, which is root, over an abstract unix socket:
//!
//! ```text
//!  sudo: options (pure) ──request, stdin, stdout, stderr──► server: who asks? (SO_PEERCRED: the pod's user, or root)
//!        its terminal raw  ◄── a terminal of its own ────     └─► the command, as root or -u USER
//!        signals, sizes, keys ─────────────────────────►      ◄── ends
//!        exits with its code ◄──────────────────────────
//! ```
//! Where one of the three is a terminal, the command gets a new one, and `sudo` carries bytes between both, as sudo's
//! `use_pty` does: a process cannot be given somebody else's controlling terminal. Others are handed over as they are.
//! When `sudo` is killed, the command is hung up. For somebody who is root already, no server is asked.

mod client;
mod options;
mod passing;
mod request;
mod server;
mod target;

pub(crate) use client::main;
pub(crate) use request::Request;
pub(crate) use server::Service;
