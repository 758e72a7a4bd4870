//! `vial down [NAME…] [--all]`.

use clap::Args;
use futures::StreamExt as _;
use vial_keeper::api::Event;
use vial_keeper::client::{Client, ClientError};

use crate::context::{Context, DEFAULT_CLUSTER, check_name, keeper_error};
use crate::error::{Code, Error, Exit, Result};
use crate::ui::Style;
use crate::{interrupt, kubeconfig, ssh};

/// Remove clusters, with all that belongs to them
///
/// Processes, networks, disks and the context in your kubeconfig are removed. Node images stay. A keeper that does not
/// answer is ended, and another one removes the cluster.
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
    context.require_owner("remove a cluster")?;
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
    names.sort();
    names.dedup();
    // All names are looked at before the first cluster is touched: a typing error removes nothing.
    let mut clients = Vec::new();
    for name in names {
        check_name(&name)?;
        match find(context, &name).await? {
            Some(client) => clients.push((name, client)),
            None if args.ignore_not_found || args.all => {}
            None => return Err(context.no_cluster(&name)),
        }
    }
    let mut failed = None;
    for (name, client) in clients {
        // One cluster that cannot be removed does not keep the others.
        match down(context, &name, client).await {
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

/// The cluster's keeper, or another one in the place of one that does not come up.
async fn find(context: &Context, name: &str) -> Result<Option<Client>> {
    let found = match Client::find(&context.paths, name).await {
        Err(silent @ ClientError::Silent { .. }) => {
            end_keeper(context, name, &silent).await?;
            Client::find(&context.paths, name).await
        }
        found => found,
    };
    found.map_err(|error| keeper_error(name, error))
}

async fn down(context: &Context, name: &str, client: Client) -> Result<()> {
    // First the kubeconfig: what was merged where is remembered in the cluster's directory, which is about to go.
    let (changed, errors) = kubeconfig::unmerge(&context.paths.cluster_dir(name), name);
    for error in errors {
        context.ui.warn(format!(
            "the context {} stays: {error}",
            kubeconfig::context_name(name)
        ));
    }
    let mut removed = remove(context, name, &client).await;
    // `down` always works, so a keeper that is stuck is not waited for; once is enough.
    if let Err(Failed::Client(silent @ ClientError::Silent { .. })) = &removed {
        end_keeper(context, name, silent).await?;
        removed = match Client::find(&context.paths, name).await {
            Ok(Some(client)) => remove(context, name, &client).await,
            // It had done all but to end.
            Ok(None) => Ok(()),
            Err(error) => Err(error.into()),
        };
    }
    removed.map_err(|failed| match failed {
        Failed::Client(error) => keeper_error(name, error),
        Failed::Told(error) => error,
    })?;
    let ui = &context.ui;
    let removed = ssh::files::remove(&context.paths, name);
    if let Err(error) = removed.and_then(|()| ssh::pods::forget(name)) {
        ui.warn(format!("files for ssh stay: {error}"));
    }
    ui.status(format!(
        "{} cluster {name} is gone",
        ui.paint_err(Style::Good, "✓")
    ));
    for path in changed {
        ui.status(format!("  and its context from {}", path.display()));
    }
    Ok(())
}

/// Ends a keeper that does not answer.
async fn end_keeper(context: &Context, name: &str, silent: &ClientError) -> Result<()> {
    context.ui.warn(format!(
        "{silent}; it is ended, another one removes the cluster"
    ));
    Client::end_keeper(&context.paths, name)
        .await
        .map_err(|error| keeper_error(name, error))
}

/// Why a cluster could not be removed.
enum Failed {
    /// Its keeper could not be asked.
    Client(ClientError),
    /// The removal itself, or the person, ended it.
    Told(Error),
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// Has the keeper remove the cluster, and waits for the end of both.
async fn remove(context: &Context, name: &str, client: &Client) -> Result<(), Failed> {
    let interrupted = || {
        Failed::Told(Error::new(
            Code::Interrupted,
            format!("interrupted; cluster `{name}` is removed in the background"),
        ))
    };
    let mut progress = context.ui.progress();
    let mut events = std::pin::pin!(client.down().await?);
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = interrupt::signal() => return Err(interrupted()),
        };
        match event {
            Some(Ok(Event::Done { .. })) => break,
            Some(Ok(Event::Failed {
                message,
                hint,
                code,
            })) => {
                progress.end(true);
                let error = Error::told(code, &message, hint);
                return Err(Failed::Told(error));
            }
            Some(Ok(event)) => progress.event(&event),
            Some(Err(error)) => return Err(error.into()),
            None => {
                let message = format!("the keeper of cluster `{name}` ended during the removal");
                let error =
                    Error::new(Code::Failed, message).hint(format!("run `vial down {name}` again"));
                return Err(Failed::Told(error));
            }
        }
    }
    drop(progress);
    // Only when its keeper has ended is the name free and nothing left.
    tokio::select! {
        gone = client.gone() => Ok(gone?),
        () = interrupt::signal() => Err(interrupted()),
    }
}
