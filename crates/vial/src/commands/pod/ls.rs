//! `vial pod ls`.

use std::net::IpAddr;

use clap::Args;
use vial_cloud::pods::{self, PodView, Scope, State};

use crate::context::Context;
use crate::error::{Exit, Result};
use crate::output::{self, OutputArgs, Report};
use crate::pods::place::PlaceArgs;
use crate::ui::{Cell, Style, Table, Ui};
use crate::when;

/// List the pods
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial pod ls
  vial pod ls -A -o wide                 of all namespaces, with more columns
  vial pod ls --context prod -n team     of another cluster
  vial pod ls -o json | jq -r '.[].podIps[0]'")]
pub(super) struct LsArgs {
    /// Of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
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
    output::print(&context.ui, args.output.output, &Pods(pods))?;
    if none {
        context
            .ui
            .status("there is no pod; `vial pod create NAME` makes one");
    }
    Ok(Exit::OK)
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
