//! From a running cluster to a frozen one beside it.

use std::path::Path;
use std::time::Duration;

use futures::future::try_join_all;
use vial_rpc::agent_client::AgentClient;
use vial_rpc::init_client::InitClient;
use vial_rpc::{DumpCopy, DumpReply, DumpRequest, HoldContainersRequest, Status};
use vial_sandbox::{After, inside};
use vial_sys::tree::{Share, replicate};

use super::share::{self, OfNode};
use super::{CLUSTER, DUMP, control_plane, dump_inside, dump_on_host};
use crate::execute::on_host;
use crate::freeze::Cluster;
use crate::paths::private_dir;
use crate::plan::{ContainerPlan, FREEZER, REGISTRY};
use crate::progress::{Progress, Reporter, step};
use crate::{Error, Result};

/// What becomes of its disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disks {
    /// They are copied; what is never written in place is shared.
    Copy,
    /// They stay what they are, for a thaw as the same cluster.
    Leave,
}

/// Everything of a cluster stands still as long as this is not dropped: then it goes on.
pub struct Halted {
    _nodes: Hold<vial_rpc::HoldContainersReply>,
    _control_plane: Hold<DumpReply>,
}

/// What a stream of one message holds as long as it is not dropped.
type Hold<T> = vial_rpc::Streaming<T>;

/// Freezes a cluster into a directory, which exists, is empty, and is on the file system of the clusters. With [`After::GoOn`]
/// the control plane goes on as soon as it is dumped, and the nodes with the drop of what is returned; else all stands still
/// until then.
///
/// # Errors
/// When the control plane is no container, a process cannot be dumped, or there is no space: the cluster goes on, and the
/// caller removes what is in `into`.
pub async fn freeze(
    cluster: Cluster<'_>,
    into: &Path,
    disks: Disks,
    after: After,
    report: &Reporter,
) -> Result<Halted> {
    let control_plane = control_plane(cluster.plan).ok_or_else(|| Error::NotFreezable {
        cluster: cluster.record.name.clone(),
        why: "its control plane is no container of its own".into(),
    })?;
    let others = step(report, None, "halt", "halt the nodes", hold(cluster)).await?;
    let dumping = dump(cluster, control_plane, disks, after);
    let dumped = step(report, None, "dump", "dump the control plane", dumping).await?;
    let (reply, control_plane_hold) = dumped;
    report(Progress::note(format!(
        "the control plane paused for {} ms",
        Duration::from_micros(reply.halted_us).as_millis()
    )));
    take_dump(cluster, control_plane, into)?;
    if disks == Disks::Copy {
        let copying = copy(cluster, control_plane, into);
        step(report, None, "copy", "copy the disks", copying).await?;
    }
    Ok(Halted {
        _nodes: others,
        _control_plane: control_plane_hold,
    })
}

/// Halts every container but the control plane's; they go on with the drop of what is returned.
async fn hold(cluster: Cluster<'_>) -> Result<Hold<vial_rpc::HoldContainersReply>> {
    let nodes = cluster.plan.running().flat_map(|node| &node.containers);
    let containers = nodes.chain([&cluster.plan.registry]);
    let is_held = |one: &&ContainerPlan| {
        let name = one.spec.name.as_str();
        one.guest.is_none() && (name.ends_with(".node") || name == REGISTRY)
    };
    let names = containers.filter(is_held).map(|one| one.spec.name.clone());
    let request = HoldContainersRequest {
        names: names.collect(),
    };
    let what = || Error::rpc("cannot halt the nodes");
    let mut init = InitClient::new(cluster.sandbox.init().await?);
    let held = init.hold_containers(request).await;
    let mut held = held.map_err(what())?.into_inner();
    first(&mut held).await.map_err(what())?;
    Ok(held)
}

/// Has the agent dump the control plane, with the disks that its programs write in place.
async fn dump(
    cluster: Cluster<'_>,
    container: &ContainerPlan,
    disks: Disks,
    after: After,
) -> Result<(DumpReply, Hold<DumpReply>)> {
    let copies = match disks {
        Disks::Copy => written_in_place(container),
        Disks::Leave => Vec::new(),
    };
    let request = DumpRequest {
        directory: dump_inside(),
        copies,
        hold: after == After::Stay,
    };
    let what = || Error::rpc("cannot freeze the control plane");
    let mut agent = AgentClient::new(cluster.sandbox.agent(&container.spec.name).await?);
    let dumped = agent.dump(request).await;
    let mut dumped = dumped.map_err(what())?.into_inner();
    let reply = first(&mut dumped).await.map_err(what())?;
    Ok((reply, dumped))
}

/// The one message of a stream.
async fn first<T>(stream: &mut Hold<T>) -> std::result::Result<T, Status> {
    let cut = || Status::unavailable("it ended before it was done");
    stream.message().await?.ok_or_else(cut)
}

/// The directories of the control plane's disk, as its agent sees them, by their names on the disk.
fn written_in_place(container: &ContainerPlan) -> Vec<DumpCopy> {
    let mounts = container.spec.mounts.iter();
    let own = mounts.filter(|one| one.source.starts_with(inside::CLUSTER));
    let copied = own.filter(|one| one.target != FREEZER.1);
    let copies = copied.filter_map(|one| {
        let name = Path::new(&one.source).file_name()?;
        Some(DumpCopy {
            source: one.target.clone(),
            name: name.to_string_lossy().into_owned(),
        })
    });
    copies.collect()
}

/// Takes what the agent wrote: dumps to their place, copies to that of the disks they are of.
fn take_dump(cluster: Cluster<'_>, container: &ContainerPlan, into: &Path) -> Result<()> {
    let name = &cluster.record.name;
    let Some(dumped) = dump_on_host(cluster.paths, name, container) else {
        return Ok(());
    };
    let target = into.join(DUMP);
    std::fs::rename(&dumped, &target).map_err(Error::file("take the dump", &dumped))
}

/// Copies everything that the dump does not hold already.
async fn copy(cluster: Cluster<'_>, control_plane: &ContainerPlan, into: &Path) -> Result<()> {
    let name = &cluster.record.name;
    let source = cluster.paths.cluster_dir(name);
    let target = into.join(CLUSTER);
    let nodes = target.join("nodes");
    private_dir(&nodes).map_err(Error::file("make", &nodes))?;
    let containers = cluster.plan.nodes.iter();
    let containers = containers.filter(|node| node.config.machine.is_none());
    let mut work = Vec::new();
    for node in containers {
        let below = Path::new("nodes").join(&node.config.name);
        let (from, to) = (source.join(&below), target.join(&below));
        work.push(tokio::task::spawn_blocking(move || {
            let judge = OfNode::of(&from).map_err(Error::file("read the snapshots of", &from))?;
            replica(&from, &to, &|path, kind| judge.judge(path, kind))
        }));
    }
    for (below, judge) in share::BESIDE {
        let (from, to) = (source.join(below), target.join(below));
        work.push(tokio::task::spawn_blocking(move || {
            replica(&from, &to, &judge)
        }));
    }
    for done in try_join_all(work).await.map_err(|_| Error::Ended)? {
        done?;
    }
    let upper = on_host(cluster.paths, name, &control_plane.spec.upper);
    let disk = upper.strip_prefix(&source).ok().and_then(Path::parent);
    let disk = target.join(disk.unwrap_or(Path::new("nodes")));
    // What its programs write to there is none of what was dumped: it may be of a moment later.
    let work = upper.join("upper");
    let to = disk.join("root/upper");
    let copying = tokio::task::spawn_blocking(move || replica(&work, &to, &|_, _| Share::Copy));
    copying.await.map_err(|_| Error::Ended)??;
    let copies = into.join(DUMP).join("disks");
    for copy in written_in_place(control_plane) {
        let (from, to) = (copies.join(&copy.name), disk.join(&copy.name));
        std::fs::rename(&from, &to).map_err(Error::file("take the copy", &from))?;
    }
    Ok(())
}

/// Copies a tree of a cluster, if there is one.
pub(super) fn replica(
    from: &Path,
    to: &Path,
    judge: &dyn Fn(&Path, std::fs::FileType) -> Share,
) -> Result<()> {
    if !from.exists() {
        return Ok(());
    }
    replicate(from, to, judge).map_err(|error| {
        let kind = error.source.kind();
        Error::file("copy", from)(std::io::Error::new(kind, error.line()))
    })
}
