//! `vial pod ls`.

use std::net::IpAddr;
use std::pin::pin;

use clap::Args;
use futures::StreamExt as _;
use vial_cloud::pods::{self, PodView, Scope, State};

use crate::context::Context;
use crate::error::{Exit, Result};
use crate::interrupt;
use crate::output::{self, Format, OutputArgs, Report};
use crate::pods::place::{Place, PlaceArgs};
use crate::ui::{Cell, Style, Table, Ui};
use crate::when;

/// List the pods
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial pod ls
  vial pod ls -w                         and go on with what changes
  vial pod ls -A -o wide                 of all namespaces, with more columns
  vial pod ls --context prod -n team     of another cluster
  vial pod ls -o json | jq -r '.[].podIps[0]'")]
pub(super) struct LsArgs {
    /// Of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Then go on with those that change
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(context: &Context, args: LsArgs) -> Result {
    let place = args.place.find(context).await?;
    let scope = match args.all_namespaces {
        true => Scope::All,
        false => Scope::Namespace(place.namespace.clone()),
    };
    crate::ssh::pods::refresh_if_used(context, &place).await;
    let pods = pods::list(&place.cloud, &scope).await?;
    let none = pods.is_empty();
    let format = args.output.output;
    let known = args.watch.then(|| pods.clone());
    output::print(&context.ui, format, &Pods(pods))?;
    if let Some(known) = known {
        return watch(context, &place, &scope, format, known).await;
    }
    if none {
        context
            .ui
            .status("there is no pod; `vial pod create NAME` makes one");
    }
    Ok(Exit::OK)
}

/// Prints pods as they change, until the person has seen enough.
async fn watch(
    context: &Context,
    place: &Place,
    scope: &Scope,
    format: Format,
    mut known: Vec<PodView>,
) -> Result {
    let mut changes = pin!(pods::changes(&place.cloud, scope));
    loop {
        tokio::select! {
            change = changes.next() => if change.is_none() { return Ok(Exit::OK) },
            () = interrupt::signal() => return Ok(Exit::OK),
        }
        let now = pods::list(&place.cloud, scope).await?;
        let changed = changed(&known, &now);
        known = now;
        if changed.is_empty() {
            continue;
        }
        let changed = Pods(changed);
        match format {
            // The head was there before.
            Format::Table | Format::Wide => {
                let text = changed.text(format == Format::Wide, &context.ui);
                let rows = text.split_once('\n').map_or("", |(_, rows)| rows);
                context.ui.data(rows)?;
            }
            format => output::print(&context.ui, format, &changed)?,
        }
    }
}

/// Those that are new or otherwise than before, and those that are gone, as such.
fn changed(before: &[PodView], now: &[PodView]) -> Vec<PodView> {
    let same = |one: &PodView, other: &PodView| {
        (&one.namespace, &one.name) == (&other.namespace, &other.name)
    };
    let gone = before
        .iter()
        .filter(|old| !now.iter().any(|new| same(old, new)));
    let gone = gone.map(|old| PodView {
        state: State::Ending,
        status: "Gone".into(),
        ..old.clone()
    });
    now.iter()
        .filter(|new| !before.contains(new))
        .cloned()
        .chain(gone)
        .collect()
}

/// Pods, printable.
pub(super) struct Pods(pub(super) Vec<PodView>);

impl Report for Pods {
    type Data = [PodView];

    fn data(&self) -> &[PodView] {
        &self.0
    }

    fn text(&self, wide: bool, ui: &Ui) -> String {
        let now = when::now();
        let several = (self.0.windows(2)).any(|two| two[0].namespace != two[1].namespace);
        let mut table = Table::new([
            "NAME",
            "STATUS",
            "POD IP",
            "NODE",
            "IMAGE",
            "AGE",
            "TTL",
            "SSH",
            "NAMESPACE",
            "CLUSTER IP",
            "RESTARTS",
            "PORTS",
            "POD",
        ]);
        for pod in &self.0 {
            let name = match several && !wide {
                true => format!("{}/{}", pod.namespace, pod.name),
                false => pod.name.clone(),
            };
            let age = pod.created.map(|time| when::age(&time.to_string(), now));
            let left = pod.expires.map(|time| when::left(time, now));
            table.row([
                name.into(),
                Cell::new(&pod.status, style(pod.state)),
                join(&pod.pod_ips).into(),
                pod.node.clone().unwrap_or_default().into(),
                pod.image.as_str().into(),
                age.unwrap_or_default().into(),
                left.unwrap_or_default().into(),
                format!("{}@{}", pod.user, pod.name).into(),
                pod.namespace.as_str().into(),
                join(&pod.cluster_ips).into(),
                pod.restarts.to_string().into(),
                pod.ports.join(",").into(),
                pod.pod.clone().unwrap_or_default().into(),
            ]);
        }
        let columns = if wide { 13 } else { 8 };
        table.first(columns).render(ui.color_out())
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|pod| pod.name.clone()).collect()
    }
}

fn join(addresses: &[IpAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(",")
}

fn style(state: State) -> Style {
    match state {
        State::Ready => Style::Good,
        State::Starting | State::Ending => Style::Warn,
        State::Failing => Style::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_told() {
        let pod = |name: &str, status: &str| {
            let mut view = PodView::of(&Default::default(), None, &[]);
            (view.name, view.status) = (name.into(), status.into());
            view
        };
        let before = [
            pod("a", "Running"),
            pod("b", "Creating"),
            pod("c", "Running"),
        ];
        let now = [
            pod("a", "Running"),
            pod("b", "Running"),
            pod("d", "Creating"),
        ];
        let told = changed(&before, &now);
        let told: Vec<_> = told
            .iter()
            .map(|pod| format!("{} {}", pod.name, pod.status))
            .collect();
        assert_eq!(told, ["b Running", "d Creating", "c Gone"]);
    }
}
