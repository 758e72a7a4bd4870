//! Trees survive being packed and unpacked, and archives that mean harm do none.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat};
use tar::{EntryType, Header};
use vial_archive::{ArchiveError, Owner, Root, Summary, Trust, Unpacking, pack, unpack};

fn packed(source: &Path, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    pack(&mut bytes, source, &Root::Named(name.into())).unwrap();
    bytes
}

/// Files belong to whoever runs the test, who may not be root.
fn unpacking(trust: Trust) -> Unpacking {
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    let owner = if uid.is_root() {
        Owner::Keep
    } else {
        Owner::Be(uid.as_raw(), gid.as_raw())
    };
    Unpacking {
        owner,
        trust,
        only: None,
    }
}

fn unpacked(bytes: &[u8], into: &Path) -> Result<Summary, ArchiveError> {
    unpack(bytes, into, &unpacking(Trust::Plain))
}

/// A directory `in` to unpack into, beside which an archive could do harm.
fn destination() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("in");
    fs::create_dir(&into).unwrap();
    (dir, into)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// An archive of entries that no honest program writes.
struct Forged(tar::Builder<Vec<u8>>);

impl Forged {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn entry(mut self, kind: EntryType, name: &str, link: &str, content: &str) -> Self {
        let mut header = Header::new_gnu();
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o4755);
        header.set_uid(rustix::process::getuid().as_raw().into());
        header.set_gid(rustix::process::getgid().as_raw().into());
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        header.set_cksum();
        self.0.append(&header, content.as_bytes()).unwrap();
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, name, "", content)
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

#[test]
fn everything_about_a_tree_survives() {
    let source = tempfile::tempdir().unwrap();
    let at = |name: &str| source.path().join(name);
    fs::create_dir_all(at("sub/empty")).unwrap();
    fs::write(at("sub/file"), "content").unwrap();
    fs::hard_link(at("sub/file"), at("other name")).unwrap();
    symlink("/nowhere/at all", at("link")).unwrap();
    mknodat(
        CWD,
        at("fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o620),
        0,
    )
    .unwrap();
    let odd = source.path().join(OsStr::from_bytes(b"\xff new\nline"));
    fs::write(&odd, "odd").unwrap();
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(200));
    fs::create_dir(at(&"d".repeat(200))).unwrap();
    fs::write(at(&long), "long").unwrap();
    fs::set_permissions(at("sub/file"), Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(at("sub"), Permissions::from_mode(0o1750)).unwrap();
    let before_1970 = std::time::UNIX_EPOCH - std::time::Duration::from_millis(1500);
    File::open(at("sub"))
        .unwrap()
        .set_modified(before_1970)
        .unwrap();
    let attributes =
        rustix::fs::setxattr(at("sub/file"), "user.note", b"a\0b\n", XattrFlags::empty());

    let (_dir, into) = destination();
    let summary = unpacked(&packed(source.path(), "copy"), &into).unwrap();
    assert_eq!((summary.notes, summary.entries), (vec![], 10));
    let copy = |name: &str| into.join("copy").join(name);
    for name in ["", "sub", "sub/empty", "sub/file", "link", "fifo", &long] {
        let (old, new) = (
            at(name).symlink_metadata().unwrap(),
            copy(name).symlink_metadata().unwrap(),
        );
        let facts =
            |of: &fs::Metadata| (of.mode(), of.uid(), of.gid(), of.mtime(), of.mtime_nsec());
        assert_eq!(facts(&old), facts(&new), "{name}");
    }
    assert_eq!(fs::read_to_string(copy(&long)).unwrap(), "long");
    assert_eq!(
        fs::read_link(copy("link")).unwrap(),
        Path::new("/nowhere/at all")
    );
    assert!(
        copy("fifo")
            .symlink_metadata()
            .unwrap()
            .file_type()
            .is_fifo()
    );
    let inode = |name: &str| copy(name).symlink_metadata().unwrap().ino();
    assert_eq!(inode("sub/file"), inode("other name"));
    let odd = into.join("copy").join(odd.file_name().unwrap());
    assert_eq!(fs::read_to_string(odd).unwrap(), "odd");
    if attributes.is_ok() {
        let mut value = [0; 16];
        let length = rustix::fs::getxattr(copy("sub/file"), "user.note", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"a\0b\n");
    }

    // A second time over the first.
    unpacked(&packed(source.path(), "copy"), &into).unwrap();
    assert_eq!(inode("sub/file"), inode("other name"));
    assert_eq!(names(&into), ["copy"], "nothing of the making is left");
}

#[test]
fn holes_stay_holes() {
    let source = tempfile::tempdir().unwrap();
    let path = source.path().join("sparse");
    let mut file = File::create(&path).unwrap();
    file.write_all(b"start").unwrap();
    file.set_len(64 << 20).unwrap();
    if file.metadata().unwrap().blocks() > 1000 {
        return vial_testing::skip("this file system knows no holes");
    }
    let bytes = packed(&path, "sparse");
    assert!(bytes.len() < 1 << 20, "{} bytes", bytes.len());
    let (_dir, into) = destination();
    let summary = unpacked(&bytes, &into).unwrap();
    assert_eq!(summary.bytes, 64 << 20);
    let copy = into.join("sparse").metadata().unwrap();
    assert_eq!(copy.len(), 64 << 20);
    assert!(copy.blocks() < 1000, "{} blocks", copy.blocks());
    let mut start = [1; 8];
    File::open(into.join("sparse"))
        .unwrap()
        .read_exact(&mut start)
        .unwrap();
    assert_eq!(&start, b"start\0\0\0");
}

#[test]
fn files_of_the_kernel_have_their_content() {
    let (_dir, into) = destination();
    unpacked(&packed(Path::new("/proc/version"), "version"), &into).unwrap();
    let copy = fs::read_to_string(into.join("version")).unwrap();
    assert_eq!(copy, fs::read_to_string("/proc/version").unwrap());
}

#[test]
fn contents_leave_the_directory_they_go_into_as_it_is() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("f"), "").unwrap();
    let mut bytes = Vec::new();
    pack(&mut bytes, source.path(), &Root::Contents).unwrap();
    let (_dir, into) = destination();
    fs::set_permissions(&into, Permissions::from_mode(0o711)).unwrap();
    unpacked(&bytes, &into).unwrap();
    assert_eq!(names(&into), ["f"]);
    assert_eq!(into.metadata().unwrap().mode() & 0o7777, 0o711);
}

#[test]
fn what_is_there_is_replaced_not_written_into() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("f"), "new").unwrap();
    let (dir, into) = destination();
    fs::write(dir.path().join("victim"), "old").unwrap();
    symlink("../victim", into.join("f")).unwrap();
    unpacked(&packed(&source.path().join("f"), "f"), &into).unwrap();
    assert!(!into.join("f").is_symlink());
    assert_eq!(fs::read_to_string(into.join("f")).unwrap(), "new");
    assert_eq!(
        fs::read_to_string(dir.path().join("victim")).unwrap(),
        "old"
    );
}

#[test]
fn a_directory_is_no_file() {
    let (_dir, into) = destination();
    fs::create_dir(into.join("d")).unwrap();
    fs::write(into.join("d/inside"), "").unwrap();
    let error = unpacked(&Forged::new().file("d", "x").bytes(), &into).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot replace the directory"),
        "{error}"
    );
    fs::write(into.join("f"), "").unwrap();
    let directory = Forged::new().entry(EntryType::Directory, "f/", "", "");
    let error = unpacked(&directory.bytes(), &into).unwrap_err();
    assert!(error.to_string().contains("by a directory"), "{error}");
    assert_eq!(names(&into), ["d", "f"]);
}

#[test]
fn no_name_and_no_link_leads_out() {
    use EntryType::{Directory, Fifo, Link, Symlink};
    let forged = Forged::new;
    for (what, archive) in [
        ("..", forged().file("../out", "x")),
        (".. inside", forged().file("a/../../out", "x")),
        (
            "link",
            forged().entry(Symlink, "l", "..", "").file("l/out", "x"),
        ),
        (
            "link to the whole path",
            forged().entry(Symlink, "l", "/", "").file("l/tmp/out", "x"),
        ),
        (
            "link to a link",
            forged()
                .entry(Symlink, "a", "b", "")
                .entry(Symlink, "b", "..", "")
                .file("a/out", "x"),
        ),
        ("hard link", forged().entry(Link, "h", "../victim", "")),
        (
            "hard link by a link",
            forged()
                .entry(Symlink, "l", "..", "")
                .entry(Link, "h", "l/victim", ""),
        ),
        (
            "directory by a link",
            forged()
                .entry(Symlink, "l", "..", "")
                .entry(Directory, "l/out/", "", ""),
        ),
        (
            "a link below a link",
            forged()
                .entry(Symlink, "l", "..", "")
                .entry(Symlink, "l/out", "x", ""),
        ),
        (
            "fifo by a link",
            forged()
                .entry(Symlink, "l", "..", "")
                .entry(Fifo, "l/out", "", ""),
        ),
    ] {
        let (dir, into) = destination();
        fs::write(dir.path().join("victim"), "unharmed").unwrap();
        let error = unpacked(&archive.bytes(), &into).unwrap_err();
        assert!(
            matches!(error, ArchiveError::LeadsOut { .. }),
            "{what}: {error}"
        );
        assert_eq!(names(dir.path()), ["in", "victim"], "{what}");
        let victim = dir.path().join("victim");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "unharmed", "{what}");
        assert_eq!(victim.metadata().unwrap().nlink(), 1, "{what}");
    }
}

#[test]
fn a_directory_that_becomes_a_link_is_not_followed() {
    // The archive's directory is replaced before its attributes are set.
    let (dir, into) = destination();
    fs::create_dir(dir.path().join("victim")).unwrap();
    fs::set_permissions(dir.path().join("victim"), Permissions::from_mode(0o700)).unwrap();
    let archive = Forged::new()
        .entry(EntryType::Directory, "d/", "", "")
        .entry(EntryType::Symlink, "d", "../victim", "");
    unpacked(&archive.bytes(), &into).unwrap_err();
    let mode = dir.path().join("victim").metadata().unwrap().mode();
    assert_eq!(mode & 0o7777, 0o700);
}

#[test]
fn an_absolute_name_is_one_below_the_destination() {
    let (_dir, into) = destination();
    unpacked(&Forged::new().file("/etc/hosts", "x").bytes(), &into).unwrap();
    assert_eq!(fs::read_to_string(into.join("etc/hosts")).unwrap(), "x");
}

#[test]
fn only_what_was_asked_for_is_made() {
    let (_dir, into) = destination();
    let options = Unpacking {
        only: Some("wanted".into()),
        ..unpacking(Trust::Plain)
    };
    let archive = Forged::new().file("wanted", "x").file(".bashrc", "x");
    let error = unpack(&archive.bytes()[..], &into, &options).unwrap_err();
    assert!(error.to_string().contains(".bashrc"), "{error}");
    fs::write(into.join("mine"), "secret").unwrap();
    let archive = Forged::new().entry(EntryType::Link, "wanted", "mine", "");
    unpack(&archive.bytes()[..], &into, &options).unwrap_err();
    assert_eq!(names(&into), ["mine", "wanted"]);
}

#[test]
fn rights_are_given_only_to_those_who_are_trusted() {
    let root = rustix::process::getuid().is_root();
    let archive = Forged::new()
        .file("program", "x")
        .entry(EntryType::Char, "null", "", "")
        .bytes();
    let (_dir, into) = destination();
    let summary = unpacked(&archive, &into).unwrap();
    assert_eq!(summary.notes.len(), 2, "{summary:?}");
    assert_eq!(names(&into), ["program"]);
    let mode = || into.join("program").metadata().unwrap().mode() & 0o7777;
    assert_eq!(mode(), 0o755);
    if root {
        unpack(&archive[..], &into, &unpacking(Trust::Whole)).unwrap();
        assert_eq!(mode(), 0o4755);
        assert_eq!(names(&into), ["null", "program"]);
    } else {
        vial_testing::skip("only root makes devices (the other half was tested)");
    }
}

#[test]
fn a_stream_that_is_cut_off_leaves_no_half_file() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("big"), vec![7; 3 << 20]).unwrap();
    let bytes = packed(&source.path().join("big"), "big");
    for end in [100, 700, 1 << 20, (3 << 20) + 100] {
        let (_dir, into) = destination();
        fs::write(into.join("big"), "old").unwrap();
        let error = unpacked(&bytes[..end], &into).unwrap_err();
        assert!(matches!(error, ArchiveError::Read { .. }), "{error}");
        assert_eq!(names(&into), ["big"], "cut at {end}");
        assert_eq!(fs::read_to_string(into.join("big")).unwrap(), "old");
    }
}

#[test]
fn damage_is_told() {
    let (_dir, into) = destination();
    let mut bytes = Forged::new().file("f", "x").bytes();
    bytes[0] ^= 1;
    let error = unpacked(&bytes, &into).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the archive");
    assert!(
        unpacked(
            b"this is no archive, but it is long enough"
                .repeat(20)
                .as_slice(),
            &into
        )
        .is_err()
    );
    assert!(names(&into).is_empty());
}

#[test]
fn a_reader_that_goes_away_ends_the_packing() {
    struct Full;
    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let source = tempfile::tempdir().unwrap();
    let error = pack(Full, source.path(), &Root::Named("x".into())).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn names_cannot_move_the_cursor() {
    let (_dir, into) = destination();
    let error = unpacked(&Forged::new().file("../\x1b[2J", "").bytes(), &into).unwrap_err();
    assert!(error.to_string().contains("\\u{1b}"), "{error}");
}
