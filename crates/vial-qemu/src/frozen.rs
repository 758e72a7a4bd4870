//! A machine's state in two files: its memory, and all its devices. With its disks as they were then it goes on from the
//! same instruction, any number of times, side by side.
//!
//! ```text
//!  running ──► memory is written while it runs ──► halted ──► disks get new layers ─► devices, rest of the memory ──► runs on
//!                        page for page, at its place          (what is below stays)   are written                     or ends
//! ```
//! The memory is a sparse file with each block of the guest's memory in one piece ([`memory`]), so a thawed machine maps it
//! privately: it reads what it needs when it needs it, writes are its own, and all that go on from one freeze share the rest.
//!
//! # On failure
//! The machine goes on as if nothing had been asked. What was written is to be removed by whoever made the directory.
//! Who freezes and is killed leaves a machine that is perhaps halted: [`mend`] lets it go on.

mod memory;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::{Instant, timeout_at};

use crate::arguments::escaped;
use crate::layers::Layers;
use crate::qmp::{Events, Progress, Qmp, QmpError, RunState};

pub use memory::{Block, MemoryError};

/// In the directory of a frozen machine.
const MEMORY: &str = "memory";
const DEVICES: &str = "devices";

/// A machine is halted when what is left to be written takes so long.
const DOWNTIME: Duration = Duration::from_millis(100);
/// One that changes more than can be written is halted after so long.
const HURRY: Duration = Duration::from_secs(20);
/// How long the rest may take.
const REST: Duration = Duration::from_secs(120);
/// How often is asked when no event tells.
const LOOK: Duration = Duration::from_millis(50);

/// Why a machine could not be frozen, or not be thawed.
#[derive(Debug, thiserror::Error)]
pub enum FreezeError {
    /// QEMU.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// QEMU's own words.
    #[error("QEMU cannot write the machine's memory: {0}")]
    Failed(String),
    /// It takes too long.
    #[error("the machine's memory is not written after {} s", REST.as_secs())]
    Late,
    /// A file.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The memory that was written.
    #[error("cannot use {}", path.display())]
    Memory {
        /// The file.
        path: PathBuf,
        /// Why.
        source: MemoryError,
    },
}

impl FreezeError {
    fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            operation,
            path,
            source,
        }
    }
}

/// A disk that a machine writes to.
#[derive(Debug, Clone)]
pub struct Disk {
    /// Its device: `disk-data`.
    pub device: String,
    /// Its files, as they are on the host.
    pub files: Layers,
    /// Of the layer that it gets, beside those of every qcow2: `discard`.
    pub options: Map<String, Value>,
}

/// What becomes of a machine when its state is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It goes on; its disks have new layers.
    GoOn,
    /// It stays halted, with its disks as they are.
    Stay,
}

/// Writes a machine's state into a directory that has none.
///
/// # Errors
/// See the module: the machine goes on.
pub async fn freeze(
    qmp: &Qmp,
    into: &Path,
    disks: &[Disk],
    after: After,
) -> Result<(), FreezeError> {
    let ran = qmp.status().await?.running;
    let written = write(qmp, into, disks, after).await;
    if ran && (written.is_err() || after == After::GoOn) {
        let goes_on = mend(qmp).await;
        // The first error is the one to tell.
        written.and(goes_on)?;
    } else {
        written?;
    }
    // Whoever thaws it after a power loss must not find half of it.
    let sync = into.to_owned();
    let synced = tokio::task::spawn_blocking(move || settle(&sync)).await;
    synced
        .map_err(io::Error::other)
        .map_err(FreezeError::file("write", into))?
}

/// Lets a machine go on that a cut freeze has left halted.
///
/// # Errors
/// When QEMU refuses.
pub async fn mend(qmp: &Qmp) -> Result<(), FreezeError> {
    let under_way = qmp.migration().await?.status;
    if matches!(under_way, Some(Progress::Active | Progress::Halted)) {
        qmp.migrate_cancel().await?;
    }
    let until = Instant::now() + REST;
    while matches!(
        qmp.migration().await?.status,
        Some(Progress::Active | Progress::Halted | Progress::Other(_))
    ) {
        if Instant::now() > until {
            return Err(FreezeError::Late);
        }
        tokio::time::sleep(LOOK).await;
    }
    if !qmp.status().await?.running {
        qmp.cont().await?;
    }
    Ok(())
}

/// Is it halted as a cut freeze leaves it, and not because somebody halted it?
///
/// # Errors
/// When QEMU does not answer.
pub async fn was_cut(qmp: &Qmp) -> Result<bool, QmpError> {
    let status = qmp.status().await?;
    let halted = match &status.status {
        RunState::Other(word) => {
            ["postmigrate", "finish-migrate", "save-vm"].contains(&word.as_str())
        }
        _ => false,
    };
    let under_way = qmp.migration().await?.status;
    Ok(halted || matches!(under_way, Some(Progress::Active | Progress::Halted)))
}

async fn write(qmp: &Qmp, into: &Path, disks: &[Disk], after: After) -> Result<(), FreezeError> {
    let create = |name: &str| {
        let path = into.join(name);
        let mut options = File::options();
        let options = options.write(true).create_new(true).mode(0o600);
        options
            .open(&path)
            .map_err(FreezeError::file("make", &path))
    };
    let (memory, devices) = (create(MEMORY)?, create(DEVICES)?);
    let (memory, devices) = (qmp.lend(memory).await?, qmp.lend(devices).await?);
    let mut events = qmp.events();
    qmp.migrate_to_files(DOWNTIME).await?;
    qmp.migrate(memory).await?;
    let hurry = Instant::now() + HURRY;
    if !until(qmp, &mut events, Progress::Halted, hurry).await? {
        // What does not run changes nothing.
        qmp.stop().await?;
        if !until(qmp, &mut events, Progress::Halted, Instant::now() + REST).await? {
            return Err(FreezeError::Late);
        }
    }
    if after == After::GoOn {
        for disk in disks {
            add_layer(qmp, disk).await?;
        }
    }
    qmp.save_devices(devices).await?;
    qmp.migrate_rest().await?;
    if !until(qmp, &mut events, Progress::Completed, Instant::now() + REST).await? {
        return Err(FreezeError::Late);
    }
    qmp.take_back(memory).await?;
    qmp.take_back(devices).await?;
    Ok(())
}

/// Waits until it is that far; false when the time is over.
async fn until(
    qmp: &Qmp,
    events: &mut Events,
    far: Progress,
    limit: Instant,
) -> Result<bool, FreezeError> {
    loop {
        let migration = qmp.migration().await?;
        match migration.status {
            Some(status) if status == far => return Ok(true),
            Some(Progress::Failed) => {
                return Err(FreezeError::Failed(
                    migration.error_desc.unwrap_or_default(),
                ));
            }
            _ if Instant::now() > limit => return Ok(false),
            // An event tells when there is something to ask; one may have been missed.
            _ => drop(timeout_at((Instant::now() + LOOK).min(limit), events.next()).await),
        }
    }
}

async fn add_layer(qmp: &Qmp, disk: &Disk) -> Result<(), FreezeError> {
    let below = disk.files.top();
    let files = disk
        .files
        .add()
        .map_err(FreezeError::file("add a layer to", &below))?;
    let top = files.top();
    let file = File::options().read(true).write(true).open(&top);
    let lent = qmp
        .lend(file.map_err(FreezeError::file("open", &top))?)
        .await?;
    let node = qmp.disk_node(&disk.device).await?;
    let name = top.file_name().unwrap_or_default().to_string_lossy();
    let name = format!("layer-{}", name.replace('.', "-"));
    let options = Value::Object(disk.options.clone());
    qmp.overlay(&node, &name, lent, options).await?;
    Ok(qmp.take_back(lent).await?)
}

/// Frees what was written of pages that were zero in the end, and has the disk keep the rest.
fn settle(directory: &Path) -> Result<(), FreezeError> {
    let path = directory.join(MEMORY);
    let file = File::options().read(true).write(true).open(&path);
    let file = file.map_err(FreezeError::file("open", &path))?;
    memory::trim(&file).map_err(|source| FreezeError::Memory {
        path: path.clone(),
        source,
    })?;
    file.sync_all().map_err(FreezeError::file("write", &path))?;
    let devices = directory.join(DEVICES);
    let synced = File::open(&devices).and_then(|file| file.sync_all());
    synced.map_err(FreezeError::file("write", &devices))
}

/// A frozen machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    directory: PathBuf,
    blocks: Vec<Block>,
}

impl Frozen {
    /// That of a directory into which [`freeze`] has written.
    ///
    /// # Errors
    /// When it is not whole.
    pub fn open(directory: &Path) -> Result<Self, FreezeError> {
        let path = directory.join(MEMORY);
        let file = File::open(&path).map_err(FreezeError::file("open", &path))?;
        let blocks = memory::blocks(&file);
        Ok(Self {
            blocks: blocks.map_err(|source| FreezeError::Memory { path, source })?,
            directory: directory.to_owned(),
        })
    }

    /// For `-object`: the memory of that name, mapped privately. `None` when there was none.
    #[must_use]
    pub fn backend(&self, name: &str) -> Option<String> {
        let Block { offset, length, .. } = self.blocks.iter().find(|block| block.name == name)?;
        let file = escaped(self.directory.join(MEMORY).display());
        Some(format!(
            "memory-backend-file,id={name},size={length},mem-path={file},offset={offset},share=off,readonly=on,rom=off"
        ))
    }

    /// For `-incoming`.
    #[must_use]
    pub fn incoming(&self) -> String {
        format!("file:{}", self.directory.join(DEVICES).display())
    }
}
