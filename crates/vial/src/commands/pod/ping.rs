//! `vial pod ping`.

use clap::Args;
use vial_cloud::mesh::{self, Answer, Way};
use vial_cloud::pods::PodView;

use crate::context::Context;
use crate::error::{Code, Error, Exit, Result};
use crate::output::{self, OutputArgs, Report};
use crate::pods::choice::ChoiceArgs;
use crate::pods::place::PlaceArgs;
use crate::ui::{Cell, Style, Table, Ui};

/// Try whether pods reach each other: each asks each other one, by address and by name
///
/// Addresses of the Pods are asked by echoes, or by connections to port 22 where echoes are not permitted; names by
/// connections to NAME.NAMESPACE.svc. The exit code is 1 when an answer is lost.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial pod ping                          all pods of the namespace
  vial pod ping 'dp-*' --count 10
  vial pod ping -o json | jq '.[] | select(.received < .sent)'")]
pub(super) struct PingArgs {
    /// Names, ranges as dp-test[01-10], globs as 'dp-*' [default: all of the namespace]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// How often each is asked
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(context: &Context, args: PingArgs) -> Result {
    let place = args.place.find(context).await?;
    let choice = ChoiceArgs {
        all: args.names.is_empty(),
        names: args.names,
    };
    let pods = choice.find(&place).await?;
    if pods.len() < 2 {
        let what = format!("there are not two pods in namespace {}", place.namespace);
        let error = Error::new(Code::NotFound, what);
        return Err(error.hint("`vial pod create NAME` makes one"));
    }
    let answers = mesh::ask(&place.cloud, &pods, args.count).await;
    let lost = answers.iter().any(|answer| !answer.is_good());
    let mesh = Mesh { pods, answers };
    output::print(&context.ui, args.output.output, &mesh)?;
    mesh.explain(&context.ui);
    Ok(if lost { Exit::FAILED } else { Exit::OK })
}

/// What everybody heard of everybody.
struct Mesh {
    pods: Vec<PodView>,
    answers: Vec<Answer>,
}

impl Mesh {
    /// Says once why something was lost.
    fn explain(&self, ui: &Ui) {
        let lost = self.answers.iter().filter(|answer| !answer.is_good());
        let mut reasons: Vec<String> = lost
            .filter_map(|answer| {
                let (from, to) = (&answer.from, &answer.to);
                Some(format!("{from} → {to}: {}", answer.error.as_ref()?))
            })
            .collect();
        reasons.dedup();
        for reason in reasons.iter().take(10) {
            ui.warn(reason);
        }
        if reasons.len() > 10 {
            ui.warn(format!(
                "and {} more; -o json tells all",
                reasons.len() - 10
            ));
        }
    }

    fn matrix(&self, way: Way, ui: &Ui) -> Option<String> {
        let mut of_way = self.answers.iter().filter(|answer| answer.way == way);
        let how = &of_way.next()?.how;
        let title = match (way, how.as_str()) {
            (Way::Ipv4, how) => format!("IPV4 {how}"),
            (Way::Ipv6, how) => format!("IPV6 {how}"),
            (Way::Name, how) => format!("NAME {how}"),
        };
        let names = self.pods.iter().map(|pod| pod.name.clone());
        let head = std::iter::once(title.trim().to_owned()).chain(names);
        let mut table = Table::of(head.collect());
        for from in &self.pods {
            let cells = self.pods.iter().map(|to| self.cell(from, to, way));
            let row = std::iter::once(from.name.as_str().into()).chain(cells);
            table.cells(row.collect());
        }
        Some(table.render(ui.color_out()))
    }

    fn cell(&self, from: &PodView, to: &PodView, way: Way) -> Cell {
        let mut answers = self.answers.iter();
        let found = answers
            .find(|answer| answer.way == way && answer.from == from.name && answer.to == to.name);
        let Some(answer) = found else {
            return "".into();
        };
        let time = answer
            .average_us
            .map(|time| format!("{}.{:02}ms", time / 1000, time % 1000 / 10));
        match (answer.sent - answer.received.min(answer.sent), time) {
            (0, Some(time)) => Cell::new(time, Style::Good),
            (lost, Some(time)) => {
                let percent = lost * 100 / answer.sent.max(1);
                Cell::new(format!("{time} {percent}% lost"), Style::Warn)
            }
            (_, None) => Cell::new("lost", Style::Bad),
        }
    }
}

impl Report for Mesh {
    type Data = [Answer];

    fn data(&self) -> &[Answer] {
        &self.answers
    }

    fn text(&self, _wide: bool, ui: &Ui) -> String {
        let ways = [Way::Ipv4, Way::Ipv6, Way::Name];
        let tables = ways.iter().filter_map(|way| self.matrix(*way, ui));
        tables.collect::<Vec<_>>().join("\n")
    }

    fn names(&self) -> Vec<String> {
        self.pods.iter().map(|pod| pod.name.clone()).collect()
    }
}
