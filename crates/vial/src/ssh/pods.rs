//! What a `vial pod` command does for ssh: the person's key, and the names of the pods as they are now.
//!
//! ```text
//! cluster of this machine ─► its keeper writes for everybody, we only ask it to do so now
//! any other one           ─► ~/.ssh/vial/contexts/CONTEXT.conf, by us
//! ```

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use vial_cloud::pods::{self, Scope};
use vial_cloud::ssh::config::{Site, text};
use vial_cloud::ssh::quote::proxy_word;
use vial_cloud::ssh::{Home, Installed};

use super::files::{Person, absolute, write_at_keyboard};
use crate::context::{Context, keeper_error};
use crate::error::{Error, Result};
use crate::kubeconfig::context_name;
use crate::pods::place::{Place, host_part};
use crate::terminal;

/// Has the person's ssh know the pods of a place as they are now. What goes wrong is told, and fails nothing: the pods are
/// what they are.
pub(crate) async fn refresh(context: &Context, place: &Place) {
    if let Err(error) = try_refresh(context, place).await {
        let why = error.line().unwrap_or_default();
        context
            .ui
            .warn(format!("ssh may not find pods by name: {why}"));
    }
}

/// As [`refresh`].
///
/// # Errors
/// When the pods cannot be listed, or the files not be written.
pub(crate) async fn try_refresh(context: &Context, place: &Place) -> Result<Home> {
    let (home, _) = prepare(context)?;
    match &place.cluster {
        Some(cluster) => {
            write_at_keyboard(&context.paths, &context.record(cluster)?.spec)?;
            let keeper = context.keeper(cluster).await?;
            let refreshed = keeper.refresh_pods().await;
            refreshed.map_err(|error| keeper_error(cluster, error))?;
        }
        None if is_followed(context, place) => {}
        None => {
            sweep(context, place).await?;
            write(&home, place).await?;
        }
    }
    Ok(home)
}

/// As [`refresh`], for commands that only look: nothing is begun for who never had a pod.
pub(crate) async fn refresh_if_used(context: &Context, place: &Place) {
    if Person::home_at_keyboard().is_ok_and(|home| home.is_prepared()) {
        refresh(context, place).await;
    }
}

/// The public half of the person's own key for pods, fit for `authorized_keys`; it is made at the first use.
///
/// # Errors
/// When `~/.ssh/vial` cannot be made.
pub(crate) fn own_key(context: &Context) -> Result<String> {
    Ok(prepare(context)?.1)
}

/// Asks, once and only at a terminal, whether ssh shall find pods by their names.
///
/// # Errors
/// When the person wants it and `~/.ssh/config` cannot be written.
pub(crate) fn offer(context: &Context) -> Result<()> {
    let (home, _) = prepare(context)?;
    let asked = home.vial().join("asked");
    let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if !terminal || home.is_installed() || asked.exists() {
        return Ok(());
    }
    let question = format!(
        "put `{}` into ~/.ssh/config, so that `ssh NAME` finds pods? [Y/n] ",
        home.line()
    );
    let answer = terminal::ask(&context.ui, &question)?;
    // Whoever was asked is not asked again; `vial ssh-config --install` stays.
    let _ = home.who.act(|| std::fs::File::create(&asked)?.flush());
    match answer.as_str() {
        "" | "y" | "yes" => install(context),
        _ => Ok(()),
    }
}

/// Puts the line into `~/.ssh/config`.
///
/// # Errors
/// When it cannot be written, or is not the person's.
pub(crate) fn install(context: &Context) -> Result<()> {
    let (home, _) = prepare(context)?;
    // Of a home of vial that is not made yet nothing can be said.
    if let Some(closed) = Person::at_keyboard()
        .obstacle(&context.paths)
        .filter(|_| context.root)
    {
        let closed = closed.display();
        context.ui.warn(format!(
            "{closed} does not let you pass, so your ssh cannot read the names there: `sudo chmod o+x {closed}`"
        ));
    }
    edit(context, &home, "put into", home.install())
}

/// Forgets what was written for the context of a cluster that is gone; the keeper's names go with its files.
///
/// # Errors
/// When it cannot be removed.
pub(crate) fn forget(cluster: &str) -> Result<()> {
    let home = Person::home_at_keyboard().ok();
    let Some(home) = home.filter(Home::is_prepared) else {
        return Ok(());
    };
    let what = format!("cannot write below {}", home.vial().display());
    home.remove_context(&host_part(&context_name(cluster)))
        .and_then(|()| home.settle())
        .map_err(|error| Error::caused(what, error))
}

/// Takes it out again; what vial wrote beside stays.
///
/// # Errors
/// When it cannot be written, or is not the person's.
pub(crate) fn uninstall(context: &Context) -> Result<()> {
    let home = Person::home_at_keyboard()?;
    edit(context, &home, "taken out of", home.uninstall())
}

fn edit(
    context: &Context,
    home: &Home,
    what: &str,
    done: std::io::Result<Installed>,
) -> Result<()> {
    let file = home.dir.join(".ssh/config");
    let file = file.display();
    let done = done.map_err(|error| Error::caused(format!("cannot change {file}"), error))?;
    context.ui.status(match done {
        Installed::Changed => format!("`{}` {what} {file}", home.line()),
        Installed::Unchanged => format!("{file} is as it should be"),
    });
    Ok(())
}

/// The home with everything that is made at the first use, and the public key.
fn prepare(context: &Context) -> Result<(Home, String)> {
    let home = Person::home_at_keyboard()?;
    let clusters = Person::at_keyboard().directory(&context.paths);
    let vial = home.vial();
    let key = home
        .prepare(&clusters)
        .map_err(|error| Error::caused(format!("cannot make {}", vial.display()), error))?;
    Ok((home, key))
}

/// Does the keeper of a cluster of this machine write these names already, though we may not ask it?
fn is_followed(context: &Context, place: &Place) -> bool {
    let Some(cluster) = place.cloud.context().strip_prefix("vial-") else {
        return false;
    };
    let clusters = Person::at_keyboard().directory(&context.paths);
    vial_spec::names::check_cluster(cluster).is_ok() && clusters.join(cluster).join("pods").exists()
}

/// Removes the pods of the namespace that were made for a time: no keeper does it there.
async fn sweep(context: &Context, place: &Place) -> Result<()> {
    let scope = Scope::Namespace(place.namespace.clone());
    for pod in vial_cloud::expiry::sweep(&place.cloud, &scope).await? {
        let (namespace, name) = (pod.namespace, pod.name);
        context.ui.status(format!(
            "the pod {namespace}/{name} was removed: its time was over"
        ));
    }
    Ok(())
}

/// Lists the pods and writes their names.
async fn write(home: &Home, place: &Place) -> Result<()> {
    // Where we may not see all, what was known of other namespaces stays.
    let (pods, only) = match pods::services(&place.cloud, &Scope::All).await {
        Err(error) if error.kind() == vial_cloud::Kind::NotPermitted => {
            let scope = Scope::Namespace(place.namespace.clone());
            let pods = pods::services(&place.cloud, &scope).await?;
            (pods, Some(place.namespace.as_str()))
        }
        pods => (pods?, None),
    };
    let host_part = place.host_part();
    let keys = home.keys();
    let netcat = netcat(place)?;
    let files = |known_hosts: &Path| {
        let site = Site {
            context: &host_part,
            taken: &[],
            keys: &keys,
            known_hosts,
        };
        text(site, &pods, |pod| {
            format!("{netcat} -n {} {}", pod.namespace, pod.name)
        })
    };
    let written = home
        .put_context(&host_part, only, files)
        .and_then(|()| home.settle());
    let what = format!("cannot write below {}", home.vial().display());
    written.map_err(|error| Error::caused(what, error))
}

/// How a pod of another cluster is reached, but for its name: for the person's shell.
fn netcat(place: &Place) -> Result<String> {
    let program = std::env::current_exe()
        .map_err(|error| Error::caused("cannot find the path of vial itself", error))?;
    let path = |path: &Path| proxy_word(&absolute(path).to_string_lossy());
    let mut words = Vec::new();
    let variable = std::env::var("KUBECONFIG").ok();
    if let Some(files) = variable.filter(|files| !files.is_empty() && place.kubeconfig.is_none()) {
        let files: Vec<String> = files
            .split(':')
            .map(|file| absolute(Path::new(file)).display().to_string())
            .collect();
        words.push(format!("env KUBECONFIG={}", proxy_word(&files.join(":"))));
    }
    words.push(path(&program));
    words.push("pod netcat".to_owned());
    if let Some(file) = &place.kubeconfig {
        words.push(format!("--kubeconfig {}", path(file)));
    }
    words.push(format!("--context {}", proxy_word(place.cloud.context())));
    Ok(words.join(" "))
}
