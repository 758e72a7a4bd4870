//! What every command gets: how to speak, where vial's files are, who is asking.

use vial_engine::paths::Paths;
use vial_keeper::client::Client;

use crate::error::{Code, Error, Result};
use crate::near;
use crate::ui::Ui;

/// The cluster that is meant when none is named.
pub(crate) const DEFAULT_CLUSTER: &str = "vial";

/// What every command gets.
#[derive(Debug)]
pub(crate) struct Context {
    /// How to speak.
    pub(crate) ui: Ui,
    /// Where vial's files are.
    pub(crate) paths: Paths,
    /// Do we run as root?
    pub(crate) root: bool,
}

impl Context {
    /// Refuses, before anything is touched, what only root can do.
    pub(crate) fn require_root(&self, what: &str) -> Result<()> {
        if self.root {
            return Ok(());
        }
        Err(Error::new(Code::NotPermitted, format!("only root can {what}"))
            .hint("run it with sudo; the kubeconfig that vial merges is still yours"))
    }

    /// A living keeper of the cluster `name`.
    ///
    /// # Errors
    /// When there is no such cluster; near names are told.
    pub(crate) async fn keeper(&self, name: &str) -> Result<Client> {
        check_name(name)?;
        match Client::find(&self.paths, name).await.map_err(|error| keeper_error(name, error))? {
            Some(client) => Ok(client),
            None => Err(self.no_cluster(name)),
        }
    }

    /// There is no cluster `name`.
    pub(crate) fn no_cluster(&self, name: &str) -> Error {
        let names = vial_engine::record::names(&self.paths).unwrap_or_default();
        let error = Error::new(Code::NotFound, format!("there is no cluster `{name}`"));
        if names.is_empty() {
            return error.hint(format!("{} makes it", command_line("up", name)));
        }
        error.hint(near::hint("cluster", name, names.iter().map(String::as_str)))
    }
}

/// A cluster's name becomes part of paths: whatever is not a name goes no further.
pub(crate) fn check_name(name: &str) -> Result<()> {
    vial_spec::names::check_cluster(name)
        .map_err(|error| Error::new(Code::BadInput, format!("not the name of a cluster: {error}")))
}

/// The keeper of `name` could not be asked.
pub(crate) fn keeper_error(name: &str, error: vial_keeper::Error) -> Error {
    let (code, hint) = (Code::from_u8(error.code()), error.hint());
    let error = Error::caused(format!("cluster `{name}`"), error);
    let error = if code == Code::Failed { error } else { error.with_code(code) };
    error.maybe_hint(hint)
}

/// How to write a command for the cluster `name`: the default name is left out.
pub(crate) fn command_line(verb: &str, name: &str) -> String {
    if name == DEFAULT_CLUSTER { format!("`vial {verb}`") } else { format!("`vial {verb} {name}`") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::ColorChoice;

    #[test]
    fn names_that_lead_out_of_the_directory_are_refused() {
        for name in ["", "..", ".", "a/b", "-a", "a-", "A", "ä", &"a".repeat(33), "a b", "a\0"] {
            assert_eq!(check_name(name).unwrap_err().exit_code(), 2, "{name:?}");
        }
        for name in ["vial", "a", "ci-4711", &"a".repeat(32)] {
            check_name(name).unwrap();
        }
    }

    #[test]
    fn who_is_not_root_is_told_how() {
        let context = Context {
            ui: Ui::new(true, ColorChoice::Never),
            paths: Paths { home: "/nonexistent".into(), run: "/nonexistent".into() },
            root: false,
        };
        let error = context.require_root("make a cluster").unwrap_err();
        assert_eq!((error.exit_code(), error.line().as_deref()), (4, Some("only root can make a cluster")));
        assert!(error.hints()[0].contains("sudo"));
    }

    #[test]
    fn the_default_name_is_left_out() {
        assert_eq!(command_line("down", "vial"), "`vial down`");
        assert_eq!(command_line("down", "dev"), "`vial down dev`");
    }
}
