//! `vial check [NAME]`.

use clap::Args;
use futures::StreamExt as _;
use vial_keeper::api::{CheckEvent, CheckResult};

use crate::cli::ClusterName;
use crate::context::{Context, keeper_error};
use crate::error::{Code, Error, Exit, Result};
use crate::interrupt;
use crate::output::{self, Format, OutputArgs, Report};
use crate::ui::{Cell, Style, Table, Ui};

/// Try whether a cluster works: nodes, DNS, services
///
/// Nodes and system pods are Ready, names resolve from a pod on every node, a service answers from every node. The
/// exit code is 1 when anything is not so.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vial check\n  vial check dev -o json")]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    cluster: ClusterName,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) async fn run(context: &Context, args: CheckArgs) -> Result {
    context.require_owner("check a cluster")?;
    let name = &args.cluster.name;
    let client = context.keeper(name).await?;
    let mut events = std::pin::pin!(
        client
            .check()
            .await
            .map_err(|error| keeper_error(name, error))?
    );
    let (ui, live) = (
        &context.ui,
        matches!(args.output.output, Format::Table | Format::Wide),
    );
    let table = empty_table();
    if live {
        ui.data(table.render_head(ui.color_out()))?;
    }
    let mut results = Vec::new();
    let passed = loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = interrupt::signal() => return Err(Error::new(Code::Interrupted, "the check was interrupted")),
        };
        match event {
            Some(Ok(CheckEvent::Result(result))) => {
                if live {
                    ui.data(table.render_row(row(&result), ui.color_out()))?;
                }
                results.push(result);
            }
            Some(Ok(CheckEvent::Done { passed })) => break passed,
            Some(Err(error)) => return Err(keeper_error(name, error)),
            None => {
                return Err(Error::new(
                    Code::Failed,
                    format!("the keeper of cluster `{name}` ended during the check"),
                ));
            }
        }
    };
    if !live {
        output::print(ui, args.output.output, &Results(&results))?;
    }
    let failed = results.iter().filter(|result| !result.passed).count();
    if passed && failed == 0 {
        ui.status(format!(
            "{} {} checks passed",
            ui.paint_err(Style::Good, "✓"),
            results.len()
        ));
        return Ok(Exit::OK);
    }
    ui.status(format!(
        "{} {failed} of {} checks failed",
        ui.paint_err(Style::Bad, "✗"),
        results.len()
    ));
    Ok(Exit::FAILED)
}

struct Results<'a>(&'a [CheckResult]);

impl Report for Results<'_> {
    type Data = [CheckResult];

    fn data(&self) -> &[CheckResult] {
        self.0
    }

    fn text(&self, _wide: bool, ui: &Ui) -> String {
        let mut table = empty_table();
        self.0.iter().for_each(|result| table.row(row(result)));
        table.render(ui.color_out())
    }

    fn names(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|result| format!("{}/{}", result.check, result.object))
            .collect()
    }
}

/// Rows are printed as they come, so the columns are made wide enough for what usually comes.
fn empty_table() -> Table {
    Table::new(["CHECK", "OBJECT", "RESULT", "TIME", "DETAIL"]).at_least([12, 28, 6, 6, 6])
}

fn row(result: &CheckResult) -> [Cell; 5] {
    [
        result.check.as_str().into(),
        result.object.as_str().into(),
        if result.passed {
            Cell::new("ok", Style::Good)
        } else {
            Cell::new("FAILED", Style::Bad)
        },
        format!("{}.{}s", result.millis / 1000, result.millis % 1000 / 100).into(),
        result.detail.as_str().into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::ColorChoice;

    #[test]
    fn results_line_up() {
        let result = |object: &str, passed, detail: &str| CheckResult {
            check: "dns".into(),
            object: object.into(),
            passed,
            detail: detail.into(),
            millis: 1250,
        };
        let results = [
            result("w-1", true, "kubernetes.default → 10.96.0.1"),
            result("w-2", false, "no answer in 5 s"),
        ];
        insta::assert_snapshot!(Results(&results).text(false, &Ui::new(false, ColorChoice::Never)), @r"
        CHECK         OBJECT                        RESULT  TIME    DETAIL
        dns           w-1                           ok      1.2s    kubernetes.default → 10.96.0.1
        dns           w-2                           FAILED  1.2s    no answer in 5 s
        ");
    }
}
