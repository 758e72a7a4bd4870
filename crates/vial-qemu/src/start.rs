//! The role `vial-qemu`: becomes QEMU, with what the machine's directory says of how it starts.
//!
//! ```text
//! planned words ── resolve ──► words of QEMU ── exec
//!                    │ DIR/frozen is there: its memory and devices instead of empty ones
//!                    └ a disk DIR/NAME has layers: the topmost one
//! ```
//! The plan of a machine is the same whether it starts or goes on, however often it was frozen: nothing is restarted for it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::arguments::escaped;
use crate::frozen::{FreezeError, Frozen};
use crate::layers::Layers;

/// In a machine's directory: what it was frozen to ([`crate::frozen`]).
pub const FROZEN: &str = "frozen";

/// Why a machine's words cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The role was called with other words.
    #[error("usage: vial-qemu DIRECTORY PROGRAM ARGUMENTS…")]
    Usage,
    /// What it was frozen to.
    #[error(transparent)]
    Frozen(#[from] FreezeError),
    /// It was frozen with another shape.
    #[error("the frozen machine has no memory {0}")]
    NoMemory(String),
    /// A disk of its own.
    #[error("cannot read the disk {path}")]
    Disk {
        /// Its lowest file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// QEMU itself.
    #[error("cannot execute {program}")]
    Exec {
        /// What was executed.
        program: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Runs the role with the arguments of this process. Returns only when it cannot become QEMU; why is told on stderr.
#[must_use]
pub fn main() -> ExitCode {
    let Err(error) = run(std::env::args_os().skip(1));
    let line = vial_sys::error_chain(&error);
    // There is nobody else to tell.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes());
    ExitCode::FAILURE
}

fn run(words: impl Iterator<Item = OsString>) -> Result<std::convert::Infallible, StartError> {
    // All of them are vial's own.
    let mut words = words.map(|word| word.to_string_lossy().into_owned());
    let (Some(directory), Some(program)) = (words.next(), words.next()) else {
        return Err(StartError::Usage);
    };
    let directory = Path::new(&directory);
    let frozen = directory.join(FROZEN);
    let frozen = frozen.is_dir().then_some(frozen);
    let words = resolve(words.collect(), directory, frozen.as_deref())?;
    let source = Command::new(&program).args(words).exec();
    Err(StartError::Exec { program, source })
}

/// QEMU's words of planned ones: with the layers of those disks that lie in `directory`, and going on from what lies in
/// `frozen`.
///
/// # Errors
/// When that is not whole, or of a machine with another memory.
pub fn resolve(
    words: Vec<String>,
    directory: &Path,
    frozen: Option<&Path>,
) -> Result<Vec<String>, StartError> {
    let frozen = frozen.map(Frozen::open).transpose()?;
    let mut resolved = Vec::with_capacity(words.len() + 2);
    for word in words {
        let memory = word
            .strip_prefix(COLD_MEMORY)
            .and_then(|rest| rest.split(',').next());
        resolved.push(match (&frozen, memory, file(&word)) {
            (Some(frozen), Some(id), _) => {
                let backend = frozen.backend(id);
                backend.ok_or_else(|| StartError::NoMemory(id.to_owned()))?
            }
            (_, _, Some(path)) if Path::new(&path).parent() == Some(directory) => {
                topmost(word, &path)?
            }
            _ => word,
        });
    }
    if let Some(frozen) = &frozen {
        resolved.extend(["-incoming".to_owned(), frozen.incoming()]);
    }
    Ok(resolved)
}

/// How the word for memory that is empty begins.
const COLD_MEMORY: &str = "memory-backend-ram,id=";
/// How the word for a raw disk begins, and where its file stands.
const RAW: &str = "driver=raw,node-name=";
const FILE: &str = ",file.driver=file,file.filename=";

/// For `-object`: so many bytes of memory that is empty.
#[must_use]
pub fn cold_memory(id: &str, bytes: u64) -> String {
    format!("{COLD_MEMORY}{id},size={bytes}")
}

/// The file of a raw disk that is written to.
fn file(word: &str) -> Option<String> {
    let (head, file) = word.split_once(FILE)?;
    let written = head.starts_with(RAW) && !head.contains("read-only=on");
    written.then(|| file.replace(",,", ","))
}

fn topmost(word: String, path: &str) -> Result<String, StartError> {
    let layers = Layers::of(Path::new(path)).map_err(|source| StartError::Disk {
        path: path.to_owned(),
        source,
    })?;
    let Some((head, _)) = word.split_once(FILE) else {
        return Ok(word);
    };
    let format = layers.format();
    let head = head.replacen("driver=raw", &format!("driver={format}"), 1);
    Ok(format!("{head}{FILE}{}", escaped(layers.top().display())))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    fn planned(directory: &Path) -> Vec<String> {
        let mut words = crate::Arguments::default();
        words.set("-object", cold_memory("ram", 1 << 30));
        words.disk("root", directory.join("root").display(), "read-only=on");
        words.disk("data", directory.join("data").display(), "discard=unmap");
        words.disk("other", "/files/other", "discard=unmap");
        words.words()
    }

    #[test]
    fn one_that_was_never_frozen_starts_as_planned() {
        let directory = tempfile::tempdir().unwrap();
        let planned = planned(directory.path());
        assert_eq!(
            resolve(planned.clone(), directory.path(), None).unwrap(),
            planned
        );
    }

    #[test]
    fn a_disk_with_layers_is_its_topmost() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        File::create(&data).unwrap().set_len(1 << 20).unwrap();
        Layers::of(&data).unwrap().add().unwrap();
        let resolved = resolve(planned(directory.path()), directory.path(), None).unwrap();
        let expected = format!(
            "driver=qcow2,node-name=data,discard=unmap,file.driver=file,file.filename={}.1",
            data.display()
        );
        assert!(resolved.contains(&expected), "{resolved:?}");
        assert!(
            resolved
                .iter()
                .any(|word| word.contains("driver=raw,node-name=root"))
        );
        assert!(
            resolved
                .iter()
                .any(|word| word.ends_with("filename=/files/other"))
        );
    }

    #[test]
    fn a_frozen_state_that_is_not_whole_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let frozen = directory.path().join(FROZEN);
        fs::create_dir(&frozen).unwrap();
        let words = planned(directory.path());
        let error = resolve(words, directory.path(), Some(&frozen)).unwrap_err();
        assert!(error.to_string().contains("frozen/memory"), "{error}");
    }
}
