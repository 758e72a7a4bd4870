//! The edge error of the command line: one line, the next steps, an exit code.
//!
//! Every command ends in [`Error`] or in an [`Exit`]. The crates below have their own typed errors; here they are turned
//! into what a person needs: what was tried on what, why it failed, what to do next, and a code for scripts.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use vial_engine::paths::PathsError;
use vial_image::debian::DebianError;
use vial_image::load::LoadError;

use crate::kubeconfig;

/// The result of a command.
pub(crate) type Result<T = Exit, E = Error> = std::result::Result<T, E>;

/// How a command that did its work ends the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit(pub(crate) u8);

impl Exit {
    /// All went well.
    pub(crate) const OK: Self = Self(0);
    /// The work was done and its answer is "no": `vial check`, `vial doctor`.
    pub(crate) const FAILED: Self = Self(1);
}

/// The documented exit codes of failures. The table in [`EXIT_CODES`] is what people read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    /// Anything not listed below.
    Failed = 1,
    /// A flag, a value or a file that cannot be right.
    BadInput = 2,
    /// No such cluster, node, component, image, file.
    NotFound = 3,
    /// Not root, or the kernel refuses.
    NotPermitted = 4,
    /// Somebody else is at work on the same thing.
    Conflict = 5,
    /// The disk is full, or will be.
    NoSpace = 6,
    /// It did not happen in time; it may still happen.
    TimedOut = 7,
    /// Ctrl-C.
    Interrupted = 130,
}

/// Shown at the end of `vial --help` and in the man page.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    all went well
  1    it failed (for check and doctor: something is not as it should be)
  2    bad input: a flag, a value, a file
  3    not found: no such cluster, node, component, image or file
  4    not permitted: root is needed, or the machine refuses
  5    conflict: somebody else is at work on the same thing
  6    no space left
  7    not done in time; it may go on in the background
  130  interrupted
  exec, ssh, kubectl, pod exec and pod ssh pass on the exit code of the command they ran.";

impl Code {
    /// The code that a keeper sent, or [`Code::Failed`] for one that this version does not know.
    pub(crate) fn from_u8(code: u8) -> Self {
        [
            Self::BadInput,
            Self::NotFound,
            Self::NotPermitted,
            Self::Conflict,
            Self::NoSpace,
            Self::TimedOut,
        ]
        .into_iter()
        .find(|known| *known as u8 == code)
        .unwrap_or(Self::Failed)
    }
}

/// What a person is told when a command cannot do its work.
#[derive(Debug)]
pub(crate) struct Error {
    code: Code,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
    details: Vec<String>,
    hints: Vec<String>,
    /// Nobody reads our output any more; there is nobody to tell.
    silent: bool,
}

impl Error {
    /// An error of vial's own, lowercase, naming operation and object.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            source: None,
            details: Vec::new(),
            hints: Vec::new(),
            silent: false,
        }
    }

    /// What a keeper tells: a message, below which it may quote lines of a log, and its code.
    pub(crate) fn told(code: u8, message: &str, hint: Option<String>) -> Self {
        let mut lines = message.lines();
        let first = lines.next().unwrap_or_default();
        lines
            .fold(Self::new(Code::from_u8(code), first), Self::detail)
            .maybe_hint(hint)
    }

    /// `message` failed because of `source`; the code follows from the input and output errors among the causes.
    pub(crate) fn caused(
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        let code = code_of(source.as_ref()).unwrap_or(Code::Failed);
        let error = Self {
            source: Some(source),
            ..Self::new(code, message)
        };
        match code {
            Code::NoSpace => error.hint(
                "`vial doctor` shows how much space vial needs; `vial node-image rm` frees some",
            ),
            _ => error,
        }
    }

    /// Says first what could not be done, where the message only says why.
    pub(crate) fn while_doing(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// A file that the person named cannot be read: it is not there, not theirs, or not what it should be.
    pub(crate) fn unreadable(shown: impl std::fmt::Display) -> impl FnOnce(io::Error) -> Self {
        let message = format!("cannot read {shown}");
        move |error| {
            let code = match error.kind() {
                io::ErrorKind::NotFound => Code::NotFound,
                io::ErrorKind::PermissionDenied => Code::NotPermitted,
                _ => Code::BadInput,
            };
            Self::caused(message, error).with_code(code)
        }
    }

    /// Adds a next step.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds a line below the message, for several things that are wrong at once.
    pub(crate) fn detail(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }

    /// Adds a next step when there is one.
    pub(crate) fn maybe_hint(self, hint: Option<impl Into<String>>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }

    /// Says which code it has, where the causes do not tell.
    pub(crate) fn with_code(mut self, code: Code) -> Self {
        self.code = code;
        self
    }

    /// Writing to standard output failed. A reader that went away (`vial ls | head -1`) is not a failure to speak of.
    pub(crate) fn output(source: io::Error) -> Self {
        let silent = source.kind() == io::ErrorKind::BrokenPipe;
        Self {
            silent,
            ..Self::caused("cannot write to standard output", source)
        }
    }

    /// The process's exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        if self.silent { 0 } else { self.code as u8 }
    }

    /// Did the person end it?
    pub(crate) fn is_interrupt(&self) -> bool {
        self.code == Code::Interrupted
    }

    /// What is printed after `error: `; nothing when there is nobody to read it.
    pub(crate) fn line(&self) -> Option<String> {
        (!self.silent).then(|| chain(self))
    }

    /// What is said below the message.
    pub(crate) fn details(&self) -> &[String] {
        &self.details
    }

    /// The next steps.
    pub(crate) fn hints(&self) -> &[String] {
        &self.hints
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<kubeconfig::Error> for Error {
    fn from(error: kubeconfig::Error) -> Self {
        let (code, hint) = (error.code(), error.hint());
        // The message of such an error already names operation and file, so it is the head of the chain.
        let mut edge = Self::caused(error.to_string(), error.into_source());
        if let Some(code) = code {
            edge.code = code;
        }
        edge.maybe_hint(hint)
    }
}

impl From<vial_cloud::Error> for Error {
    fn from(error: vial_cloud::Error) -> Self {
        use vial_cloud::Kind;
        let code = match error.kind() {
            Kind::Failed => Code::Failed,
            Kind::BadInput => Code::BadInput,
            Kind::NotFound => Code::NotFound,
            Kind::NotPermitted => Code::NotPermitted,
            Kind::Conflict => Code::Conflict,
            Kind::TimedOut => Code::TimedOut,
        };
        let hint = error.hint().map(str::to_owned);
        let mut edge = Self::new(code, error.to_string());
        edge.source = error.into_source();
        edge.maybe_hint(hint)
    }
}

impl From<PathsError> for Error {
    fn from(error: PathsError) -> Self {
        let (code, hint) = match error {
            PathsError::Foreign { .. } => (
                Code::NotPermitted,
                "set VIAL_RUN to a directory that nobody else can write to",
            ),
            PathsError::TooLong { .. } => (Code::BadInput, "set VIAL_RUN to a shorter one"),
        };
        Self::new(code, error.to_string()).hint(hint)
    }
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        let code = match error {
            LoadError::Store(error) => return error.into(),
            LoadError::Missing { .. } | LoadError::NotHere { .. } => Code::NotFound,
            LoadError::Engine { .. } => Code::Failed,
            _ => Code::BadInput,
        };
        let (hint, details) = (error.hint(), error.details());
        let edge = Self::caused(error.to_string(), error)
            .with_code(code)
            .maybe_hint(hint);
        details.into_iter().fold(edge, Self::detail)
    }
}

impl From<vial_image::Error> for Error {
    fn from(error: vial_image::Error) -> Self {
        use vial_image::Error as Image;
        let code = match &error {
            Image::NotFound { .. } => Some(Code::NotFound),
            Image::BadReference { .. } | Image::UnsupportedKubernetes { .. } => {
                Some(Code::BadInput)
            }
            Image::InUse { .. } => Some(Code::Conflict),
            Image::NoSpace { .. } => Some(Code::NoSpace),
            Image::Debian(error) => match **error {
                DebianError::NoSuite { .. } | DebianError::NoPackage { .. } => Some(Code::NotFound),
                DebianError::BadPackage { .. } | DebianError::Conflict { .. } => {
                    Some(Code::BadInput)
                }
                _ => None,
            },
            _ => None,
        };
        let hint = error.hint();
        let message = error.to_string();
        let mut edge = Self::caused(message, error);
        if let Some(code) = code {
            edge.code = code;
        }
        // Its own hint is nearer to what happened than the general one.
        if hint.is_some() {
            edge.hints.clear();
        }
        edge.maybe_hint(hint)
    }
}

/// An error and its causes on one line, `: ` between them. A cause that its effect already quotes is left out.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = one_line(&error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = one_line(&error.to_string());
        if !next.is_empty() && !text.ends_with(&next) {
            text = if text.is_empty() {
                next
            } else {
                format!("{text}: {next}")
            };
        }
        cause = error.source();
    }
    text
}

fn one_line(text: &str) -> String {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}

/// What the input and output errors among the causes say.
fn code_of(error: &(dyn StdError + 'static)) -> Option<Code> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            match error.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    return Some(Code::NotPermitted);
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    return Some(Code::NoSpace);
                }
                _ => {}
            }
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write /var/lib/vial/images/index.json")]
    struct Write(#[source] io::Error);

    #[test]
    fn causes_stand_on_one_line_and_only_once() {
        let error = Error::caused(
            "cannot save the image",
            Write(io::Error::other("cannot write\n  twice")),
        );
        assert_eq!(
            error.line().unwrap(),
            "cannot save the image: cannot write /var/lib/vial/images/index.json: cannot write; twice"
        );
        let error = Error::caused("cannot read x: gone", io::Error::other("gone"));
        assert_eq!(error.line().unwrap(), "cannot read x: gone");
    }

    #[test]
    fn the_code_follows_from_the_cause() {
        for (kind, code) in [
            (io::ErrorKind::StorageFull, 6),
            (io::ErrorKind::QuotaExceeded, 6),
            (io::ErrorKind::PermissionDenied, 4),
            (io::ErrorKind::NotFound, 1),
        ] {
            assert_eq!(
                Error::caused("x", Write(io::Error::from(kind))).exit_code(),
                code,
                "{kind}"
            );
        }
    }

    #[test]
    fn a_full_disk_has_a_next_step() {
        let error = Error::caused("x", io::Error::from(io::ErrorKind::StorageFull));
        assert!(error.hints()[0].contains("vial doctor"), "{error:?}");
    }

    #[test]
    fn a_reader_that_went_away_is_not_told() {
        let error = Error::output(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((error.line(), error.exit_code()), (None, 0));
        let error = Error::output(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(error.exit_code(), 6);
        assert!(error.line().is_some());
    }

    #[test]
    fn every_code_is_documented() {
        for code in [
            Code::Failed,
            Code::BadInput,
            Code::NotFound,
            Code::NotPermitted,
            Code::Conflict,
            Code::NoSpace,
            Code::TimedOut,
            Code::Interrupted,
        ] {
            let start = format!("  {:<4} ", code as u8);
            assert!(
                EXIT_CODES.lines().any(|line| line.starts_with(&start)),
                "{code:?}"
            );
        }
    }

    #[test]
    fn lines_that_a_keeper_quotes_stand_below_the_message() {
        let told = Error::told(1, "etcd is not ready\nlast lines:\n  no space", None);
        assert_eq!(told.line().unwrap(), "etcd is not ready");
        assert_eq!(told.details(), ["last lines:", "  no space"]);
    }

    #[test]
    fn a_keepers_code_is_kept_and_an_unknown_one_is_a_failure() {
        assert_eq!(Code::from_u8(6), Code::NoSpace);
        assert_eq!(Code::from_u8(0), Code::Failed);
        assert_eq!(Code::from_u8(99), Code::Failed);
    }
}
