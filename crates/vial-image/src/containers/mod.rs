//! The container images in a node, as a containerd root that is ready to use.
//!
//! The images are written as an OCI layout; `components/image-root` turns it into what containerd would have made
//! of it, and that directory becomes one layer of the node image.

mod layout;
mod toolbox;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Command;

use layout::Layout;
pub(crate) use toolbox::Toolbox;

use crate::components::{Built, Programs};
use crate::digest::{Digest, Hasher};
use crate::disk;
use crate::error::{Error, IoContext, Result};
use crate::image::{CONTAINERD_ROOT, ComponentRecord};
use crate::layer::{EPOCH, LayerTar, TarWriter};
use crate::oci::{self, RunConfig};
use crate::store::{LayerBlob, Writer};

/// Increase when this file makes something else of the same inputs.
const VERSION: &str = "1";
/// Tags of pause: the defaults of containerd 2.4 and kubelet 1.36, of kubelet 1.35, and vial's own.
const PAUSE: [&str; 3] = [
    "registry.k8s.io/pause:3.10.2",
    "registry.k8s.io/pause:3.10.1",
    "docker.io/vial/pause:1",
];
/// Tags of the toolbox. The kubelet asks a registry for `latest` unless told `imagePullPolicy: IfNotPresent`; the
/// other tag it takes as it is.
const TOOLBOX: [&str; 2] = ["docker.io/vial/toolbox:latest", "docker.io/vial/toolbox:1"];
/// What Kubernetes' e2e tests call busybox: the toolbox has a shell and all they run in it.
const BUSYBOX: [&str; 2] = [
    "registry.k8s.io/e2e-test-images/busybox:1.37.0-1",
    "registry.k8s.io/e2e-test-images/busybox:1.36.1-1",
];

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What goes into the layer.
pub(crate) struct Containers<'a> {
    pub(crate) programs: &'a Programs,
    pub(crate) toolbox: &'a Toolbox,
    /// Debian suite of the toolbox.
    pub(crate) suite: &'a str,
}

impl Containers<'_> {
    /// Digest of all that decides the layer.
    fn inputs(&self) -> Result<Digest> {
        let mut hasher = Hasher::default();
        hasher.field(VERSION);
        hasher.field(self.toolbox.digest.as_str());
        for name in ["pause", "coredns", "agnhost", "image-root"] {
            hasher.field(&self.programs.get(name)?.record.sha256);
        }
        for tag in PAUSE
            .iter()
            .chain(&TOOLBOX)
            .chain(&BUSYBOX)
            .chain(self.programs.agnhost_tags)
        {
            hasher.field(tag);
        }
        hasher.field(&self.programs.get("coredns")?.record.version);
        Ok(hasher.finish())
    }

    /// The layer, from the cache (`true`) or made now, and what is in it.
    pub(crate) fn layer(&self, writer: &Writer) -> Result<(LayerBlob, Vec<ComponentRecord>, bool)> {
        let inputs = self.inputs()?;
        let title = "container images";
        let records = |blob: &LayerBlob| -> Result<Vec<ComponentRecord>> {
            let path = writer
                .located(blob)
                .unpacked
                .join("usr/share/vial/container-images.json");
            serde_json::from_slice(&disk::read(&path)?).map_err(|source| Error::DamagedFile {
                path,
                source: source.into(),
            })
        };
        if let Some(blob) = writer.cached(&inputs) {
            let records = records(&blob)?;
            return Ok((blob, records, true));
        }
        let scratch = writer.scratch("containers-")?;
        let made = self.write_layout(&scratch.path().join("layout"))?;
        let root = scratch.path().join("root");
        self.image_root(&scratch.path().join("layout"), &root)?;
        let list = oci::to_bytes(&made);
        let (blob, _) = writer.layer(&inputs, title, |tar| {
            tar.parents(format!("{CONTAINERD_ROOT}/x"))?;
            tar.tree(CONTAINERD_ROOT, &root)?;
            tar.directory("usr/share")?;
            tar.directory("usr/share/vial")?;
            tar.file(
                "usr/share/vial/container-images.json",
                0o644,
                list.len() as u64,
                &list[..],
            )
        })?;
        Ok((blob, made, false))
    }

    fn image_root(&self, layout: &Path, root: &Path) -> Result<()> {
        let program = &self.programs.get("image-root")?.file;
        let output = Command::new(program)
            .arg("-layout")
            .arg(layout)
            .arg("-root")
            .arg(root)
            .args(["-time", &EPOCH.to_string()])
            .output()
            .map_err(|source| Error::NoProgram {
                program: program.display().to_string(),
                source,
            })?;
        if !output.status.success() {
            return Err(Error::Program {
                program: "image-root".into(),
                status: output.status.to_string(),
                output: String::from_utf8_lossy(&output.stderr).into_owned(),
            });
        }
        Ok(())
    }

    /// Writes all images as an OCI layout.
    fn write_layout(&self, root: &Path) -> Result<Vec<ComponentRecord>> {
        let mut layout = Layout::new(root)?;
        let run = |entrypoint: &[&str], cmd: &[&str]| RunConfig {
            env: vec![PATH.into()],
            entrypoint: entrypoint.iter().map(|&word| word.into()).collect(),
            cmd: cmd.iter().map(|&word| word.into()).collect(),
            working_dir: "/".into(),
            ..RunConfig::default()
        };
        let source = format!("debian {}", self.suite);

        let pause = self.programs.get("pause")?;
        let layer = layout.layer(|tar| add(tar, "pause", pause))?;
        // As upstream's: nobody.
        let config = RunConfig {
            user: "65535:65535".into(),
            ..run(&["/pause"], &[])
        };
        layout.image(&PAUSE, config, &[layer], &pause.record.version, "vial")?;

        let coredns = self.programs.get("coredns")?;
        let layer = layout.layer(|tar| add(tar, "coredns", coredns))?;
        let tag = format!("registry.k8s.io/coredns/coredns:{}", coredns.record.version);
        layout.image(
            &[&tag],
            run(&["/coredns"], &[]),
            &[layer],
            &coredns.record.version,
            &coredns.record.source,
        )?;

        let toolbox = layout.existing(self.toolbox)?;
        layout.image(
            &TOOLBOX,
            run(&[], &["/bin/bash"]),
            std::slice::from_ref(&toolbox),
            "1",
            &source,
        )?;
        layout.image(
            &BUSYBOX,
            run(&[], &["sh"]),
            std::slice::from_ref(&toolbox),
            "1",
            &source,
        )?;

        let agnhost = self.programs.get("agnhost")?;
        let accounts = self.toolbox.read(&["etc/passwd", "etc/group"])?;
        let layer = layout.layer(|tar| agnhost_layer(tar, agnhost, coredns, &accounts))?;
        let tags: Vec<_> = self
            .programs
            .agnhost_tags
            .iter()
            .map(|tag| format!("registry.k8s.io/e2e-test-images/agnhost:{tag}"))
            .collect();
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        layout.image(
            &tags,
            run(&["/agnhost"], &["pause"]),
            &[toolbox, layer],
            &agnhost.record.version,
            &agnhost.record.source,
        )?;
        layout.finish()
    }
}

fn add<W: std::io::Write>(tar: &mut TarWriter<W>, path: &str, built: &Built) -> Result<()> {
    let file = File::open(&built.file).at("open", &built.file)?;
    let size = file.metadata().at("read", &built.file)?.len();
    tar.file(path, 0o755, size, file)
}

/// What upstream's `test/images/agnhost/Dockerfile` adds to its base.
fn agnhost_layer(
    tar: &mut LayerTar<'_, '_>,
    agnhost: &Built,
    coredns: &Built,
    accounts: &BTreeMap<String, String>,
) -> Result<()> {
    add(tar, "agnhost", agnhost)?;
    tar.symlink("agnhost-2", "agnhost")?;
    add(tar, "coredns", coredns)?;
    tar.directory("etc")?;
    let mut append = |path: &str, lines: &str| {
        let text = format!(
            "{}{lines}",
            accounts
                .get(path)
                .map_or("root:x:0:0:root:/root:/bin/sh\n", String::as_str)
        );
        tar.file(path, 0o644, text.len() as u64, text.as_bytes())
    };
    append(
        "etc/group",
        "user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n",
    )?;
    append(
        "etc/passwd",
        "user-defined-in-image:x:1000:1000:Linux User:/home/user-defined-in-image:/bin/sh\n",
    )?;
    tar.directory("uploads")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// All of a containerd root as an archive, which has no times.
    fn archive(root: &Path) -> Vec<u8> {
        let mut tar = TarWriter::new(Vec::new());
        tar.tree("", root).unwrap();
        tar.finish().unwrap()
    }

    #[tokio::test]
    async fn the_same_images_give_the_same_containerd_root() {
        let home = tempfile::tempdir().unwrap();
        let go = crate::components::Go::find(home.path()).await.unwrap();
        let module = crate::components::OTHERS
            .iter()
            .find(|module| module.name == "image-root")
            .unwrap();
        let built = match go.build(module, &|_| {}).await {
            Err(Error::NoProgram { .. }) => return eprintln!("skipped, because there is no go"),
            built => built.unwrap(),
        };
        let mut layout = Layout::new(&home.path().join("layout")).unwrap();
        let make = |text: &'static str| {
            layout
                .layer(|tar| tar.file(text, 0o4755, text.len() as u64, text.as_bytes()))
                .unwrap()
        };
        let layers = [make("one"), make("two")];
        layout
            .image(&["a:1", "b:2"], RunConfig::default(), &layers, "v1", "test")
            .unwrap();
        layout
            .image(&["c:3"], RunConfig::default(), &layers[..1], "v1", "test")
            .unwrap();
        layout.finish().unwrap();
        let programs = Programs {
            kubernetes: String::new(),
            agnhost_tags: &[],
            all: built,
        };
        let toolbox = super::toolbox::tests::toolbox(home.path(), &Digest::of(b"inputs"));
        let containers = Containers {
            programs: &programs,
            toolbox: &toolbox,
            suite: "test",
        };
        let roots: Vec<_> = ["x", "y"]
            .map(|name| home.path().join(name))
            .into_iter()
            .collect();
        for root in &roots {
            containers
                .image_root(&home.path().join("layout"), root)
                .unwrap();
        }
        assert!(archive(&roots[0]) == archive(&roots[1]), "two runs differ");
        for database in crate::NodeImage::CONTAINERD_DATABASES {
            assert!(roots[0].join(database).is_file(), "{database}");
        }
        let snapshots = roots[0].join("io.containerd.snapshotter.v1.overlayfs/snapshots");
        assert_eq!(
            fs::read_to_string(snapshots.join("1/fs/one")).unwrap(),
            "one"
        );
        assert_eq!(
            fs::read_dir(&snapshots).unwrap().count(),
            2,
            "shared layers are unpacked once"
        );
        // A damaged layer is refused.
        fs::write(
            home.path()
                .join("layout/blobs/sha256")
                .join(layers[0].digest.hex()),
            "damaged",
        )
        .unwrap();
        assert!(
            containers
                .image_root(&home.path().join("layout"), &home.path().join("z"))
                .is_err()
        );
    }
}
