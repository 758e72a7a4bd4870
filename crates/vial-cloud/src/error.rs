//! What can go wrong: each error says operation and object, [`Error::kind`] what kind of thing it is, [`Error::hint`] the
//! next step.

/// The result of what this crate does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it is; the command line has an exit code for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Anything else.
    Failed,
    /// What was asked for cannot be right.
    BadInput,
    /// No such pod, namespace, node, context.
    NotFound,
    /// RBAC or Pod Security says no.
    NotPermitted,
    /// Something that vial did not make, or made otherwise, is in the way.
    Conflict,
    /// It did not happen in time.
    TimedOut,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: Kind,
    message: String,
    hint: Option<String>,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error in words: lower-case, operation and object.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            source: None,
        }
    }

    /// Adds the next step.
    #[must_use]
    pub fn hinted(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What the API answered when `operation` was tried: `cannot create service demo/a`.
    pub fn api(operation: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let operation = operation.into();
        move |error| Self::of_api(operation, error)
    }

    /// As [`Error::api`].
    pub(crate) fn of_api(operation: String, error: kube::Error) -> Self {
        let kube::Error::Api(status) = &error else {
            return Self::new(Kind::Failed, operation)
                .caused(error)
                .hinted("`kubectl cluster-info` tells whether the cluster answers");
        };
        let message = format!("{operation}: {}", status.message);
        let (kind, hint) = match status.code {
            401 => (
                Kind::NotPermitted,
                Some("the credentials of the context are not accepted (any more)"),
            ),
            403 => (
                Kind::NotPermitted,
                Some("ask for the right, or choose a namespace where you have it: `-n NAMESPACE`"),
            ),
            404 => (Kind::NotFound, None),
            409 => (Kind::Conflict, None),
            400 | 422 => (Kind::BadInput, None),
            _ => (Kind::Failed, None),
        };
        let error = Self::new(kind, message);
        match hint {
            Some(hint) => error.hinted(hint),
            None => error,
        }
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The cause, for who tells the message otherwise.
    #[must_use]
    pub fn into_source(self) -> Option<Box<dyn std::error::Error + Send + Sync>> {
        self.source
    }

    /// The next step, when one is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}
