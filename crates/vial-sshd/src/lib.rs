//! The small ssh server that vial puts into pods: any image, keys only, nothing of the image changed but a user added.
//!
//! One static program in several roles, taken from the name it is called by. The vial binary has all of them; the
//! program of this crate has nothing else, and is the one for pods: built for release it has 10 MB and idles at 5 MB of
//! memory, where the vial binary, for its sheer size, maps three times as much.
//!
//! | called as | is |
//! |---|---|
//! | `vial-sshd` | the server: [`main`] |
//! | `vial-sftp` | the server of one file transfer, started by the first: [`sftp_main`] |
//! | `sudo` | root's rights for the pod's user, asked from the first: [`sudo_main`] |
//!
//! ```text
//!  person's ssh ──TCP──► server (accepts, ends) ──► connection (what russh reports)
//!                          │ reaper (all children)     ├ auth: authorized_keys, certificates ──► what a login may do
//!                          │ entry (the container's    ├ session: a command with pipes or a terminal
//!                          │   own entry point)        ├ forward: -L, -R, -D, -J, agent
//!                          │ sudo (service)            └ inbound: queues and windows of all channels
//!                          └ users, shell, tools, environment: what the image has, and lacks
//! ```
//! As `vial-sshd` it does two things more, for those who fill and try out pods: `install` and `ping`.
//!
//! # In a pod
//! - **Files.** `/vial/bin/vial-sshd` (or the vial binary by that name), beside it, where wanted, `sudo` (a link to it)
//!   and `busybox` (static), and `applets/` (links to busybox). Links that are missing are made, beside it or in
//!   `/run/vial-sshd` or `/tmp/.vial-sshd`. The volume must let programs be executed, and may be read-only.
//! - **Keys.** `/vial/keys/ssh_host_*_key`, `/vial/keys/authorized_keys`, and `/vial/keys/user_ca.pub` if certificates are
//!   to be good. Permissions are not judged: a Secret with mode 0400 (root), or 0440 with an `fsGroup`, will do.
//!   authorized_keys and user_ca.pub are read at every login, so they may change; host keys are read once.
//! - **Command.** `/vial/bin/vial-sshd --user NAME [--shell PATH] [-- ENTRYPOINT ARGS…]` as the container's command: the
//!   server is PID 1, starts the image's entry point with its environment and directory, sends it SIGTERM, SIGINT,
//!   SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2, reaps every orphan, and ends with its code. Without `--` it is the container's
//!   only process, or one beside others, and ends with 0 at SIGTERM. Sessions have the container's environment.
//!   Where another program is PID 1, `/vial/bin/vial-sshd --detach …` as a postStart hook: it returns 0 when clients are
//!   taken, else 1 or 2 with the reason on stderr. The server goes on in a session of its own, takes what its sessions
//!   leave behind, logs to PID 1's output (or nowhere, where that cannot be opened), and ends with the container. One
//!   more `--detach` with the same port does nothing and returns 0.
//! - **Filled** by `vial-sshd install /vial/bin` in an init container, of an image that has the two programs; as any user
//!   that may write to the volume, as often as it likes.
//! - **Removed** at a time: with `--expires` whoever is at a terminal is told 10 minutes and 1 minute before, and at
//!   login in the last hour.
//! - **Neighbours.** `vial-sshd ping --json TARGET…` says whether others answer, a line of JSON for each target: `target`,
//!   `sent`, `received`, `min_us`, `avg_us`, `max_us` (microseconds, or null), `how` (`icmp` or `tcp`), `error`.
//! - **Ready** when the port takes connections (a `tcpSocket` probe; such probes are not logged), which is also said in the
//!   line `listening on ADDRESS`.
//! - **Exit codes.** 0 after SIGTERM, 1 cannot serve (the line before says why), 2 wrong arguments; the entry point's own,
//!   128 + signal, 127 when it is not there, 126 when it cannot be executed.
//! - **User.** Root: logins as root and as `--user`, which is made (numbers, home, group, a rule for the image's own sudo)
//!   where /etc can be written, and exists in memory where not. Not root: logins are as the own number only, under
//!   `--user NAME` or its name in /etc/passwd or the number itself; there is no `sudo`, and ports below 1024 need
//!   `net.ipv4.ip_unprivileged_port_start` (containerd sets it to 0) or `--port`. Nothing has to be writable.
//! - **Capabilities** as root: SETUID, SETGID (sessions of the user), CHOWN, DAC_OVERRIDE, KILL: all in the default set.
//!   `allowPrivilegeEscalation: false` is no hindrance to `sudo`.
//!
//! # Invariants
//! - Nothing waits for a slow client but what serves it, and nothing grows with one ([`inbound`], `session/process.rs`).
//! - Everything of a connection ends with it: tasks, listeners, sockets' files.
//! - Only the [`reaper`] waits for processes.
//! - No name service modules: users are read from files, hosts are asked from DNS ([`forward`]).
//!
//! # Deliberately absent
//! Passwords, X11, compression, tunnels of packets, `~/.ssh/rc`, login records, a configuration file.

mod algorithms;
mod args;
mod auth;
mod calendar;
mod connection;
mod descriptor;
mod detach;
mod entry;
mod environment;
mod expiry;
mod forward;
mod host_keys;
mod inbound;
mod install;
mod ping;
mod reaper;
mod server;
mod session;
mod sftp;
mod shell;
mod site;
mod sudo;
mod terminal;
mod tools;
mod users;

use std::process::ExitCode;

/// The parsers of what others write, for fuzzing: they take anything, and touch nothing.
pub mod parsers {
    /// Lines of authorized_keys.
    pub fn authorized_keys(text: &str) {
        crate::auth::parse_authorized_keys(text);
    }

    /// A list of address patterns.
    pub fn address_patterns(list: &str, address: std::net::IpAddr) -> bool {
        crate::auth::address_matches(list, address)
    }

    /// /etc/passwd and /etc/group.
    pub fn users(passwd: &str, group: &str, name: &str) {
        crate::users::Database::new(passwd, group).find(name);
    }

    /// A packet of a file transfer.
    pub fn sftp(packet: &[u8]) {
        crate::sftp::understand(packet);
    }

    /// A time, as `--expires` takes it.
    pub fn time(text: &str) {
        // Both are answers.
        let _ = text.parse::<crate::calendar::Instant>();
    }

    /// What `ping` is to ask.
    pub fn target(text: &str) {
        if let Ok(target) = text.parse::<crate::ping::Target>() {
            let again = target.to_string().parse();
            assert_eq!(again, Ok(target), "{text:?}");
        }
    }

    /// What answers an echo of `ping`, on a raw socket too.
    pub fn echo(packet: &[u8]) {
        crate::ping::sequence(crate::ping::Family::V4, packet, 0);
        crate::ping::sequence(crate::ping::Family::V6, packet, 0);
    }

    /// A request of `sudo`.
    pub fn sudo(bytes: &[u8]) {
        crate::sudo::Request::decode(bytes);
    }
}

/// Runs the server with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    server::main()
}

/// Serves one file transfer on standard input and output.
#[must_use]
pub fn sftp_main() -> ExitCode {
    sftp::main()
}

/// Runs a command as root, or as somebody else, through the server of this container.
#[must_use]
pub fn sudo_main() -> ExitCode {
    sudo::main()
}
