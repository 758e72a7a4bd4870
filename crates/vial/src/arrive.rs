//! A cluster that has just come up: what a person's own files have to know of it.

use vial_engine::record::Record;
use vial_keeper::client::Client;

use crate::commands::kubeconfig::{access, merge};
use crate::context::{Context, keeper_error};
use crate::error::Result;
use crate::kubeconfig::{self, Environment, Place};
use crate::ssh;

/// The kubeconfig to merge into, where one is wanted; refused before anything is made when it cannot be.
///
/// # Errors
/// When it cannot be read, or would not take another context.
pub(crate) fn place(wanted: bool) -> Result<Option<Place>> {
    let place = wanted.then(|| Place::find(&Environment::of_process()));
    if let Some(place) = &place {
        kubeconfig::check(place)?;
    }
    Ok(place)
}

/// Merges the cluster's context where there is a place for it, and tells ssh of its nodes.
///
/// # Errors
/// When the kubeconfig cannot be written.
pub(crate) async fn settle(
    context: &Context,
    name: &str,
    client: &Client,
    place: Option<&Place>,
) -> Result<()> {
    if place.is_some() {
        let found = client.access().await;
        let access = access(found.map_err(|error| keeper_error(name, error))?);
        merge(context, name, &access)?;
    }
    tell_ssh(context, name);
    Ok(())
}

/// ssh finds the nodes that are there now.
pub(crate) fn tell_ssh(context: &Context, name: &str) {
    if let Ok(Some(record)) = Record::load(&context.paths, name)
        && let Err(error) = ssh::files::refresh(&context.paths, &record.spec)
    {
        // The cluster is up all the same.
        context
            .ui
            .warn(format!("ssh does not know the nodes: {error}"));
    }
}
