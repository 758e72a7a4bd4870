//! `vial registry [gc]`.

use std::path::Path;

use clap::{Args, Subcommand};
use serde::Serialize;
use vial_keeper::api::{CollectRequest, RegistryStatus};

use super::node_image::size;
use crate::cli::ClusterFlag;
use crate::context::{Context, keeper_error};
use crate::error::{Exit, Result};
use crate::output::{self, OutputArgs, Report};
use crate::ui::{Cell, Style, Table, Ui};

/// With less room than that a push of a usual image fails.
const ROOM: u64 = 100_000_000;

/// Show the cluster's registry, or clean it
///
/// Every cluster has a registry of its own. What is pushed to 127.0.0.1:PORT on the host can be run under that very name
/// in the cluster; on nodes and in pods the registry is registry.vial:5000 as well. Its images live as long as the cluster.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  vial registry                                                  where it is, how much it holds
  docker push $(vial registry -o name)/app:v1
  kubectl create deployment app --image $(vial registry -o name)/app:v1
  vial registry gc                                               free the space of deleted images"
)]
pub(crate) struct RegistryArgs {
    #[command(subcommand)]
    command: Option<RegistryCommand>,
    #[command(flatten)]
    cluster: ClusterFlag,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Subcommand)]
enum RegistryCommand {
    /// Remove from its disk what no image needs any more
    Gc(GcArgs),
}

/// Remove from its disk what no image needs any more
///
/// The registry does not answer meanwhile: a push that is under way fails and has to be repeated.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vial registry gc\n  vial registry gc -c dev --untagged")]
struct GcArgs {
    #[command(flatten)]
    cluster: ClusterFlag,
    /// Images that no tag names, too: those that a later push took the tag from
    #[arg(long)]
    untagged: bool,
}

pub(crate) async fn run(context: &Context, args: RegistryArgs) -> Result {
    context.require_owner("use a cluster's registry")?;
    match args.command {
        Some(RegistryCommand::Gc(gc)) => collect(context, &gc).await,
        None => show(context, &args.cluster.cluster, args.output).await,
    }
}

async fn show(context: &Context, name: &str, output: OutputArgs) -> Result {
    let client = context.keeper(name).await?;
    let status = context.status(name, &client).await?;
    let used = used(context, name);
    let free = free_at(&context.paths.registry_dir(name));
    let registry = Registry::of(status.registry, used).with_room(free, name);
    output::print(&context.ui, output.output, &registry)?;
    Ok(Exit::OK)
}

async fn collect(context: &Context, args: &GcArgs) -> Result {
    let name = &args.cluster.cluster;
    let client = context.keeper(name).await?;
    let before = used(context, name);
    let request = CollectRequest {
        untagged: args.untagged,
    };
    client
        .collect_garbage(request)
        .await
        .map_err(|error| keeper_error(name, error))?;
    let freed = before.saturating_sub(used(context, name));
    context.ui.status(format!("{} freed", size(freed)));
    Ok(Exit::OK)
}

/// Bytes on disk.
fn used(context: &Context, name: &str) -> u64 {
    bytes_below(&context.paths.registry_dir(name))
}

/// Bytes on disk of all files below a directory. What is removed meanwhile does not count.
pub(crate) fn bytes_below(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(facts) if facts.is_dir() => bytes_below(&entry.path()),
            Ok(facts) => facts.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

/// Bytes that are free where a directory lies; `None` when it is not there.
fn free_at(dir: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// A cluster's registry, printable.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Registry {
    /// `127.0.0.1:PORT`
    host: String,
    /// `registry.vial:5000`
    inside: String,
    /// As of a component; `stopped` with its cluster.
    state: String,
    /// Why it is not ready.
    message: String,
    used_bytes: u64,
}

impl Registry {
    fn of(status: RegistryStatus, used_bytes: u64) -> Self {
        let (state, message) = match status.component {
            Some(component) => (component.state, component.message),
            None => ("stopped".into(), String::new()),
        };
        Self {
            host: status.host,
            inside: status.inside,
            state,
            message,
            used_bytes,
        }
    }
}

impl Registry {
    /// Tells when a push is likely to find no room; whoever pushes is told by the registry only that it failed.
    fn with_room(mut self, free: Option<u64>, cluster: &str) -> Self {
        if let Some(free) = free.filter(|free| *free < ROOM) {
            let message = format!(
                "only {} free on its disk: `vial registry gc -c {cluster}` removes what no image needs",
                size(free)
            );
            self.message = match self.message.as_str() {
                "" => message,
                before => format!("{before}; {message}"),
            };
        }
        self
    }
}

impl Report for Registry {
    type Data = Self;

    fn data(&self) -> &Self {
        self
    }

    fn text(&self, _wide: bool, ui: &Ui) -> String {
        let mut table = Table::new(["HOST", "INSIDE", "STATE", "USED", "MESSAGE"]);
        let style = if self.state == "ready" {
            Style::Good
        } else {
            Style::Bad
        };
        table.row([
            self.host.as_str().into(),
            self.inside.as_str().into(),
            Cell::new(self.state.as_str(), style),
            size(self.used_bytes).into(),
            self.message.as_str().into(),
        ]);
        table.render(ui.color_out())
    }

    fn names(&self) -> Vec<String> {
        vec![self.host.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::ColorChoice;

    #[test]
    fn a_registry_is_a_line_and_its_name_is_the_one_to_push_to() {
        let status = RegistryStatus {
            host: "127.0.0.1:45672".into(),
            inside: "registry.vial:5000".into(),
            component: None,
        };
        let registry = Registry::of(status, 12_345_678);
        insta::assert_snapshot!(registry.text(false, &Ui::new(false, ColorChoice::Never)), @r"
        HOST             INSIDE              STATE    USED   MESSAGE
        127.0.0.1:45672  registry.vial:5000  stopped  12 MB  -
        ");
        assert_eq!(registry.names(), ["127.0.0.1:45672"]);
    }

    #[test]
    fn a_disk_that_is_nearly_full_is_told_with_what_to_do() {
        let status = || RegistryStatus {
            host: "127.0.0.1:1".into(),
            inside: "registry.vial:5000".into(),
            component: None,
        };
        let message = |free| Registry::of(status(), 0).with_room(free, "dev").message;
        assert_eq!(
            message(Some(5_000_000)),
            "only 5 MB free on its disk: `vial registry gc -c dev` removes what no image needs"
        );
        assert_eq!(message(Some(ROOM)), "");
        assert_eq!(message(None), "");
    }
}
