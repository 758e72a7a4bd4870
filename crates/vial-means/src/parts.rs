//! The means through the API alone: pieces for ConfigMaps, and the script by which an image puts them together.
//!
//! ```text
//!  program, as a gzip stream ┐
//!  busybox ─┐                ├─ one stream, cut: part 1 │ part 2 │ … ──cat, gzip -dc──► program+busybox+trailer
//!  trailer ─┴─ gzip stream ──┘                                                            └ install: DIR/vial-sshd, …
//! ```
//! A gzip file may hold several streams (RFC 1952, 2.2), and a program may be followed by bytes that are not its own. So
//! the image needs no more than a shell, `cat`, `gzip` and `chmod`: the program itself takes the busybox out again
//! (`vial_sshd`'s `install` knows the trailer), and makes the links.

use std::io::Write as _;

use flate2::{Compression, GzBuilder};

/// What a ConfigMap can hold: an object may have some 1 MiB, and bytes become longer in JSON's base64 only on the way.
pub const LARGEST_PART: usize = 900 * 1024;

/// Ends a program that is followed by a busybox; before it stands the busybox's length, eight bytes, little-endian.
/// The same in `crates/vial-sshd/src/install/bundle.rs`.
const TRAILER: &[u8; 16] = b"vial+busybox\0\0\0\x01";

/// The pieces, in order, of [`LARGEST_PART`] bytes at most.
#[must_use]
pub fn parts(busybox: Option<&[u8]>) -> Vec<Vec<u8>> {
    let mut stream = crate::program_gz().to_vec();
    if let Some(busybox) = busybox {
        stream.extend(compressed(busybox));
    }
    stream.chunks(LARGEST_PART).map(<[u8]>::to_vec).collect()
}

fn compressed(busybox: &[u8]) -> Vec<u8> {
    let mut packed = GzBuilder::new().write(Vec::new(), Compression::best());
    let length = u64::try_from(busybox.len()).expect("what is in memory can be counted");
    [busybox, &length.to_le_bytes(), TRAILER]
        .iter()
        .try_for_each(|bytes| packed.write_all(bytes))
        .and_then(|()| packed.finish())
        .expect("memory takes every byte")
}

/// What `sh -c` has to run, in an image that has a shell: it puts the files of `/vial/parts`, in the order of their
/// names, together in `/vial/bin`. Made for busybox's sh, dash and bash; what the image lacks is said on standard error,
/// with exit code 1.
#[must_use]
pub fn unpack_script() -> String {
    unpack("/vial/parts", "/vial/bin")
}

fn unpack(parts: &str, place: &str) -> String {
    format!(
        r#"for tool in cat gzip chmod; do
  command -v "$tool" >/dev/null 2>&1 || {{ echo "vial: this image has no $tool, which unpacks the ssh server: choose an image that has it, or name one of vial's with --sshd IMAGE" >&2; exit 1; }}
done
new={place}/.unpacked
{{ cat {parts}/* | gzip -dc >"$new"; }} && chmod 755 "$new" && "$new" install {place} || {{ echo "vial: the ssh server could not be unpacked into {place}" >&2; exit 1; }}
rm -f "$new" || : >"$new""#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::path::Path;
    use std::process::{Command, Output};

    /// Parts in files, and where they are to be put together.
    fn volume(busybox: Option<&[u8]>) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for name in ["parts", "bin", "tools"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        for (number, part) in parts(busybox).iter().enumerate() {
            assert!(part.len() <= LARGEST_PART);
            let path = directory.path().join(format!("parts/{:03}", number + 1));
            std::fs::write(path, part).unwrap();
        }
        directory
    }

    fn script(directory: &Path) -> String {
        let path = |name| directory.join(name).display().to_string();
        unpack(&path("parts"), &path("bin"))
    }

    /// Runs it by this shell, with these directories of programs.
    fn run(shell: &[&str], directory: &Path, path: &str) -> Output {
        Command::new(shell[0])
            .args(&shell[1..])
            .args(["-c", &script(directory)])
            .env("PATH", path)
            .output()
            .unwrap()
    }

    fn usual_path() -> String {
        std::env::var("PATH").unwrap()
    }

    fn is_there(program: &str) -> bool {
        std::env::split_paths(&usual_path()).any(|path| path.join(program).is_file())
    }

    /// A busybox as `install` asks it: a script that says what it can do.
    const BUSYBOX: &[u8] = b"#!/bin/sh\necho sh; echo true\n";

    #[test]
    fn shells_put_the_parts_together() {
        for shell in [&["sh"][..], &["dash"], &["bash"], &["busybox", "sh"]] {
            if !is_there(shell[0]) {
                // One is enough to say that the script is good; the others are those of CI and of people.
                continue;
            }
            let directory = volume(Some(BUSYBOX));
            let ran = run(shell, directory.path(), &usual_path());
            let said = String::from_utf8_lossy(&ran.stderr);
            assert!(ran.status.success(), "{shell:?}: {said}");
            let bin = directory.path().join("bin");
            assert!(std::fs::read(bin.join("vial-sshd")).unwrap() == crate::program());
            assert_eq!(std::fs::read(bin.join("busybox")).unwrap(), BUSYBOX);
            assert!(bin.join("sudo").is_file() && bin.join("applets/true").is_file());
        }
    }

    #[test]
    fn without_a_busybox_there_is_the_server_alone() {
        let directory = volume(None);
        let ran = run(&["sh"], directory.path(), &usual_path());
        assert!(ran.status.success(), "{ran:?}");
        let bin = directory.path().join("bin");
        assert!(bin.join("vial-sshd").is_file() && !bin.join("busybox").exists());
    }

    #[test]
    fn what_the_image_lacks_is_named() {
        let directory = volume(None);
        let tools = directory.path().join("tools");
        for (tool, missing) in [("cat", "cat"), ("chmod", "gzip")] {
            let ran = run(&["/bin/sh"], directory.path(), tools.to_str().unwrap());
            let said = String::from_utf8_lossy(&ran.stderr);
            assert_eq!(ran.status.code(), Some(1));
            assert!(
                said.contains(&format!("this image has no {missing}")),
                "{said}"
            );
            std::fs::write(tools.join(tool), "").unwrap();
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(tools.join(tool), mode).unwrap();
        }
    }

    #[test]
    fn a_part_that_is_missing_is_noticed() {
        let directory = volume(None);
        let last = parts(None).len();
        std::fs::remove_file(directory.path().join(format!("parts/{last:03}"))).unwrap();
        let ran = run(&["sh"], directory.path(), &usual_path());
        assert_eq!(ran.status.code(), Some(1));
        assert!(!directory.path().join("bin/vial-sshd").exists());
    }
}
