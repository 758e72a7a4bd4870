//! `vial diagnose [NAME]`.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use super::node_image::size;
use crate::context::{Context, check_name};
use crate::diagnose::{self, Subject, Target};
use crate::error::{Code, Error, Exit, Result};
use crate::interrupt;
use crate::ui::{Style, seconds};
use crate::wanted::default_name;
use crate::when;

/// Gather all that a bug report needs into one archive, without secrets
///
/// The state of the machine, of the cluster, its nodes, logs and Kubernetes' objects, as one tar.gz with an index in
/// README.txt. It works on a cluster that is half made, damaged, stopped or stuck: what cannot be gathered is told in the
/// index. Nothing is started or changed. Keys, tokens, passwords, values of environment variables, what Secrets and the
/// files of vial.yaml hold are removed; look at it all the same before you send it to others.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial diagnose
  vial diagnose dev -o /tmp/dev.tar.gz
  vial diagnose dev -o - | ssh somewhere 'cat > dev.tar.gz'
  tar -xzf \"$(vial diagnose -q)\"")]
pub(crate) struct DiagnoseArgs {
    /// The cluster; without one, and when there is none called vial, only the machine [env: VIAL_CLUSTER]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// The cluster, as for other commands
    #[arg(short, long, value_name = "NAME", conflicts_with = "name")]
    cluster: Option<String>,
    /// Where to write it, `-` for standard output [default: vial-diagnose-NAME-TIME.tar.gz]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) async fn run(context: &Context, args: DiagnoseArgs) -> Result {
    context.require_owner("see all of a cluster")?;
    let cluster = cluster(context, args.name.or(args.cluster))?;
    let about = cluster.as_deref().unwrap_or("machine");
    let title = format!(
        "vial-diagnose-{about}-{}",
        when::now().strftime("%Y%m%dT%H%M%SZ")
    );
    let (target, file) = match args.output {
        Some(path) if path == Path::new("-") => {
            if std::io::stdout().is_terminal() {
                let what = "standard output is a terminal, the archive is no text";
                return Err(Error::new(Code::BadInput, what).hint("-o FILE, or a pipe behind it"));
            }
            (Target::Output(context.ui.clone()), None)
        }
        Some(path) if path.is_dir() => {
            let what = format!("{} is a directory", path.display());
            let within = path.join(format!("{title}.tar.gz"));
            return Err(Error::new(Code::BadInput, what).hint(format!("-o {}", within.display())));
        }
        path => {
            let path = path.unwrap_or_else(|| format!("{title}.tar.gz").into());
            (Target::File(path.clone()), Some(path))
        }
    };
    let begun = Instant::now();
    let subject = Subject { cluster, title };
    let summary = tokio::select! {
        summary = diagnose::write(context, &subject, target) => summary?,
        () = interrupt::signal() => {
            return Err(Error::new(Code::Interrupted, "interrupted, nothing was written"));
        }
    };
    let ui = &context.ui;
    let left = match summary.failed {
        0 => String::new(),
        failed => format!("; {failed} not gathered, see its README.txt"),
    };
    ui.status(format!(
        "{} {} files, {} {}{left}",
        ui.paint_err(Style::Good, "✓"),
        summary.files,
        size(summary.bytes),
        ui.paint_err(Style::Dim, &format!("({})", seconds(begun.elapsed()))),
    ));
    if let Some(path) = file {
        ui.data(format!("{}\n", path.display()))?;
    }
    Ok(Exit::OK)
}

/// The cluster that is meant. One that is named has to be there, at least what is left of it.
fn cluster(context: &Context, named: Option<String>) -> Result<Option<String>> {
    let environment = std::env::var_os("VIAL_CLUSTER").is_some_and(|name| !name.is_empty());
    let meant = named.is_some() || environment;
    let name = named.unwrap_or_else(default_name);
    check_name(&name)?;
    let known = vial_engine::record::names(&context.paths).unwrap_or_default();
    if known.contains(&name) {
        return Ok(Some(name));
    }
    if meant {
        return Err(context.no_cluster(&name));
    }
    if !known.is_empty() {
        let names = known.join(", ");
        context.ui.warn(format!(
            "only the machine is looked at; of a cluster, name it: {names}"
        ));
    }
    Ok(None)
}
