//! `vial pod describe`: all that is known of a pod, and what happened to it.

use std::fmt::Write as _;

use clap::Args;
use k8s_openapi::api::core::v1::{Event, Service};
use kube::api::{Api, ListParams};
use serde::Serialize;
use serde_json::Value;
use vial_cloud::pods::PodView;
use vial_cloud::words;

use crate::context::Context;
use crate::error::{Exit, Result};
use crate::output::{self, OutputArgs, Report};
use crate::pods::choice::ChoiceArgs;
use crate::pods::place::{Place, PlaceArgs};
use crate::ui::{Table, Ui};
use crate::when;

/// Show all that is known of pods, and what happened to them
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vial pod describe dp-test01\n  vial pod describe 'dp-*' -o yaml"
)]
pub(super) struct DescribeArgs {
    #[command(flatten)]
    choice: ChoiceArgs,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// A pod, what was asked for, and what happened.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    #[serde(flatten)]
    view: PodView,
    ssh: Vec<String>,
    asked: Value,
    events: Vec<Happened>,
}

#[derive(Debug, Serialize)]
struct Happened {
    time: String,
    kind: String,
    reason: String,
    object: String,
    message: String,
    count: i32,
}

pub(super) async fn run(context: &Context, args: DescribeArgs) -> Result {
    let place = args.place.find(context).await?;
    let chosen = args.choice.find(&place).await?;
    let events = events(&place).await?;
    let services: Api<Service> = Api::namespaced(place.cloud.client().clone(), &place.namespace);
    let mut described = Vec::new();
    for view in chosen {
        let what = format!("cannot read pod {}", view.name);
        let service = services
            .get_opt(&view.name)
            .await
            .map_err(|error| super::api(what, error))?;
        let asked = service
            .and_then(|service| service.metadata.annotations?.remove(words::ASKED))
            .and_then(|text| serde_json::from_str(&text).ok());
        let own = events.iter().filter(|event| belongs(event, &view.name));
        let host = super::host_name(&place, &view);
        described.push(Described {
            ssh: vec![format!("ssh {}", view.name), format!("ssh {host}")],
            asked: asked.unwrap_or_default(),
            events: own.map(happened).collect(),
            view,
        });
    }
    output::print(&context.ui, args.output.output, &All(described))?;
    Ok(Exit::OK)
}

async fn events(place: &Place) -> Result<Vec<Event>> {
    let events: Api<Event> = Api::namespaced(place.cloud.client().clone(), &place.namespace);
    let listed = events.list(&ListParams::default()).await;
    let mut events = match listed {
        Ok(list) => list.items,
        // The rest can be told all the same.
        Err(kube::Error::Api(status)) if status.code == 403 => Vec::new(),
        Err(error) => return Err(super::api("cannot list the events".into(), error)),
    };
    events.sort_by_key(time);
    Ok(events)
}

fn time(event: &Event) -> Option<jiff::Timestamp> {
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    let micro = event.event_time.as_ref().map(|time| time.0);
    last.or(micro).or(event
        .metadata
        .creation_timestamp
        .as_ref()
        .map(|time| time.0))
}

/// Of the pod's own objects, of its ReplicaSets `NAME-HASH` and their Pods `NAME-HASH-RANDOM`.
fn belongs(event: &Event, name: &str) -> bool {
    let Some(object) = event.involved_object.name.as_deref() else {
        return false;
    };
    let parts = match event.involved_object.kind.as_deref() {
        Some("ReplicaSet") => 1,
        Some("Pod") => 2,
        Some("PersistentVolumeClaim") => return object.starts_with(&format!("{name}-")),
        _ => 0,
    };
    let mut own = object;
    for _ in 0..parts {
        own = own.rsplit_once('-').map_or("", |(head, _)| head);
    }
    own == name
}

fn happened(event: &Event) -> Happened {
    let object = &event.involved_object;
    Happened {
        time: time(event).map(|time| time.to_string()).unwrap_or_default(),
        kind: event.type_.clone().unwrap_or_default(),
        reason: event.reason.clone().unwrap_or_default(),
        object: format!(
            "{}/{}",
            object.kind.as_deref().unwrap_or_default().to_lowercase(),
            object.name.as_deref().unwrap_or_default()
        ),
        message: event.message.clone().unwrap_or_default().trim().to_owned(),
        count: event.count.unwrap_or(1),
    }
}

struct All(Vec<Described>);

impl Report for All {
    type Data = [Described];

    fn data(&self) -> &[Described] {
        &self.0
    }

    fn text(&self, _wide: bool, ui: &Ui) -> String {
        self.0
            .iter()
            .map(|one| one.text(ui))
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|one| one.view.name.clone()).collect()
    }
}

impl Described {
    fn text(&self, ui: &Ui) -> String {
        let view = &self.view;
        let join = |addresses: &[std::net::IpAddr]| {
            addresses
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let now = when::now();
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            if !value.is_empty() {
                let _ = writeln!(text, "{:<13}{value}", format!("{name}:"));
            }
        };
        line("Name", view.name.clone());
        line("Namespace", view.namespace.clone());
        line("Status", view.status.clone());
        line("Ssh", self.ssh.join("   "));
        line("User", view.user.clone());
        line("Image", view.image.clone());
        line("Node", view.node.clone().unwrap_or_default());
        line("Pod", view.pod.clone().unwrap_or_default());
        line("Pod IP", join(&view.pod_ips));
        line("Cluster IP", join(&view.cluster_ips));
        line("Ports", view.ports.join(", "));
        line("Restarts", view.restarts.to_string());
        line(
            "Created",
            view.created
                .map(|time| format!("{time} ({} ago)", when::age(&time.to_string(), now)))
                .unwrap_or_default(),
        );
        line(
            "Expires",
            view.expires
                .map(|time| format!("{time} (in {})", when::left(time, now)))
                .unwrap_or_default(),
        );
        line("Batch", view.batch.clone().unwrap_or_default());
        line("Host key", view.host_key.clone().unwrap_or_default());
        line(
            "Asked for",
            self.asked
                .as_object()
                .map(|_| self.asked.to_string())
                .unwrap_or_default(),
        );
        if self.events.is_empty() {
            line("Events", "none".into());
            return text;
        }
        let mut table = Table::new(["LAST SEEN", "TYPE", "REASON", "OBJECT", "COUNT", "MESSAGE"]);
        for event in &self.events {
            table.row([
                when::age(&event.time, now).into(),
                event.kind.as_str().into(),
                event.reason.as_str().into(),
                event.object.as_str().into(),
                event.count.to_string().into(),
                event.message.as_str().into(),
            ]);
        }
        text + "Events:\n" + &table.render(ui.color_out())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_those_of_the_pod_and_not_of_its_neighbour() {
        let event = |kind: &str, name: &str| -> Event {
            serde_json::from_value(
                serde_json::json!({"metadata": {}, "involvedObject": {"kind": kind, "name": name}}),
            )
            .unwrap()
        };
        for (kind, name, expected) in [
            ("Pod", "a-7d9f-x2x", true),
            ("Pod", "a-b-7d9f-x2x", false),
            ("ReplicaSet", "a-7d9f", true),
            ("Deployment", "a", true),
            ("Deployment", "ab", false),
        ] {
            assert_eq!(belongs(&event(kind, name), "a"), expected, "{kind} {name}");
        }
    }
}
