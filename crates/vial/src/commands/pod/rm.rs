//! `vial pod rm`.

use clap::Args;
use futures::future::try_join_all;
use vial_cloud::execute;

use crate::context::Context;
use crate::error::{Code, Error, Exit, Result};
use crate::interrupt;
use crate::pods::choice::ChoiceArgs;
use crate::pods::place::{Place, PlaceArgs};

/// Remove pods
///
/// With all that belongs to them: Service, Deployment, Secrets, and the claims that were made for them, with what is on
/// them. Claims and paths that were there before stay.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial pod rm dp-test01
  vial pod rm dp-test[01-10] web
  vial pod rm 'dp-*'
  vial pod rm --all -n team")]
pub(super) struct RmArgs {
    #[command(flatten)]
    choice: ChoiceArgs,
    /// Do not wait until they are gone
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(super) async fn run(context: &Context, args: RmArgs) -> Result {
    let place = args.place.find(context).await?;
    let chosen = args.choice.find(&place).await?;
    let names: Vec<String> = chosen.into_iter().map(|pod| pod.name).collect();
    if names.is_empty() {
        context.ui.status("there is no such pod");
    }
    remove_all(context, &place, &names, args.no_wait).await?;
    Ok(Exit::OK)
}

/// Removes pods, and says so.
pub(super) async fn remove_all(
    context: &Context,
    place: &Place,
    names: &[String],
    no_wait: bool,
) -> Result<()> {
    if names.is_empty() {
        super::refresh(context, place).await;
        return Ok(());
    }
    let mut steps = context.ui.progress();
    for name in names {
        steps.started(name, &format!("remove pod {name}"), None, steps.now_us());
    }
    let (cloud, namespace) = (&place.cloud, place.namespace.as_str());
    let work = async {
        try_join_all(
            names
                .iter()
                .map(|name| execute::remove(cloud, namespace, name)),
        )
        .await?;
        if !no_wait {
            execute::wait_gone(cloud, namespace, names).await?;
        }
        Ok::<(), Error>(())
    };
    let done = tokio::select! {
        done = work => done,
        () = interrupt::signal() => Err(Error::new(Code::Interrupted, "interrupted; the removal goes on in the cluster")),
    };
    match &done {
        Ok(()) => names
            .iter()
            .for_each(|name| steps.finished(name, steps.now_us())),
        Err(_) => steps.end(true),
    }
    super::refresh(context, place).await;
    done
}
