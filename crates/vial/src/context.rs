//! What every command gets: how to speak, where vial's files are, who is asking.

use vial_engine::paths::Paths;
use vial_engine::record::Record;
use vial_keeper::api::ClusterStatus;
use vial_keeper::client::{Client, ClientError};

use crate::error::{Code, Error, Result};
use crate::near;
use crate::ui::Ui;

/// The cluster that is meant when none is named.
pub(crate) const DEFAULT_CLUSTER: &str = "vial";

/// What every command gets.
#[derive(Debug, Clone)]
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
        Err(
            Error::new(Code::NotPermitted, format!("only root can {what}"))
                .hint("run it with sudo; the kubeconfig that vial merges is still yours"),
        )
    }

    /// Refuses, before anything is touched, what only those can do whose clusters these are: theirs is the home.
    pub(crate) fn require_owner(&self, what: &str) -> Result<()> {
        if self.root || self.paths.are_ours() {
            return Ok(());
        }
        let home = self.paths.home.display();
        let message = format!("{home} is somebody else's: only its owner and root can {what}");
        Err(Error::new(Code::NotPermitted, message).hint("run it with sudo, or without VIAL_HOME"))
    }

    /// A living keeper of the cluster `name`.
    ///
    /// # Errors
    /// When there is no such cluster; near names are told.
    pub(crate) async fn keeper(&self, name: &str) -> Result<Client> {
        check_name(name)?;
        match Client::find(&self.paths, name)
            .await
            .map_err(|error| keeper_error(name, error))?
        {
            Some(client) => Ok(client),
            None => Err(self.no_cluster(name)),
        }
    }

    /// The state of the cluster behind `client`.
    ///
    /// # Errors
    /// When the keeper does not answer, or the cluster went away meanwhile.
    pub(crate) async fn status(&self, name: &str, client: &Client) -> Result<ClusterStatus> {
        let status = match client.status().await {
            // It was ending when it was found: the next one knows why.
            Err(ClientError::Talk { .. }) => self.keeper(name).await?.status().await,
            answered => answered,
        };
        status
            .map_err(|error| keeper_error(name, error))?
            .ok_or_else(|| self.no_cluster(name))
    }

    /// What is known of a cluster, without asking its keeper.
    ///
    /// # Errors
    /// When there is no such cluster, or its record cannot be read.
    pub(crate) fn record(&self, name: &str) -> Result<Record> {
        check_name(name)?;
        match Record::load(&self.paths, name) {
            Ok(Some(record)) => Ok(record),
            Ok(None) | Err(_) => Err(self.no_cluster(name)),
        }
    }

    /// Where those may be that somebody misses: made with sudo, they are root's.
    pub(crate) fn roots_clusters(&self) -> Option<String> {
        let roots = Paths::default_roots().clusters_dir();
        let others = !self.root && roots.exists() && roots != self.paths.clusters_dir();
        others.then(|| "clusters that were made with sudo are seen with sudo".to_owned())
    }

    /// There is no cluster `name`.
    pub(crate) fn no_cluster(&self, name: &str) -> Error {
        let names = vial_engine::record::names(&self.paths).unwrap_or_default();
        if names.iter().any(|known| known == name) {
            // A directory without a record that can be read; only its removal is sure to work.
            let error = match Record::load(&self.paths, name) {
                Err(error) => {
                    Error::caused(format!("cluster `{name}` cannot be understood"), error)
                }
                Ok(_) => Error::new(
                    Code::Failed,
                    format!("the record of cluster `{name}` is missing"),
                ),
            };
            return error.hint(format!(
                "{} removes what is left of it",
                command_line("down", name)
            ));
        }
        let error = Error::new(Code::NotFound, format!("there is no cluster `{name}`"));
        let error = error.maybe_hint(self.roots_clusters());
        if names.is_empty() {
            return error.hint(format!("{} makes it", command_line("up", name)));
        }
        error.hint(near::hint(
            "cluster",
            name,
            names.iter().map(String::as_str),
        ))
    }
}

/// A cluster's name becomes part of paths: whatever is not a name goes no further.
pub(crate) fn check_name(name: &str) -> Result<()> {
    vial_spec::names::check_cluster(name).map_err(|error| {
        Error::new(
            Code::BadInput,
            format!("not the name of a cluster: {error}"),
        )
    })
}

/// The keeper of `name` could not be asked, or refused.
pub(crate) fn keeper_error(name: &str, error: ClientError) -> Error {
    match error {
        ClientError::Refused {
            status,
            message,
            hint,
        } => {
            let code = match status {
                400 | 422 | 426 => Code::BadInput,
                403 => Code::NotPermitted,
                404 => Code::NotFound,
                409 | 423 => Code::Conflict,
                507 => Code::NoSpace,
                _ => Code::Failed,
            };
            let message = message.trim();
            let error = Error::new(
                code,
                if message.is_empty() {
                    format!("the keeper refused ({status})")
                } else {
                    message.to_owned()
                },
            );
            let error = error.maybe_hint(hint);
            match status {
                503 => error.hint(format!("{} starts it", command_line("up", name))),
                _ => error,
            }
        }
        ClientError::Engine(error) => {
            let hint = error.hint();
            let message = error.to_string();
            Error::caused(message, error).maybe_hint(hint)
        }
        ClientError::Talk { .. } => Error::caused(error.to_string(), error).hint(
            "try it again: a keeper that died is started anew, the cluster lives on without it",
        ),
        ClientError::Start { .. } | ClientError::End { .. } => {
            Error::caused(error.to_string(), error)
        }
        ClientError::Elsewhere { .. } => {
            Error::new(Code::Conflict, error.to_string()).hint("set VIAL_RUN as it was set there")
        }
        ClientError::Silent { pid, .. } => {
            let kill = pid.map_or_else(|| "end it".to_owned(), |pid| format!("`kill -9 {pid}`"));
            Error::new(Code::TimedOut, error.to_string())
                .hint(format!(
                    "{kill}, and the next command starts another one: the cluster lives on without it"
                ))
                .hint(format!(
                    "{} ends it and removes the cluster",
                    command_line("down", name)
                ))
        }
    }
}

/// How to write a command for the cluster `name`: the default name is left out.
pub(crate) fn command_line(verb: &str, name: &str) -> String {
    if name == DEFAULT_CLUSTER {
        format!("`vial {verb}`")
    } else {
        format!("`vial {verb} {name}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::ColorChoice;

    #[test]
    fn names_that_lead_out_of_the_directory_are_refused() {
        for name in [
            "",
            "..",
            ".",
            "a/b",
            "-a",
            "a-",
            "A",
            "ä",
            &"a".repeat(33),
            "a b",
            "a\0",
        ] {
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
            paths: Paths {
                home: "/nonexistent".into(),
                run: "/nonexistent".into(),
            },
            root: false,
        };
        let error = context.require_root("make a cluster").unwrap_err();
        assert_eq!(
            (error.exit_code(), error.line().as_deref()),
            (4, Some("only root can make a cluster"))
        );
        assert!(error.hints()[0].contains("sudo"));
    }

    #[test]
    fn what_a_keeper_refuses_keeps_its_words() {
        let refused = |status| {
            keeper_error(
                "dev",
                ClientError::Refused {
                    status,
                    message: "cluster dev is stopped\n".into(),
                    hint: None,
                },
            )
        };
        assert_eq!(refused(409).exit_code(), 5);
        assert_eq!(
            refused(503).line().as_deref(),
            Some("cluster dev is stopped")
        );
        assert_eq!(refused(503).hints(), ["`vial up dev` starts it"]);
        let source = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let error = keeper_error(
            "dev",
            ClientError::Talk {
                cluster: "dev".into(),
                source,
            },
        );
        assert_eq!(error.exit_code(), 4);
        assert_eq!(
            error.line().unwrap(),
            "cannot talk to the keeper of cluster dev: permission denied"
        );
    }

    #[test]
    fn the_default_name_is_left_out() {
        assert_eq!(command_line("down", "vial"), "`vial down`");
        assert_eq!(command_line("down", "dev"), "`vial down dev`");
    }
}
