//! `vial doctor`.

use clap::Args;

use crate::context::Context;
use crate::doctor::{self, Finding, State};
use crate::error::{Exit, Result};
use crate::output::{self, OutputArgs, Report};
use crate::ui::{Cell, Style, Table, Ui};

/// Check whether this machine has what vial needs
///
/// Each requirement with what was found and, where something is missing, what to do. Nothing is changed. The exit code
/// is 1 when vial cannot work here.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sudo vial doctor\n  vial doctor -o json | jq '.[] | select(.state != \"ok\")'"
)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    output: OutputArgs,
}

struct Findings(Vec<Finding>);

pub(crate) async fn run(context: &Context, args: &DoctorArgs) -> Result {
    let findings = Findings(doctor::examine(&context.paths, context.root).await);
    output::print(&context.ui, args.output.output, &findings)?;
    let failed = findings
        .0
        .iter()
        .filter(|finding| finding.state == State::Fail)
        .count();
    if failed == 0 {
        context.ui.status("this machine has what vial needs");
        return Ok(Exit::OK);
    }
    context
        .ui
        .status(format!("vial cannot work here yet: {failed} to mend"));
    Ok(Exit::FAILED)
}

impl Report for Findings {
    type Data = [Finding];

    fn data(&self) -> &[Finding] {
        &self.0
    }

    fn text(&self, _wide: bool, ui: &Ui) -> String {
        let mut table = Table::new(["REQUIREMENT", "STATE", "FOUND", "MEND"]);
        for finding in &self.0 {
            let state = match finding.state {
                State::Ok => Cell::new("ok", Style::Good),
                State::Info => Cell::new("info", Style::Dim),
                State::Warn => Cell::new("warn", Style::Warn),
                State::Fail => Cell::new("FAIL", Style::Bad),
            };
            table.row([
                finding.requirement.into(),
                state,
                finding.found.as_str().into(),
                finding.mend.clone().unwrap_or_default().into(),
            ]);
        }
        table.render(ui.color_out())
    }

    /// What is not as it should be.
    fn names(&self) -> Vec<String> {
        let bad = |finding: &&Finding| matches!(finding.state, State::Warn | State::Fail);
        self.0
            .iter()
            .filter(bad)
            .map(|finding| finding.requirement.to_owned())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::ColorChoice;

    #[tokio::test]
    async fn every_requirement_has_a_state_and_a_mend_where_one_is_needed() {
        let paths = vial_engine::paths::Paths {
            home: "/nonexistent/vial".into(),
            run: "/nonexistent".into(),
        };
        let findings = Findings(doctor::examine(&paths, false).await);
        let text = findings.text(false, &Ui::new(false, ColorChoice::Never));
        for requirement in [
            "root",
            "kernel",
            "memory",
            "disk space",
            "virtual machines",
            "node image",
            "registry cache",
        ] {
            assert!(
                text.lines().any(|line| line.starts_with(requirement)),
                "{requirement}\n{text}"
            );
        }
        assert!(
            !std::path::Path::new("/nonexistent").exists(),
            "looking changes nothing"
        );
        for finding in &findings.0 {
            assert_eq!(
                finding.mend.is_some(),
                matches!(finding.state, State::Warn | State::Fail),
                "{finding:?}"
            );
        }
    }
}
