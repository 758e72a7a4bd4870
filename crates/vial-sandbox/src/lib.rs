//! The makers of sandboxes: make, end, dial, listen.
//!
//! A sandbox is one sealed place that holds a whole cluster. The keeper makes and finds it through a [`Maker`] and
//! reaches into it through a [`Sandbox`]; neither says how it is done. There are two makers: `namespace` (pid, mount,
//! network, uts, ipc and cgroup namespaces) and `machine` (one virtual machine of QEMU, which needs no right at all);
//! [`AnyMaker`] is both.
//!
//! What lives inside sees the same paths whichever maker made it: see [`inside`].

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use vial_rpc::Channel;

mod any;
mod door;
mod ended;
mod errors;
mod guest;
mod machine;
mod namespace;
pub mod outside;
mod pid_file;
mod running;
mod socket;

pub use any::AnyMaker;
pub use door::agent;
pub use machine::{FILES as MACHINE_FILES, MachineMaker, hold};
pub use namespace::NamespaceMaker;
pub use socket::{Connection, Datagrams, Listener};
pub use vial_net::{Families, Uplinks};
pub use vial_qemu::frozen::After;

/// Paths inside every sandbox.
pub mod inside {
    /// The node image store, read-only.
    pub const IMAGES: &str = "/vial/images";
    /// The cluster's own directory, writable.
    pub const CLUSTER: &str = "/vial/cluster";
    /// The cluster's run directory, writable: `init.sock`, `agents/CONTAINER/agent.sock`.
    pub const RUN: &str = "/vial/run";
    /// Host paths a person asked to see: the Nth extra mount is `/vial/mounts/N` (from 0).
    pub const MOUNTS: &str = "/vial/mounts";
    /// The static vial binary.
    pub const PROGRAM: &str = "/vial/bin/vial";
    /// Only where the sandbox is a machine: the root of the node image, with all of its layers in one, read-only.
    pub const IMAGE: &str = "/vial/image";
}

/// What a maker needs to know.
#[derive(Debug, Clone)]
pub struct SandboxSpec {
    /// The cluster's name: names the cgroup and the host name of the sandbox.
    pub name: String,
    /// On the host, bound at [`inside::IMAGES`].
    pub images_dir: PathBuf,
    /// On the host, bound at [`inside::CLUSTER`].
    pub cluster_dir: PathBuf,
    /// On the host, bound at [`inside::RUN`]: `/run/vial/NAME`.
    pub run_dir: PathBuf,
    /// The static vial binary on the host, bound at [`inside::PROGRAM`].
    pub program: PathBuf,
    /// Host paths bound at `/vial/mounts/N`: path and whether read-only.
    pub mounts: Vec<(PathBuf, bool)>,
    /// The machine that it is made as; `None`: of namespaces.
    pub machine: Option<MachineSpec>,
}

/// A sandbox that is a virtual machine. What its guest is told lies in its initramfs, which whoever plans it has written.
#[derive(Debug, Clone)]
pub struct MachineSpec {
    /// Has `kernel`, `initrd`, and the raw disks `root`, `program` (read-only) and `data`.
    pub files: PathBuf,
    /// The QEMU that runs it.
    pub qemu: vial_qemu::Program,
    /// For `-accel`.
    pub accelerator: String,
    /// Of the kernel, without the console.
    pub command_line: String,
    /// Virtual processors.
    pub cpus: u32,
    /// Memory of the guest, in bytes.
    pub memory: u64,
    /// Where it was frozen ([`Sandbox::freeze`]), to go on from there; `None`: it starts.
    pub frozen: Option<PathBuf>,
}

/// Something that could not be done to or in a sandbox.
#[derive(Debug, thiserror::Error)]
#[error("{operation} ({sandbox})")]
pub struct SandboxError {
    /// What was tried: "cannot make the sandbox".
    pub operation: String,
    /// Which cluster's.
    pub sandbox: String,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Makes and finds sandboxes of one kind.
pub trait Maker: Send + Sync {
    /// Makes a sandbox; on failure nothing of it is left.
    fn make<'a>(
        &'a self,
        spec: &'a SandboxSpec,
    ) -> BoxFuture<'a, Result<Box<dyn Sandbox>, SandboxError>>;
    /// Finds the living sandbox of an earlier [`make`](Maker::make), also from another process; `None` when its first process is gone.
    fn find<'a>(
        &'a self,
        spec: &'a SandboxSpec,
    ) -> BoxFuture<'a, Result<Option<Box<dyn Sandbox>>, SandboxError>>;
    /// Removes what the kernel does not clean up by itself once the first process is gone (cgroup directories, pid file); idempotent.
    fn sweep<'a>(&'a self, spec: &'a SandboxSpec) -> BoxFuture<'a, Result<(), SandboxError>>;
}

/// Whose network a socket belongs to: what it can reach, and from which address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network<'a> {
    /// The sandbox's own, on the bridge of the management network: reaches nodes and pods as another machine would.
    /// Addresses of Services mean nothing here, since kube-proxy's rules are on the nodes.
    Management,
    /// That of a node, by its name: reaches Services too, and the node's own loopback addresses.
    Node(&'a str),
}

/// A way out of a sandbox: connections are carried in user space, over sockets of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    /// The root file system on the host that has the program which carries them (pasta(1)).
    pub root: PathBuf,
    /// By which families.
    pub families: Families,
    /// An interface of the host that leads there.
    pub interface: String,
}

/// A living sandbox, seen from outside.
pub trait Sandbox: Send + Sync {
    /// gRPC to its first process (`vial_rpc::init_client::InitClient`).
    fn init(&self) -> BoxFuture<'_, Result<Channel, SandboxError>>;
    /// gRPC to the agent of a container: `w-1.node` (`vial_rpc::agent_client::AgentClient`).
    fn agent<'a>(&'a self, container: &'a str) -> BoxFuture<'a, Result<Channel, SandboxError>>;
    /// gRPC to what listens at a unix socket of a container's own file system: containerd, at
    /// `/run/containerd/containerd.sock` of `w-1.node`.
    fn socket<'a>(
        &'a self,
        container: &'a str,
        path: &'a str,
    ) -> BoxFuture<'a, Result<Channel, SandboxError>>;
    /// A TCP connection to `address`, as from inside `from`.
    fn dial<'a>(
        &'a self,
        from: Network<'a>,
        address: SocketAddr,
    ) -> BoxFuture<'a, Result<Connection, SandboxError>>;
    /// A TCP listener at an address inside `at`.
    fn listen<'a>(
        &'a self,
        at: Network<'a>,
        address: SocketAddr,
    ) -> BoxFuture<'a, Result<Listener, SandboxError>>;
    /// A UDP socket bound inside `at`.
    fn bind_udp<'a>(
        &'a self,
        at: Network<'a>,
        address: SocketAddr,
    ) -> BoxFuture<'a, Result<Datagrams, SandboxError>>;
    /// Lets what is inside reach what the host reaches, by [`Outside`]; what does so already is taken over. It goes on
    /// when nobody waits here any more, and ends with the sandbox at the latest. Resolves when it has ended.
    fn open_outside<'a>(&'a self, outside: &'a Outside) -> BoxFuture<'a, Result<(), SandboxError>>;
    /// Ends the way out; fine when there is none.
    fn close_outside(&self) -> BoxFuture<'_, Result<(), SandboxError>>;
    /// Halts all that is in it; it keeps its memory and takes no processor time. Fine when it is halted.
    fn pause(&self) -> BoxFuture<'_, Result<(), SandboxError>>;
    /// Lets all go on that was halted, also by a freeze that was cut. Fine when nothing was.
    fn resume(&self) -> BoxFuture<'_, Result<(), SandboxError>>;
    /// Writes all that is in it to files of a directory: every process with its memory. Afterwards it goes on, as it does when
    /// this fails; or it is halted, and to be ended. Only a sandbox that is a machine can be frozen as a whole.
    fn freeze<'a>(
        &'a self,
        into: &'a Path,
        after: After,
    ) -> BoxFuture<'a, Result<(), SandboxError>>;
    /// The pid of its first process on the host.
    fn pid(&self) -> u32;
    /// Ends it and everything in it, then sweeps; returns when nothing is left.
    fn end(&self) -> BoxFuture<'_, Result<(), SandboxError>>;
    /// Resolves when its first process is gone, for whatever reason.
    fn ended(&self) -> BoxFuture<'_, ()>;
}
