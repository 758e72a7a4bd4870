//! `vial ls`.

use clap::Args;
use vial_keeper::api::{ClusterStatus, Phase};

use crate::context::{Context, keeper_error};
use crate::error::{Exit, Result};
use crate::output::{self, OutputArgs, Report};
use crate::ui::{Cell, Style, Table, Ui};
use crate::when;

/// List the clusters
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vial ls\n  vial ls -o name | xargs vial down")]
pub(crate) struct LsArgs {
    #[command(flatten)]
    output: OutputArgs,
}

/// All clusters.
struct Clusters(Vec<ClusterStatus>);

pub(crate) async fn run(context: &Context, args: LsArgs) -> Result {
    context.require_owner("see the clusters")?;
    let clusters = vial_keeper::clusters(&context.paths)
        .await
        .map_err(|error| keeper_error("list the clusters", error))?;
    let clusters = Clusters(clusters);
    output::print(&context.ui, args.output.output, &clusters)?;
    for cluster in &clusters.0 {
        tell_message(&context.ui, cluster);
    }
    if clusters.0.is_empty() {
        context
            .ui
            .status("there is no cluster; `vial up` makes one");
        if let Some(elsewhere) = context.roots_clusters() {
            context.ui.status(elsewhere);
        }
    }
    Ok(Exit::OK)
}

impl Report for Clusters {
    type Data = [ClusterStatus];

    fn data(&self) -> &[ClusterStatus] {
        &self.0
    }

    fn text(&self, wide: bool, ui: &Ui) -> String {
        let now = when::now();
        if wide {
            let mut table = Table::new([
                "NAME",
                "PHASE",
                "KUBERNETES",
                "NODES",
                "API",
                "AGE",
                "NODE-IMAGE",
                "CREATED",
                "KEEPER",
                "SANDBOX",
            ]);
            for cluster in &self.0 {
                let [name, phase, kubernetes, nodes, api, age] = cells(cluster, now);
                let pid = |pid: Option<u32>| {
                    Cell::from(pid.map(|pid| pid.to_string()).unwrap_or_default())
                };
                table.row([
                    name,
                    phase,
                    kubernetes,
                    nodes,
                    api,
                    age,
                    cluster.node_image.as_str().into(),
                    cluster.created.as_str().into(),
                    pid(cluster.keeper_pid),
                    pid(cluster.sandbox_pid),
                ]);
            }
            return table.render(ui.color_out());
        }
        let mut table = Table::new(["NAME", "PHASE", "KUBERNETES", "NODES", "API", "AGE"]);
        for cluster in &self.0 {
            table.row(cells(cluster, now));
        }
        table.render(ui.color_out())
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|cluster| cluster.name.clone()).collect()
    }
}

fn cells(cluster: &ClusterStatus, now: jiff::Timestamp) -> [Cell; 6] {
    let ready = cluster
        .nodes
        .iter()
        .filter(|node| node.ready.as_deref() == Some("True"))
        .count();
    let all = cluster.nodes.len();
    [
        cluster.name.as_str().into(),
        phase(cluster.phase),
        cluster.kubernetes.as_str().into(),
        match cluster.phase {
            _ if all == 0 => String::new(),
            // Of nodes that nobody asked it is not known.
            Phase::Stopped | Phase::Frozen | Phase::Paused | Phase::Unknown => format!("{all}"),
            _ => format!("{ready}/{all}"),
        }
        .into(),
        cluster.api.as_str().into(),
        when::age(&cluster.created, now).into(),
    ]
}

/// Says why a cluster is not as it should be: too long for a column.
pub(crate) fn tell_message(ui: &Ui, cluster: &ClusterStatus) {
    if let Some(message) = &cluster.message {
        ui.warn(format!("cluster {}: {message}", cluster.name));
    }
}

/// A phase in its word and colour.
pub(crate) fn phase(phase: Phase) -> Cell {
    let (text, style) = match phase {
        Phase::Creating => ("creating", Style::Warn),
        Phase::Running => ("running", Style::Good),
        Phase::Degraded => ("degraded", Style::Bad),
        Phase::Stopped => ("stopped", Style::Dim),
        Phase::Frozen => ("frozen", Style::Dim),
        Phase::Paused => ("paused", Style::Dim),
        Phase::Deleting => ("deleting", Style::Warn),
        Phase::Damaged => ("damaged", Style::Bad),
        Phase::Unknown => ("unknown", Style::Bad),
    };
    Cell::new(text, style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::status::tests::cluster;
    use crate::ui::ColorChoice;

    #[test]
    fn clusters_are_a_table() {
        let mut stopped = cluster();
        stopped.name = "old".into();
        stopped.phase = Phase::Stopped;
        let damaged = ClusterStatus {
            name: "torn".into(),
            phase: Phase::Damaged,
            kubernetes: String::new(),
            api: String::new(),
            nodes: Vec::new(),
            ..cluster()
        };
        let text = Clusters(vec![cluster(), stopped, damaged])
            .text(false, &Ui::new(false, ColorChoice::Never));
        // The age counts on; everything else stays.
        let text: String = text
            .lines()
            .map(|line| line.rsplit_once("  ").unwrap().0.trim_end().to_owned() + "\n")
            .collect();
        insta::assert_snapshot!(text, @r"
        NAME  PHASE     KUBERNETES  NODES  API
        dev   degraded  v1.36.3     1/2    https://127.0.0.1:45671
        old   stopped   v1.36.3     2      https://127.0.0.1:45671
        torn  damaged   -           -      -
        ");
    }
}
