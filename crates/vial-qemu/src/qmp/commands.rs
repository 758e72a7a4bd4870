//! The commands that vial uses, with types. Names and fields: QEMU's qapi/*.json.

use std::fs::File;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Qmp, QmpError};

/// Whether a machine runs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Status {
    /// Do its processors run?
    pub running: bool,
    /// In which state it is.
    pub status: RunState,
}

/// The states that vial tells apart (RunState of qapi/run-state.json).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum RunState {
    /// Its processors run.
    Running,
    /// They were stopped.
    Paused,
    /// They have never run (`-S`).
    Prelaunch,
    /// It has ended, and QEMU was told to stay (`-no-shutdown`).
    Shutdown,
    /// Its kernel has panicked.
    GuestPanicked,
    /// The processor, or KVM, does not know how to go on.
    InternalError,
    /// A disk on the host has failed.
    IoError,
    /// It waits for a frozen machine's memory.
    Incoming,
    /// Another one, in QEMU's word.
    Other(String),
}

impl From<String> for RunState {
    fn from(word: String) -> Self {
        match word.as_str() {
            "running" => Self::Running,
            "paused" => Self::Paused,
            "prelaunch" => Self::Prelaunch,
            "shutdown" => Self::Shutdown,
            "guest-panicked" => Self::GuestPanicked,
            "internal-error" => Self::InternalError,
            "io-error" => Self::IoError,
            "inmigrate" => Self::Incoming,
            _ => Self::Other(word),
        }
    }
}

/// One virtual processor.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cpu {
    /// Its number.
    pub cpu_index: u32,
    /// The thread that is it, as seen in QEMU's pid namespace.
    pub thread_id: u32,
}

/// A guest's memory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Memory {
    /// What it was started with, in bytes.
    pub base_memory: u64,
    /// What was plugged in since, in bytes.
    #[serde(default)]
    pub plugged_memory: u64,
}

impl Qmp {
    /// Whether the machine runs.
    ///
    /// # Errors
    /// As for [`execute`](Self::execute), as with all that follow.
    pub async fn status(&self) -> Result<Status, QmpError> {
        self.query("query-status").await
    }

    /// Halts the processors.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn stop(&self) -> Result<(), QmpError> {
        self.order("stop", json!({})).await
    }

    /// Lets the processors go on.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn cont(&self) -> Result<(), QmpError> {
        self.order("cont", json!({})).await
    }

    /// Presses the reset button.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn system_reset(&self) -> Result<(), QmpError> {
        self.order("system_reset", json!({})).await
    }

    /// Presses the power button (ACPI); the guest may do nothing.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn system_powerdown(&self) -> Result<(), QmpError> {
        self.order("system_powerdown", json!({})).await
    }

    /// Ends QEMU at once, as pulling the plug does. Its answer and its end race: either is a success.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn quit(&self) -> Result<(), QmpError> {
        match self.order("quit", json!({})).await {
            Err(QmpError::Gone { .. }) => Ok(()),
            other => other,
        }
    }

    /// A picture of the display: a PNG file.
    ///
    /// QEMU may be nobody, and has another view of files: what it writes to is opened here and handed over.
    ///
    /// # Errors
    /// See [`status`](Self::status); also when there is no display, or no space for the picture.
    pub async fn screendump(&self) -> Result<Vec<u8>, QmpError> {
        let file = tempfile::NamedTempFile::new().map_err(QmpError::Picture)?;
        // QEMU compares how it is open with how it wants it (`monitor_fdset_dup_fd_add`).
        let writable = File::options().write(true).open(file.path());
        let lent = self.lend(writable.map_err(QmpError::Picture)?).await?;
        let arguments = json!({ "filename": lent.path(), "format": "png" });
        let drawn = self.order("screendump", arguments).await;
        let removed = self.take_back(lent).await;
        drawn.and(removed)?;
        std::fs::read(file.path()).map_err(QmpError::Picture)
    }

    /// How much memory the guest has.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn memory(&self) -> Result<Memory, QmpError> {
        self.query("query-memory-size-summary").await
    }

    /// How much of it the balloon leaves to the guest, in bytes.
    ///
    /// # Errors
    /// See [`status`](Self::status); also when there is no balloon (class `DeviceNotActive`).
    pub async fn balloon(&self) -> Result<u64, QmpError> {
        #[derive(Deserialize)]
        struct Balloon {
            actual: u64,
        }
        let Balloon { actual } = self.query("query-balloon").await?;
        Ok(actual)
    }

    /// Asks the balloon to leave so many bytes to the guest; the guest takes its time.
    ///
    /// # Errors
    /// See [`balloon`](Self::balloon).
    pub async fn set_balloon(&self, bytes: u64) -> Result<(), QmpError> {
        self.order("balloon", json!({ "value": bytes })).await
    }

    /// The virtual processors.
    ///
    /// # Errors
    /// See [`status`](Self::status).
    pub async fn cpus(&self) -> Result<Vec<Cpu>, QmpError> {
        self.query("query-cpus-fast").await
    }

    async fn query<T: DeserializeOwned>(&self, command: &str) -> Result<T, QmpError> {
        understand(command, self.execute(command, json!({})).await?)
    }

    async fn order(&self, command: &str, arguments: Value) -> Result<(), QmpError> {
        self.execute(command, arguments).await.map(drop)
    }
}

pub(super) fn understand<T: DeserializeOwned>(command: &str, answer: Value) -> Result<T, QmpError> {
    serde_json::from_value(answer).map_err(|source| QmpError::Unexpected {
        command: command.to_owned(),
        source,
    })
}
