//! `vial events [NAME]`.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use vial_engine::record::Record;
use vial_keeper::events::{Happening, Reader, Severity};

use crate::cli::ClusterName;
use crate::context::{Context, check_name};
use crate::error::{Code, Error, Exit, Result};
use crate::interrupt;
use crate::near;
use crate::output::{self, Format, OutputArgs, Report};
use crate::ui::{Cell, Style, Table, Ui};
use crate::when;

/// How often to look for more: the file is written by another process.
const LOOK: Duration = Duration::from_millis(200);

/// Show what happened to a cluster, its nodes and its components
///
/// The story of a cluster is kept while the cluster is, also while it is stopped and over the death of its keeper; what is
/// oldest is forgotten when there are some thousand events. Events of pods and other objects are shown by `kubectl events`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial events
  vial events dev -w --node w-1
  vial events --since 10m --component kubelet
  vial events -w -o json | jq -r 'select(.severity == \"warning\").message'")]
pub(crate) struct EventsArgs {
    #[command(flatten)]
    name: ClusterName,
    /// The cluster, as for other commands
    #[arg(short, long, value_name = "NAME", conflicts_with = "name")]
    cluster: Option<String>,
    /// Go on with what comes; JSON is one object a line then
    #[arg(short, long)]
    watch: bool,
    /// Only what is about this node: cp-1, w-1, …
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Only what is about this component: kubelet, etcd, …
    #[arg(long, value_name = "COMPONENT")]
    component: Option<String>,
    /// Only what happened since then: a span (90s, 10m, 1h30m) or a time (2026-11-21T12:00:00Z)
    #[arg(long, value_name = "WHEN", value_parser = when::since)]
    since: Option<Timestamp>,
    #[command(flatten)]
    output: OutputArgs,
}

/// What is wanted of all events.
struct Filter {
    node: Option<String>,
    component: Option<String>,
    since: Option<Timestamp>,
}

/// Events, printable.
struct Events(Vec<Happening>);

pub(crate) async fn run(context: &Context, args: EventsArgs) -> Result {
    context.require_owner("read what happened to a cluster")?;
    let name = args.cluster.as_ref().unwrap_or(&args.name.name);
    check_name(name)?;
    if !context.paths.cluster_dir(name).is_dir() {
        return Err(context.no_cluster(name));
    }
    let mut reader = Reader::new(&context.paths, name);
    let mut events = read(&mut reader, name)?;
    check_names(context, name, &args, &events)?;
    let filter = Filter {
        node: args.node,
        component: args.component,
        since: args.since,
    };
    let format = args.output.output;
    events.retain(|event| filter.wants(event));
    // Some things are seen later than they happen.
    events.sort_by_key(|event| event.time.parse::<Timestamp>().unwrap_or_default());
    if !args.watch {
        output::print(&context.ui, format, &Events(events))?;
        return Ok(Exit::OK);
    }
    let mut page = Page::new(format);
    loop {
        page.print(&context.ui, events)?;
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            // Ctrl-C is how one stops watching.
            () = interrupt::signal() => return Ok(Exit(Code::Interrupted as u8)),
        }
        // Before it is read: the last events come before the end.
        let ended = !context.paths.cluster_dir(name).is_dir();
        events = read(&mut reader, name)?;
        events.retain(|event| filter.wants(event));
        if ended {
            page.print(&context.ui, events)?;
            context.ui.status(format!("cluster {name} is gone"));
            return Ok(Exit::OK);
        }
    }
}

fn read(reader: &mut Reader, name: &str) -> Result<Vec<Happening>> {
    reader.read().map_err(|error| {
        Error::caused(
            format!("cannot read what happened to cluster `{name}`"),
            error,
        )
    })
}

/// Names that neither the cluster nor its story has are mistyped.
fn check_names(
    context: &Context,
    name: &str,
    args: &EventsArgs,
    events: &[Happening],
) -> Result<()> {
    let record = Record::load(&context.paths, name).ok().flatten();
    if let Some(node) = &args.node {
        let told = events.iter().filter_map(|event| event.node.as_deref());
        let nodes = record.iter().flat_map(|record| &record.spec.nodes);
        let known = told.chain(nodes.map(|node| node.name.as_str()));
        check("node", node, known.collect(), name)?;
    }
    // Of which the beginning is forgotten, components may be forgotten too.
    let whole = events.first().is_none_or(|event| event.id == 1);
    if let Some(component) = args.component.as_ref().filter(|_| whole) {
        let told = events.iter().filter_map(|event| event.component.as_deref());
        check("component", component, told.collect(), name)?;
    }
    Ok(())
}

fn check(what: &str, wanted: &str, known: BTreeSet<&str>, cluster: &str) -> Result<()> {
    if known.contains(wanted) {
        return Ok(());
    }
    Err(Error::new(
        Code::NotFound,
        format!("cluster `{cluster}` has no {what} `{wanted}`"),
    )
    .hint(near::hint(what, wanted, known.iter().copied())))
}

impl Filter {
    fn wants(&self, event: &Happening) -> bool {
        let is = |wanted: &Option<String>, seen: &Option<String>| {
            wanted.is_none() || wanted.as_ref() == seen.as_ref()
        };
        let in_time = || {
            let Some(since) = self.since else { return true };
            let time = event.time.parse::<Timestamp>();
            time.is_ok_and(|time| time >= since)
        };
        is(&self.node, &event.node) && is(&self.component, &event.component) && in_time()
    }
}

/// What is printed piece by piece.
struct Page {
    format: Format,
    begun: bool,
}

impl Page {
    fn new(format: Format) -> Self {
        let begun = false;
        Self { format, begun }
    }

    fn print(&mut self, ui: &Ui, events: Vec<Happening>) -> Result<()> {
        let first = !std::mem::replace(&mut self.begun, true);
        let events = Events(events);
        match self.format {
            Format::Table | Format::Wide => {
                let table = empty_table();
                let color = ui.color_out();
                let mut text = String::new();
                if first {
                    text += &table.render_head(color);
                }
                for event in &events.0 {
                    text += &table.render_row(row(event), color);
                }
                ui.data(text)
            }
            Format::Json => ui.data(lines(&events.0)?),
            Format::Yaml => {
                for event in &events.0 {
                    ui.data(format!("---\n{}", output::yaml(event)?))?;
                }
                Ok(())
            }
            Format::Name => output::print(ui, Format::Name, &events),
        }
    }
}

/// One JSON object a line.
fn lines(events: &[Happening]) -> Result<String> {
    let mut text = String::new();
    for event in events {
        let line = serde_json::to_string(event);
        text += &line.map_err(|error| Error::caused("cannot write the answer as JSON", error))?;
        text.push('\n');
    }
    Ok(text)
}

impl Report for Events {
    type Data = [Happening];

    fn data(&self) -> &[Happening] {
        &self.0
    }

    fn text(&self, _wide: bool, ui: &Ui) -> String {
        let mut table = empty_table();
        self.0.iter().for_each(|event| table.row(row(event)));
        table.render(ui.color_out())
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(object).collect()
    }
}

/// Rows are printed as they come, so the columns are made wide enough for what usually comes.
fn empty_table() -> Table {
    Table::new(["TIME", "KIND", "OBJECT", "MESSAGE"]).at_least([24, 17, 28, 7])
}

fn row(event: &Happening) -> [Cell; 4] {
    let style = match event.severity {
        Severity::Normal => Style::Plain,
        Severity::Warning => Style::Warn,
    };
    [
        event.time.as_str().into(),
        Cell::new(event.kind.to_string(), style),
        object(event).into(),
        event.message.as_str().into(),
    ]
}

/// `cluster`, `w-1` or `w-1/kubelet`.
fn object(event: &Happening) -> String {
    match (&event.node, &event.component) {
        (Some(node), Some(component)) => format!("{node}/{component}"),
        (Some(node), None) => node.clone(),
        (None, _) => "cluster".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use vial_keeper::events::What;

    use super::*;
    use crate::ui::ColorChoice;

    fn event(time: &str, kind: What, object: [Option<&str>; 2], message: &str) -> Happening {
        let [node, component] = object.map(|name| name.map(ToOwned::to_owned));
        Happening {
            id: 1,
            time: time.into(),
            kind,
            severity: Severity::Normal,
            node,
            component,
            message: message.into(),
        }
    }

    fn story() -> Vec<Happening> {
        vec![
            event(
                "2026-11-21T12:00:00.000Z",
                What::UpStarted,
                [None, None],
                "up, by command",
            ),
            event(
                "2026-11-21T12:00:03.250Z",
                What::ComponentReady,
                [Some("w-1"), Some("kubelet")],
                "kubelet is ready",
            ),
            event(
                "2026-11-21T12:00:04.000Z",
                What::NodeReady,
                [Some("w-1"), None],
                "node w-1 is Ready",
            ),
        ]
    }

    #[test]
    fn events_are_a_table() {
        let ui = Ui::new(false, ColorChoice::Never);
        insta::assert_snapshot!(Events(story()).text(false, &ui), @r"
        TIME                      KIND               OBJECT                        MESSAGE
        2026-11-21T12:00:00.000Z  up-started         cluster                       up, by command
        2026-11-21T12:00:03.250Z  component-ready    w-1/kubelet                   kubelet is ready
        2026-11-21T12:00:04.000Z  node-ready         w-1                           node w-1 is Ready
        ");
        assert_eq!(Events(story()).names(), ["cluster", "w-1/kubelet", "w-1"]);
        assert_eq!(lines(&story()).unwrap().lines().count(), 3);
    }

    #[test]
    fn filters_add_up() {
        let count = |node: Option<&str>, component: Option<&str>, since: Option<&str>| {
            let filter = Filter {
                node: node.map(Into::into),
                component: component.map(Into::into),
                since: since.map(|text| text.parse().unwrap()),
            };
            story().iter().filter(|event| filter.wants(event)).count()
        };
        assert_eq!(count(None, None, None), 3);
        assert_eq!(count(Some("w-1"), None, None), 2);
        assert_eq!(count(Some("w-1"), Some("kubelet"), None), 1);
        assert_eq!(count(None, None, Some("2026-11-21T12:00:03.250Z")), 2);
        assert_eq!(count(Some("w-2"), None, None), 0);
    }

    #[test]
    fn a_mistyped_name_is_told_with_near_ones() {
        let error = check("node", "w1", ["cp-1", "w-1"].into(), "dev").unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert_eq!(error.hints(), ["did you mean w-1?"]);
    }
}
