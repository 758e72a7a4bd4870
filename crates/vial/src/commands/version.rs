//! `vial version`.

use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::error::{Exit, Result};
use crate::output::{self, OutputArgs, Report};
use crate::ui::Ui;

/// Print the version
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    vial: &'static str,
    /// The version of Kubernetes in a new cluster.
    kubernetes: &'static str,
    architecture: &'static str,
}

impl Report for Version {
    type Data = Self;

    fn data(&self) -> &Self {
        self
    }

    fn text(&self, _wide: bool, _ui: &Ui) -> String {
        format!(
            "vial {} (kubernetes {}, {})\n",
            self.vial, self.kubernetes, self.architecture
        )
    }

    fn names(&self) -> Vec<String> {
        vec![self.vial.to_owned()]
    }
}

pub(crate) fn run(context: &Context, args: VersionArgs) -> Result {
    let version = Version {
        vial: env!("CARGO_PKG_VERSION"),
        kubernetes: vial_spec::defaults::KUBERNETES,
        architecture: std::env::consts::ARCH,
    };
    output::print(&context.ui, args.output.output, &version)?;
    Ok(Exit::OK)
}
