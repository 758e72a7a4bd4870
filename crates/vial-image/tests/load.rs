//! Images in every form they come in become the same files of a store; what is damaged changes nothing.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "support/images.rs"]
mod images;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use images::{Files, Image, Layer, digest, docker, gzip, zstd};
use serde_json::json;
use tar::EntryType;
use vial_image::load::{self, ImageName, ImageStore, LoadError, LoadedImage, Meter, Source};

/// A store in a directory that holds nothing else.
struct Home {
    dir: tempfile::TempDir,
    store: ImageStore,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::at(dir.path().join("images"));
        Self { dir, store }
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn load(&self, archive: &Path, names: &[&str]) -> Result<Vec<LoadedImage>, LoadError> {
        let names: Vec<ImageName> = names.iter().map(|name| name.parse().unwrap()).collect();
        let writer = self.store.lock()?;
        let source = Source::Path(archive.to_path_buf());
        let images = load::load(&writer, &source, &names, &Meter::default())?;
        writer.commit(&images)?;
        Ok(images)
    }

    fn load_bytes(&self, bytes: &[u8]) -> Result<Vec<LoadedImage>, LoadError> {
        self.load(&self.file("archive", bytes), &[])
    }

    /// Where the topmost layer of an image lies.
    fn top(&self, image: &LoadedImage) -> PathBuf {
        self.store
            .layer_path(&image.layers.last().unwrap().chain_id)
    }

    /// Every file of the store, relative to it.
    fn files(&self) -> BTreeSet<String> {
        fn walk(dir: &Path, into: &mut BTreeSet<String>, root: &Path) {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                let path = entry.path();
                if entry.file_type().unwrap().is_dir() {
                    walk(&path, into, root);
                } else {
                    into.insert(path.strip_prefix(root).unwrap().display().to_string());
                }
            }
        }
        let mut files = BTreeSet::new();
        let root = self.dir.path().join("images");
        walk(&root, &mut files, &root);
        files
    }
}

fn sample(name: &str) -> Image {
    let base = Layer::new()
        .dir("etc", 0o750)
        .file("etc/base", 0o644, b"base")
        .file("etc/gone", 0o644, b"gone")
        .dir("opt", 0o755)
        .file("opt/old", 0o644, b"old")
        .tar();
    let app = Layer::new()
        .file("etc/app", 0o600, b"app")
        .file("etc/.wh.gone", 0o644, b"")
        .dir("opt", 0o755)
        .file("opt/.wh..wh..opq", 0o644, b"")
        .file("bin/app", 0o4755, &vec![7; 100_000])
        .link("bin/same", "bin/app")
        .symlink("bin/sh", "/bin/app")
        .tar();
    Image::new(name, vec![base, app])
}

#[test]
fn every_form_gives_the_same_layers() {
    let image = sample("example.com/app:v1");
    let plain = image.docker().tar();
    let layout = tempfile::tempdir().unwrap();
    image.oci().write(layout.path());
    let mut trees = Vec::new();
    let forms: Vec<(&str, Vec<u8>)> = vec![
        ("oci", image.oci().tar()),
        ("oci, gzip", gzip(&image.oci().tar())),
        ("docker", plain.clone()),
        ("docker, gzip", gzip(&plain)),
        ("docker, zstd", zstd(&plain)),
        (
            "docker without repositories",
            image.docker().without(|path| path == "repositories").tar(),
        ),
        ("docker before manifests", image.old_docker().tar()),
    ];
    for (form, bytes) in forms {
        let home = Home::new();
        let images = home
            .load_bytes(&bytes)
            .unwrap_or_else(|error| panic!("{form}: {error}"));
        assert_eq!(images.len(), 1, "{form}");
        assert_eq!(images[0].name.as_str(), "example.com/app:v1", "{form}");
        trees.push(
            home.files()
                .into_iter()
                .filter(|file| file.starts_with("layers/"))
                .collect::<Vec<_>>(),
        );
    }
    let home = Home::new();
    let images = home.load(layout.path(), &[]).unwrap();
    trees.push(
        home.files()
            .into_iter()
            .filter(|file| file.starts_with("layers/"))
            .collect(),
    );
    assert!(trees.iter().all(|tree| *tree == trees[0]), "{trees:#?}");
    assert_eq!(home.store.images().unwrap(), images);
}

#[test]
fn an_unpacked_layer_is_what_overlayfs_wants() {
    let home = Home::new();
    let images = home.load_bytes(&sample("a:1").oci().tar()).unwrap();
    let top = home.top(&images[0]);
    assert!(
        fs::symlink_metadata(top.join("etc/gone"))
            .unwrap()
            .file_type()
            .is_char_device()
    );
    let mut value = [0; 8];
    let size =
        rustix::fs::getxattr(top.join("opt"), "trusted.overlay.opaque", &mut value[..]).unwrap();
    assert_eq!(&value[..size], b"y");
    let app = fs::metadata(top.join("bin/app")).unwrap();
    assert_eq!((app.mode() & 0o7777, app.nlink()), (0o4755, 2));
    assert_eq!(
        fs::read_link(top.join("bin/sh")).unwrap(),
        Path::new("/bin/app")
    );
    // The layer only passed through it: its mode comes from the layer below.
    assert_eq!(
        fs::metadata(top.join("etc")).unwrap().mode() & 0o7777,
        0o750
    );
    assert_eq!(
        fs::metadata(top.join("bin")).unwrap().mode() & 0o7777,
        0o755
    );
    // Not for the users of the host.
    assert_eq!(
        fs::metadata(home.dir.path().join("images"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o700
    );
}

#[test]
fn one_archive_may_hold_several_images() {
    let home = Home::new();
    let mut second = sample("b:2");
    second
        .layers
        .push(Layer::new().file("more", 0o644, b"more").tar());
    let archive = docker(&[sample("a:1"), second.clone()]).tar();
    let images = home.load_bytes(&archive).unwrap();
    let names: Vec<_> = images.iter().map(|image| image.name.as_str()).collect();
    assert_eq!(names, ["docker.io/library/a:1", "docker.io/library/b:2"]);
    // What they share is there once: three layers, not five.
    assert_eq!(
        fs::read_dir(home.dir.path().join("images/layers"))
            .unwrap()
            .count(),
        3
    );
    let error = home
        .load(&home.file("again", &archive), &["c:1"])
        .unwrap_err();
    assert!(
        matches!(error, LoadError::Several { count: 2, .. }),
        "{error}"
    );

    let mut layout = Files::default();
    let entries = [
        sample("a:1").manifest(&mut layout),
        second.manifest(&mut layout),
    ];
    layout.index(&entries);
    assert_eq!(home.load_bytes(&layout.tar()).unwrap().len(), 2);
}

#[test]
fn names_come_from_the_archive_or_from_the_person() {
    let home = Home::new();
    let nameless = sample("").oci().tar();
    let error = home.load_bytes(&nameless).unwrap_err();
    assert!(matches!(error, LoadError::NoName { .. }), "{error}");
    assert!(error.hint().unwrap().contains("-t NAME:TAG"));
    let archive = home.file("nameless", &nameless);
    let images = home.load(&archive, &["x/y:1", "z"]).unwrap();
    assert_eq!(images[0].name.as_str(), "docker.io/x/y:1");
    assert_eq!(images[1].name.as_str(), "docker.io/library/z:latest");
    // A bare word is the tag of an unknown name.
    let error = home.load_bytes(&sample("latest").oci().tar()).unwrap_err();
    assert!(matches!(error, LoadError::NoName { .. }), "{error}");
}

#[test]
fn of_several_platforms_that_of_the_nodes_is_taken() {
    let home = Home::new();
    let mut files = Files::default();
    let mut entries = Vec::new();
    for architecture in ["arm64", "amd64"] {
        let mut image = sample("");
        image.architecture = architecture;
        let mut entry = image.manifest(&mut files);
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entries.push(entry);
    }
    entries.push(json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(b"attestation"), "size": 1,
        "platform": {"os": "unknown", "architecture": "unknown"}}));
    let index = json!({"schemaVersion": 2, "manifests": entries});
    let mut entry = files.blob(
        "application/vnd.oci.image.index.v1+json",
        index.to_string().into_bytes(),
    );
    entry["annotations"] = json!({"io.containerd.image.name": "multi.example/a:1", "org.opencontainers.image.ref.name": "1"});
    files.index(&[entry]);
    let images = home.load_bytes(&files.tar()).unwrap();
    assert_eq!(images[0].name.as_str(), "multi.example/a:1");
    assert_eq!(
        images[0].config.digest.as_str(),
        digest(&sample("").config())
    );

    let mut foreign = sample("a:1");
    foreign.architecture = "s390x";
    for archive in [foreign.oci(), foreign.docker()] {
        let error = Home::new().load_bytes(&archive.tar()).unwrap_err();
        let LoadError::Platform { found, wanted, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(
            (found.as_str(), wanted.as_str()),
            ("linux/s390x", "linux/amd64")
        );
    }
}

/// A damaged archive, and what a person is told of it.
fn refused(bytes: &[u8], words: &[&str]) {
    let home = Home::new();
    // Of another content: what the store has already is not read again.
    let kept = Image::new(
        "kept:1",
        vec![Layer::new().file("kept", 0o644, b"kept").tar()],
    );
    home.load_bytes(&kept.oci().tar()).unwrap();
    let before = home.files();
    let error = home.load_bytes(bytes).unwrap_err();
    let line = error.to_string();
    for word in words {
        assert!(line.contains(word), "`{word}` is missing in: {line}");
    }
    // The next writer sweeps; then all is as it was.
    drop(home.store.lock().unwrap());
    assert_eq!(home.files(), before, "{line}");
    assert!(!home.dir.path().join("out").exists());
}

#[test]
fn what_is_no_archive_is_refused() {
    refused(b"", &["it is empty"]);
    refused(b"hello", &["no archive"]);
    refused(&vec![b'x'; 4096], &["no archive"]);
    refused(&[0; 10240], &["no archive, or an empty one"]);
    refused(&gzip(b"hello"), &["no archive"]);
    let mut other = Files::default();
    other.add("README", "hello");
    refused(&other.tar(), &["no image is listed", "index.json"]);
    let home = Home::new();
    let missing = home.dir.path().join("missing.tar");
    assert!(matches!(
        home.load(&missing, &[]).unwrap_err(),
        LoadError::Missing { .. }
    ));
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(
        home.load(empty.path(), &[]).unwrap_err(),
        LoadError::NotImages { .. }
    ));
}

#[test]
fn what_was_cut_short_is_refused_wherever_it_was_cut() {
    for whole in [sample("a:1").oci().tar(), sample("a:1").docker().tar()] {
        for part in [1, 2, 3, 5, 8, 13, 20, 60, 95] {
            // The last kilobyte is the end mark, which nothing needs.
            let cut = &whole[..(whole.len() - 1024) * part / 100];
            refused(cut, &["archive"]);
            refused(&gzip(cut), &["archive"]);
        }
        let packed = gzip(&whole);
        refused(&packed[..packed.len() / 2], &["cut short"]);
        let packed = zstd(&whole);
        refused(&packed[..packed.len() / 2], &["damaged"]);
    }
}

#[test]
fn altered_content_is_told_by_its_digest() {
    let oci = || sample("a:1").oci();
    refused(&oci().edit_layer(|layer| layer[20] ^= 1).tar(), &["digest"]);
    refused(
        &oci().edit_layer(|layer| layer.push(0)).tar(),
        &["bytes instead of"],
    );
    // A plain layer is known by its diff id only.
    let docker = sample("a:1").docker();
    refused(
        &docker.clone().edit_layer(|layer| layer[100_000] ^= 1).tar(),
        &["diff id", "has digest"],
    );
    refused(
        &docker
            .clone()
            .without(|path| path.ends_with("layer.tar"))
            .tar(),
        &["layer", "is missing"],
    );
    refused(
        &docker.clone().without(|path| path.len() == 69).tar(),
        &["config", "is missing"],
    );
    refused(
        &oci().without(|path| path.starts_with("blobs/")).tar(),
        &["manifest", "is missing"],
    );
    let mut wrong = sample("a:1");
    wrong.layers.pop();
    let mut files = sample("a:1").docker();
    let config = wrong.config();
    for (path, content) in &mut files.0 {
        if path.len() == 69 {
            content.clone_from(&config);
        }
    }
    refused(&files.tar(), &["config", "digest"]);
    for json in ["{", "[]", "{\"manifests\": 7}"] {
        let mut files = oci().without(|path| path == "index.json");
        files.add("index.json", json);
        refused(&files.tar(), &["index.json"]);
    }
}

#[test]
fn layers_that_reach_out_are_refused() {
    let evil = |layer: Layer| Image::new("evil:1", vec![layer.tar()]);
    let tricks = [
        (Layer::new().file("../out", 0o644, b"x"), "leads out"),
        (Layer::new().file("a/../../out", 0o644, b"x"), "leads out"),
        (
            Layer::new()
                .symlink("up", "../..")
                .file("up/out", 0o644, b"x"),
            "leads out",
        ),
        (
            Layer::new()
                .symlink("root", "/")
                .file("root/out", 0o644, b"x"),
            "leads out",
        ),
        (
            Layer::new().symlink("up", "..").dir("up/out", 0o755),
            "leads out",
        ),
        (
            Layer::new()
                .symlink("up", "../..")
                .file("up/.wh.out", 0o644, b""),
            "leads out",
        ),
        (
            Layer::new()
                .symlink("up", "../..")
                .entry(EntryType::Fifo, "up/out", "", 0o644, b""),
            "leads out",
        ),
        (
            Layer::new().link("passwd", "../../../../../../etc/passwd"),
            "leads out",
        ),
        (
            Layer::new()
                .symlink("etc", "/etc")
                .link("passwd", "etc/passwd"),
            "not there",
        ),
        (Layer::new().link("a", "missing"), "not there"),
        (
            Layer::new()
                .file("f", 0o644, b"x")
                .file("f/out", 0o644, b"x"),
            "not a directory",
        ),
        (Layer::new().file("d/.wh..", 0o644, b""), "hides no file"),
        (Layer::new().file("d/.wh....", 0o644, b""), ""),
    ];
    for (layer, words) in tricks {
        if words.is_empty() {
            // A strange name, and nothing else.
            Home::new().load_bytes(&evil(layer).oci().tar()).unwrap();
            continue;
        }
        refused(&evil(layer).oci().tar(), &[words]);
    }
    // An absolute name means the image's own root, as everywhere.
    let home = Home::new();
    let images = home
        .load_bytes(
            &evil(Layer::new().file("/etc/inside", 0o644, b"x"))
                .oci()
                .tar(),
        )
        .unwrap();
    assert!(home.top(&images[0]).join("etc/inside").exists());
    // The names of the archive itself lead nowhere either.
    let mut files = sample("a:1").oci();
    files.0.push(("x".into(), b"x".to_vec()));
    let mut tar = tar::Builder::new(Vec::new());
    tar.get_mut().extend(
        Layer::new()
            .file("../out", 0o644, b"x")
            .symlink("index.json", "/etc/passwd")
            .tar(),
    );
    let mut bytes = tar.get_mut().clone();
    bytes.truncate(bytes.len() - 1024);
    bytes.extend(files.tar());
    Home::new().load_bytes(&bytes).unwrap();
}

#[test]
fn loading_again_makes_nothing_new_and_a_newer_image_takes_the_name() {
    let home = Home::new();
    let archive = sample("a:1").oci().tar();
    home.load_bytes(&archive).unwrap();
    let before = home.files();
    home.load_bytes(&archive).unwrap();
    assert_eq!(home.files(), before);
    let newer = Image::new("a:1", vec![Layer::new().file("new", 0o644, b"new").tar()]);
    let images = home.load_bytes(&newer.oci().tar()).unwrap();
    assert_eq!(home.store.images().unwrap(), images);
    drop(home.store.lock().unwrap());
    assert_eq!(
        fs::read_dir(home.dir.path().join("images/layers"))
            .unwrap()
            .count(),
        1
    );
    assert_eq!(
        fs::read_dir(home.dir.path().join("images/blobs/sha256"))
            .unwrap()
            .count(),
        3
    );
}

#[test]
fn a_store_whose_cluster_is_gone_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::at(dir.path().join("clusters/gone/images"));
    assert!(store.lock().is_err());
    assert!(!dir.path().join("clusters").exists());
}
