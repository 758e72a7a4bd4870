//! `vial fork NAME COPY…`.

use std::time::Instant;

use clap::Args;
use vial_engine::record::Record;
use vial_engine::template::Templates;
use vial_keeper::api::StateRequest;

use super::thaw::thaw;
use super::up::say_up;
use crate::context::{Context, check_name};
use crate::error::{Code, Error, Exit, Result};
use crate::{arrive, follow};

/// Copy a running cluster: the copies go on from this moment, and so does the cluster
///
/// Copies have the nodes, the objects and the addresses of the cluster, and ports of their own on the host. They share what
/// nobody has changed since.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vial fork dev try-1\n  vial fork dev try-1 try-2 try-3")]
pub(crate) struct ForkArgs {
    /// The cluster
    #[arg(value_name = "NAME")]
    name: String,
    /// The copies
    #[arg(value_name = "COPY", required = true)]
    copies: Vec<String>,
    /// Leave kubeconfig files alone
    #[arg(long)]
    no_kubeconfig: bool,
}

pub(crate) async fn run(context: &Context, args: ForkArgs) -> Result {
    context.require_owner("make a cluster")?;
    let names = &args.copies;
    for (index, copy) in names.iter().enumerate() {
        check_name(copy)?;
        let there = matches!(Record::load(&context.paths, copy), Ok(Some(_)) | Err(_));
        if there || names[..index].contains(copy) {
            let what = format!("there is a cluster {copy} already");
            return Err(Error::new(Code::Conflict, what).hint(format!(
                "choose another name, or remove it with `vial down {copy}`"
            )));
        }
    }
    let client = context.keeper(&args.name).await?;
    let place = arrive::place(!args.no_kubeconfig)?;
    // Not a name that somebody chose: two forks at once are two templates.
    let template = format!(
        "fork-{:x}-{:x}",
        std::process::id(),
        crate::when::now().as_microsecond()
    );
    let request = StateRequest::Freeze {
        template: template.clone(),
        replace: false,
        stop: false,
    };
    let mut progress = context.ui.progress();
    let frozen = follow::follow(&args.name, client.state(&request).await, &mut progress).await;
    progress.end(frozen.is_err());
    frozen?;
    let mut failed = None;
    for copy in names {
        let began = Instant::now();
        let mut progress = context.ui.progress();
        let made = thaw(context, &template, copy, false, &mut progress).await;
        progress.end(made.is_err());
        match made {
            Ok((client, status)) => {
                arrive::settle(context, copy, &client, place.as_ref()).await?;
                say_up(&context.ui, &status, began.elapsed());
            }
            // One copy that cannot be made does not keep the others.
            Err(error) if error.is_interrupt() => {
                failed = Some(error);
                break;
            }
            Err(error) => {
                if let Some(earlier) = failed.replace(error) {
                    context.ui.error(&earlier);
                }
            }
        }
    }
    // The copies have what they need of it.
    if let Err(error) = Templates::of(&context.paths).discard(&template) {
        context
            .ui
            .warn(format!("template {template} stays: {error}"));
    }
    failed.map_or(Ok(Exit::OK), Err)
}
