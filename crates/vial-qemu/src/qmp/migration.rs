//! A machine's state, written to files. Names and fields: QEMU's qapi/migration.json, qapi/block-core.json.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::commands::understand;
use super::{Lent, Qmp, QmpError};

/// How long the state of devices may take, and what waits for disks.
const LONG: Duration = Duration::from_secs(60);

/// How far a migration is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum Progress {
    /// Memory is written, the machine runs.
    Active,
    /// The machine stands still, and is to be told to go on with the rest ([`Qmp::migrate_rest`]).
    Halted,
    /// All is written, the machine stands still.
    Completed,
    /// It did not work, the machine is as before.
    Failed,
    /// Another one, in QEMU's word.
    Other(String),
}

impl From<String> for Progress {
    fn from(word: String) -> Self {
        match word.as_str() {
            "active" => Self::Active,
            "pre-switchover" => Self::Halted,
            "completed" => Self::Completed,
            "failed" | "cancelled" => Self::Failed,
            _ => Self::Other(word),
        }
    }
}

/// What QEMU says of a migration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Migration {
    /// How far it is; `None` before the first one.
    pub status: Option<Progress>,
    /// Why it failed.
    pub error_desc: Option<String>,
}

impl Qmp {
    /// Prepares migrations that write memory to a file, each page at its place (`mapped-ram`). Those of a machine that
    /// goes on meanwhile halt it when less is left than `downtime` takes.
    ///
    /// # Errors
    /// As for [`execute`](Self::execute), as with all that follow.
    pub async fn migrate_to_files(&self, downtime: Duration) -> Result<(), QmpError> {
        let on = |capability: &str| json!({ "capability": capability, "state": true });
        let all = ["mapped-ram", "pause-before-switchover", "events"].map(on);
        self.set("migrate-set-capabilities", json!({ "capabilities": all }))
            .await?;
        let millis = u64::try_from(downtime.as_millis()).unwrap_or(u64::MAX);
        // As much as a disk takes: 1 TiB/s is no limit.
        let parameters = json!({ "downtime-limit": millis, "max-bandwidth": 1_u64 << 40 });
        self.set("migrate-set-parameters", parameters).await
    }

    /// Begins to write memory to a file; see [`migration`](Self::migration).
    ///
    /// # Errors
    /// See [`migrate_to_files`](Self::migrate_to_files).
    pub async fn migrate(&self, file: Lent) -> Result<(), QmpError> {
        let uri = format!("file:{}", file.path());
        self.set("migrate", json!({ "uri": uri })).await
    }

    /// Writes the rest, after [`Progress::Halted`].
    ///
    /// # Errors
    /// See [`migrate_to_files`](Self::migrate_to_files).
    pub async fn migrate_rest(&self) -> Result<(), QmpError> {
        let state = json!({ "state": "pre-switchover" });
        self.set("migrate-continue", state).await
    }

    /// Ends a migration; the machine goes on.
    ///
    /// # Errors
    /// See [`migrate_to_files`](Self::migrate_to_files).
    pub async fn migrate_cancel(&self) -> Result<(), QmpError> {
        self.set("migrate_cancel", json!({})).await
    }

    /// How far the migration is.
    ///
    /// # Errors
    /// See [`migrate_to_files`](Self::migrate_to_files).
    pub async fn migration(&self) -> Result<Migration, QmpError> {
        let command = "query-migrate";
        understand(command, self.execute(command, json!({})).await?)
    }

    /// Writes the state of all devices of a machine that stands still, without its memory. A machine that is started with
    /// that memory and `-incoming` of that file goes on.
    ///
    /// It is what Xen is given, whose memory is not QEMU's; nothing in it is Xen's. The alternative, `x-ignore-shared`,
    /// leaves out only memory that is mapped shared, which that of a thawed machine is not.
    ///
    /// # Errors
    /// See [`migrate_to_files`](Self::migrate_to_files).
    pub async fn save_devices(&self, file: Lent) -> Result<(), QmpError> {
        let arguments = json!({ "filename": file.path(), "live": false });
        self.set("xen-save-devices-state", arguments).await
    }

    /// Which node is on top of the disk that the device `id` shows.
    ///
    /// # Errors
    /// See [`migrate_to_files`](Self::migrate_to_files); also when there is no such device.
    pub async fn disk_node(&self, id: &str) -> Result<String, QmpError> {
        let command = "query-block";
        let answer = self.execute(command, json!({})).await?;
        let found = answer.as_array().into_iter().flatten().find(|device| {
            let path = device["qdev"].as_str().unwrap_or_default();
            path.split('/').any(|part| part == id)
        });
        let node = found.and_then(|device| device["inserted"]["node-name"].as_str());
        let node = node.map(ToOwned::to_owned);
        node.ok_or_else(|| QmpError::Refused {
            command: command.to_owned(),
            class: "DeviceNotFound".to_owned(),
            text: format!("there is no disk of device {id}"),
        })
    }

    /// From now on the disk of `node` is written to another file, an empty qcow2 over it. The file that it was written to
    /// so far is not changed any more.
    ///
    /// # Errors
    /// See [`migrate_to_files`](Self::migrate_to_files).
    pub async fn overlay(
        &self,
        node: &str,
        name: &str,
        overlay: Lent,
        options: Value,
    ) -> Result<(), QmpError> {
        let mut layer = json!({
            "driver": "qcow2",
            "node-name": name,
            "backing": null,
            "file": { "driver": "file", "filename": overlay.path() },
        });
        if let (Some(layer), Value::Object(options)) = (layer.as_object_mut(), options) {
            layer.extend(options);
        }
        self.set("blockdev-add", layer).await?;
        let put = json!({ "node": node, "overlay": name });
        self.set("blockdev-snapshot", put).await
    }

    async fn set(&self, command: &str, arguments: Value) -> Result<(), QmpError> {
        self.execute_within(LONG, command, arguments)
            .await
            .map(drop)
    }
}
