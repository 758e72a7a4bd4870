//! From a component's spec to a started process: program, environment, log file.
//!
//! The log file itself is the process's stdout and stderr. Logging costs the agent nothing, a crash of either loses no
//! line, and CRIU can dump the descriptor.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use vial_rpc::ComponentSpec;
use vial_sys::session::{Terminal, prepare};

use crate::freeze::number_components;
use crate::logs::marks;
use crate::reaper::{Child, Leftovers, Reaper};
use crate::user;

/// Where programs are looked up when nothing else is said.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a component did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    /// Neither that path nor anything of that name in PATH is an executable file.
    #[error("no program {program} in {path}")]
    NoProgram { program: String, path: String },
    /// `user` of the spec.
    #[error("no user {name} in /etc/passwd")]
    NoUser { name: String },
    #[error("cannot open the log {}", path.display())]
    Log { path: PathBuf, source: io::Error },
    #[error("cannot start {}", program.display())]
    Spawn { program: PathBuf, source: io::Error },
}

/// Starts a component as leader of its own session, with nothing of the agent but its PATH.
pub(crate) fn launch(reaper: &Reaper, spec: &ComponentSpec) -> Result<Child, LaunchError> {
    let path = spec.env.get("PATH").cloned().unwrap_or_else(agent_path);
    let name = spec.argv.first().map_or("", String::as_str);
    let program =
        find_program(name, &path, Path::new("/")).ok_or_else(|| LaunchError::NoProgram {
            program: name.to_string(),
            path: path.clone(),
        })?;
    let user = user::find(&spec.user).ok_or_else(|| LaunchError::NoUser {
        name: spec.user.clone(),
    })?;
    let mut command = Command::new(&program);
    command
        .arg0(name)
        .args(spec.argv.iter().skip(1))
        .current_dir("/")
        .stdin(Stdio::null());
    command.env_clear().env("PATH", &path).envs(&spec.env);
    if spec.log_file.is_empty() {
        command.stdout(Stdio::null()).stderr(Stdio::null());
    } else {
        let log = PathBuf::from(&spec.log_file);
        // What an earlier run wrote last was not written now; a log without that note is as good to read otherwise.
        let _ = marks::note(&log, &mut 0);
        let (out, err) = open_log(&log).map_err(|source| LaunchError::Log { path: log, source })?;
        command.stdout(out).stderr(err);
    }
    prepare(&mut command, Terminal::None, user.credentials());
    number_components();
    let child = reaper
        .spawn(&mut command, Leftovers::Kill)
        .map_err(|source| LaunchError::Spawn { program, source })?;
    // Whatever protects or exposes the agent is not the component's; where that is not allowed it stays as it is.
    let _ = fs::write(format!("/proc/{}/oom_score_adj", child.pid), "0");
    Ok(child)
}

/// The agent's own PATH.
pub(crate) fn agent_path() -> String {
    std::env::var("PATH")
        .ok()
        .filter(|path| !path.is_empty())
        .unwrap_or_else(|| DEFAULT_PATH.to_string())
}

/// The executable file that `name` means: itself when it has a slash (seen from `cwd`), else the first in `path`.
pub(crate) fn find_program(name: &str, path: &str, cwd: &Path) -> Option<PathBuf> {
    let executable = |candidate: &PathBuf| {
        fs::metadata(candidate)
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if name.is_empty() {
        return None;
    }
    if name.contains('/') {
        return Some(cwd.join(name)).filter(executable);
    }
    path.split(':')
        .filter(|directory| !directory.is_empty())
        .map(|directory| Path::new(directory).join(name))
        .find(executable)
}

/// Two descriptors of one open file, so that stdout and stderr share their place in it.
fn open_log(path: &Path) -> io::Result<(File, File)> {
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)?;
    }
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .open(path)?;
    Ok((file.try_clone()?, file))
}

/// The environment of the agent itself.
pub(crate) fn agent_environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_like_a_shell_does() {
        let root = Path::new("/");
        assert_eq!(
            find_program("sh", "/nowhere:/bin", root),
            Some(PathBuf::from("/bin/sh"))
        );
        assert_eq!(
            find_program("/bin/sh", "", root),
            Some(PathBuf::from("/bin/sh"))
        );
        assert_eq!(
            find_program("./sh", "/bin", Path::new("/bin")),
            Some(PathBuf::from("/bin/./sh"))
        );
        assert_eq!(
            find_program("passwd", "/etc", root),
            None,
            "a file that nobody may execute"
        );
        assert_eq!(find_program("bin", "/", root), None, "a directory");
        assert_eq!(find_program("", "/bin", root), None);
    }
}
