//! Container images made by hand, in every form they come in; and ways to damage them.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

/// `sha256:HEX`.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

fn hex(bytes: &[u8]) -> String {
    digest(bytes)["sha256:".len()..].to_owned()
}

/// A plain layer in the making.
pub(crate) struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    pub(crate) fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// Anything, under a name that may be as bad as one likes.
    pub(crate) fn entry(
        mut self,
        kind: EntryType,
        name: &str,
        link: &str,
        mode: u32,
        content: &[u8],
    ) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.append(&header, content).expect("written to memory");
        self
    }

    pub(crate) fn file(self, name: &str, mode: u32, content: &[u8]) -> Self {
        self.entry(EntryType::Regular, name, "", mode, content)
    }

    pub(crate) fn dir(self, name: &str, mode: u32) -> Self {
        self.entry(EntryType::Directory, name, "", mode, b"")
    }

    pub(crate) fn symlink(self, name: &str, to: &str) -> Self {
        self.entry(EntryType::Symlink, name, to, 0o777, b"")
    }

    pub(crate) fn link(self, name: &str, to: &str) -> Self {
        self.entry(EntryType::Link, name, to, 0o644, b"")
    }

    pub(crate) fn tar(self) -> Vec<u8> {
        self.0.into_inner().expect("written to memory")
    }
}

/// An image: its plain layers, lowest first, and what its config says.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) name: String,
    pub(crate) layers: Vec<Vec<u8>>,
    pub(crate) architecture: &'static str,
    pub(crate) run: Value,
}

impl Image {
    pub(crate) fn new(name: &str, layers: Vec<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            layers,
            architecture: "amd64",
            run: json!({}),
        }
    }

    pub(crate) fn config(&self) -> Vec<u8> {
        let diff_ids: Vec<_> = self.layers.iter().map(|layer| digest(layer)).collect();
        let config = json!({
            "architecture": self.architecture, "os": "linux", "config": self.run,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        config.to_string().into_bytes()
    }

    /// An OCI layout; its layers are compressed with gzip.
    pub(crate) fn oci(&self) -> Files {
        let mut files = Files::default();
        let manifest = self.manifest(&mut files);
        files.index(&[manifest]);
        files
    }

    /// Puts manifest, config and layers into a layout; returns the index's entry.
    pub(crate) fn manifest(&self, files: &mut Files) -> Value {
        let layers: Vec<Value> = self
            .layers
            .iter()
            .map(|layer| files.blob("application/vnd.oci.image.layer.v1.tar+gzip", gzip(layer)))
            .collect();
        let config = files.blob("application/vnd.oci.image.config.v1+json", self.config());
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest =
            json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers});
        let mut entry = files.blob(kind, manifest.to_string().into_bytes());
        if !self.name.is_empty() {
            entry["annotations"] = json!({"org.opencontainers.image.ref.name": self.name});
        }
        entry
    }

    /// What `docker save` writes: plain layers, `manifest.json`, `repositories`.
    pub(crate) fn docker(&self) -> Files {
        docker(std::slice::from_ref(self))
    }

    /// What it wrote before there were manifests.
    pub(crate) fn old_docker(&self) -> Files {
        let mut files = Files::default();
        let mut parent = String::new();
        for layer in &self.layers {
            let id = hex(&[layer.as_slice(), parent.as_bytes()].concat());
            let mut facts = json!({"id": id, "os": "linux", "architecture": self.architecture, "config": self.run});
            if !parent.is_empty() {
                facts["parent"] = json!(parent);
            }
            files.add(&format!("{id}/json"), facts.to_string());
            files.add(&format!("{id}/VERSION"), "1.0");
            files.add(&format!("{id}/layer.tar"), layer.clone());
            parent = id;
        }
        let (repository, tag) = self.name.rsplit_once(':').expect("a tag");
        files.add(
            "repositories",
            json!({repository: {tag: parent}}).to_string(),
        );
        files
    }
}

/// Several images in one archive of `docker save`; layers that they share are there once, the others are links to them.
pub(crate) fn docker(images: &[Image]) -> Files {
    let mut files = Files::default();
    let mut listed = Vec::new();
    let mut repositories = json!({});
    for image in images {
        let config = image.config();
        let path = format!("{}.json", hex(&config));
        let layers: Vec<String> = image
            .layers
            .iter()
            .map(|layer| format!("{}/layer.tar", hex(layer)))
            .collect();
        for (layer, path) in image.layers.iter().zip(&layers) {
            files.add(path, layer.clone());
        }
        files.add(&path, config);
        listed.push(json!({"Config": path, "RepoTags": [image.name], "Layers": layers}));
        let (repository, tag) = image.name.rsplit_once(':').expect("a tag");
        repositories[repository][tag] = json!("unused");
    }
    files.add("manifest.json", Value::from(listed).to_string());
    files.add("repositories", repositories.to_string());
    files
}

/// The files of an archive.
#[derive(Clone, Default)]
pub(crate) struct Files(pub Vec<(String, Vec<u8>)>);

impl Files {
    pub(crate) fn add(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        if self.0.iter().all(|(known, _)| known != path) {
            self.0.push((path.into(), content.into()));
        }
    }

    /// Adds a blob of a layout; returns its descriptor.
    pub(crate) fn blob(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let descriptor =
            json!({"mediaType": media_type, "digest": digest(&bytes), "size": bytes.len()});
        self.add(&format!("blobs/sha256/{}", hex(&bytes)), bytes);
        descriptor
    }

    /// Makes it a layout.
    pub(crate) fn index(&mut self, manifests: &[Value]) {
        self.add("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        self.add("index.json", index.to_string());
    }

    pub(crate) fn without(mut self, wanted: impl Fn(&str) -> bool) -> Self {
        self.0.retain(|(path, _)| !wanted(path));
        self
    }

    /// Changes the largest file, which is a layer.
    pub(crate) fn edit_layer(mut self, edit: impl FnOnce(&mut Vec<u8>)) -> Self {
        let largest = self.0.iter_mut().max_by_key(|(_, content)| content.len());
        edit(&mut largest.expect("a file").1);
        self
    }

    pub(crate) fn tar(&self) -> Vec<u8> {
        let layer = self.0.iter().fold(LongTar::new(), |tar, (path, content)| {
            tar.file(path, content)
        });
        layer.finish()
    }

    pub(crate) fn write(&self, dir: &Path) {
        for (path, content) in &self.0 {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, content).expect("written");
        }
    }
}

/// Names of blobs fit into a header; those of old layers too. `append_data` takes whatever comes.
struct LongTar(tar::Builder<Vec<u8>>);

impl LongTar {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn file(mut self, path: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        self.0
            .append_data(&mut header, path, content)
            .expect("written to memory");
        self
    }

    fn finish(self) -> Vec<u8> {
        self.0.into_inner().expect("written to memory")
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("written to memory");
    encoder.finish().expect("written to memory")
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("written to memory")
}
