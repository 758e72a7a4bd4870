//! Small files that appear whole, and are read without being led astray.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use super::Who;

/// More than any configuration has.
const LIMIT: u64 = 16 << 20;

/// Writes a file whole, mode 0600, unless it is so already; says whether it did. `owner` gets it, when it is not ours.
///
/// # Errors
/// When its directory cannot be written.
pub fn put(path: &Path, bytes: &[u8], owner: Option<Who>) -> io::Result<bool> {
    if read(path)?.as_deref() == Some(bytes) {
        return Ok(false);
    }
    put_with_mode(path, bytes, owner, 0o600)?;
    Ok(true)
}

/// As [`put`], whatever is there.
pub(super) fn put_with_mode(
    path: &Path,
    bytes: &[u8],
    owner: Option<Who>,
    mode: u32,
) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut aside = tempfile::Builder::new()
        .prefix(".vial-")
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(directory)?;
    aside.write_all(bytes)?;
    if let Some(who) = owner {
        std::os::unix::fs::fchown(aside.as_file(), Some(who.uid), Some(who.gid))?;
    }
    if mode != 0o600 {
        let mode = fs::Permissions::from_mode(mode);
        aside.as_file().set_permissions(mode)?;
    }
    aside.persist(path)?;
    Ok(())
}

/// What is in a plain file; `None` when it is not there. A pipe somebody put in its place does not hold us up.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let opened = File::options().read(true).custom_flags(nonblock).open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a plain file"));
    }
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// As [`read`]; nothing for a file that is not there, or not text.
pub(super) fn read_text(path: &Path) -> String {
    let bytes = read(path).ok().flatten().unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}
