//! `vial down [NAME…] [--all]`.

use clap::Args;
use futures::StreamExt as _;
use vial_keeper::api::Event;
use vial_keeper::client::Client;

use crate::context::{Context, DEFAULT_CLUSTER, check_name, keeper_error};
use crate::error::{Code, Error, Exit, Result};
use crate::ui::Style;
use crate::{interrupt, kubeconfig};

/// Remove clusters, with all that belongs to them
///
/// Processes, networks, disks and the context in your kubeconfig are removed. Node images stay.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vial down            the default cluster\n  vial down dev test\n  vial down --all"
)]
pub(crate) struct DownArgs {
    /// The clusters; without one, VIAL_CLUSTER or `vial`
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// All clusters
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// A cluster that is not there is no error
    #[arg(long)]
    ignore_not_found: bool,
}

pub(crate) async fn run(context: &Context, args: DownArgs) -> Result {
    context.require_root("remove a cluster")?;
    let mut names = if args.all {
        vial_engine::record::names(&context.paths)
            .map_err(|error| Error::caused("cannot list the clusters", error))?
    } else if args.names.is_empty() {
        vec![
            std::env::var("VIAL_CLUSTER")
                .ok()
                .filter(|name| !name.is_empty())
                .unwrap_or(DEFAULT_CLUSTER.into()),
        ]
    } else {
        args.names
    };
    names.dedup();
    // All names are looked at before the first cluster is touched: a typing error removes nothing.
    let mut clients = Vec::new();
    for name in names {
        check_name(&name)?;
        match Client::find(&context.paths, &name)
            .await
            .map_err(|error| keeper_error(&name, error))?
        {
            Some(client) => clients.push((name, client)),
            None if args.ignore_not_found || args.all => {}
            None => return Err(context.no_cluster(&name)),
        }
    }
    let mut failed = None;
    for (name, client) in clients {
        // One cluster that cannot be removed does not keep the others.
        match down(context, &name, &client).await {
            Err(error) if error.is_interrupt() => return Err(error),
            Err(error) => {
                if let Some(earlier) = failed.replace(error) {
                    context.ui.error(&earlier);
                }
            }
            Ok(()) => {}
        }
    }
    failed.map_or(Ok(Exit::OK), Err)
}

async fn down(context: &Context, name: &str, client: &Client) -> Result<()> {
    // First the kubeconfig: what was merged where is remembered in the cluster's directory, which is about to go.
    let (changed, errors) = kubeconfig::unmerge(&context.paths.cluster_dir(name), name);
    for error in errors {
        context.ui.warn(format!(
            "the context {} stays: {error}",
            kubeconfig::context_name(name)
        ));
    }
    let mut progress = context.ui.progress();
    let mut events = std::pin::pin!(
        client
            .down()
            .await
            .map_err(|error| keeper_error(name, error))?
    );
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = interrupt::signal() => {
                return Err(Error::new(Code::Interrupted, format!("interrupted; cluster `{name}` is removed in the background")));
            }
        };
        match event {
            Some(Ok(Event::Done { .. })) => break,
            Some(Ok(Event::Failed {
                message,
                hint,
                code,
            })) => {
                progress.end(true);
                return Err(Error::new(Code::from_u8(code), message).maybe_hint(hint));
            }
            Some(Ok(event)) => progress.event(&event),
            Some(Err(error)) => return Err(keeper_error(name, error)),
            None => {
                return Err(Error::new(
                    Code::Failed,
                    format!("the keeper of cluster `{name}` ended during the removal"),
                )
                .hint(format!("run `vial down {name}` again")));
            }
        }
    }
    drop(progress);
    // Only when its keeper has ended is the name free and nothing left.
    tokio::select! {
        () = client.gone() => {}
        () = interrupt::signal() => {}
    }
    let ui = &context.ui;
    ui.status(format!(
        "{} cluster {name} is gone",
        ui.paint_err(Style::Good, "✓")
    ));
    for path in changed {
        ui.status(format!("  and its context from {}", path.display()));
    }
    Ok(())
}
