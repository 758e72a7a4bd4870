//! The container images in a node, as a containerd root that is ready to use.
//!
//! The images are written as an OCI layout; `components/image-root` turns it into what containerd would have made
//! of it, and that directory becomes one layer of the node image.

mod images;
mod toolbox;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::path::Path;
use std::process::Command;

use images::{Image, Part};
use toolbox::Kept;
pub(crate) use toolbox::Toolbox;

use crate::components::{Built, Programs};
use crate::digest::{Digest, Hasher};
use crate::disk;
use crate::error::{Error, IoContext, Result};
use crate::image::{ComponentRecord, NodeImage};
use crate::layer::{Compressed, EPOCH, LayerTar, TarWriter};
use crate::layout::{IMAGE_NAME, Layout};
use crate::oci;
use crate::store::{LayerBlob, Writer};

/// Increase when this file makes something else of the same inputs.
const VERSION: &str = "2";

/// What goes into the layer.
pub(crate) struct Containers<'a> {
    pub(crate) programs: &'a Programs,
    pub(crate) toolbox: &'a Toolbox,
    /// Debian suite of the toolbox.
    pub(crate) suite: &'a str,
}

impl Containers<'_> {
    fn plan(&self) -> Result<Vec<Image>> {
        images::plan(self.programs, self.toolbox, self.suite)
    }

    /// Digest of all that decides the layer. Assets come with agnhost's module and need no digest of their own.
    fn inputs(&self, plan: &[Image]) -> Result<Digest> {
        let mut hasher = Hasher::default();
        hasher.field(VERSION);
        hasher.field(oci::to_bytes(&plan));
        let Toolbox {
            toolbox,
            nginx,
            busybox,
        } = self.toolbox;
        for kept in [toolbox, nginx, busybox] {
            hasher.field(kept.compressed.digest.as_str());
        }
        for name in [
            "pause",
            "coredns",
            "agnhost",
            "nnp",
            "sample-apiserver",
            "etcd",
            "etcdctl",
            "image-root",
        ] {
            hasher.field(&self.programs.get(name)?.record.sha256);
        }
        Ok(hasher.finish())
    }

    /// The layer, from the cache (`true`) or made now, and what is in it.
    pub(crate) fn layer(&self, writer: &Writer) -> Result<(LayerBlob, Vec<ComponentRecord>, bool)> {
        let plan = self.plan()?;
        let inputs = self.inputs(&plan)?;
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
        let made = self.write_layout(&plan, &scratch.path().join("layout"))?;
        let root = scratch.path().join("root");
        self.image_root(&scratch.path().join("layout"), &root)?;
        let list = oci::to_bytes(&made);
        let (blob, _) = writer.layer(&inputs, title, |tar| {
            tar.parents(format!("{}/x", NodeImage::CONTAINERD_ROOT))?;
            tar.tree(NodeImage::CONTAINERD_ROOT, &root)?;
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

    /// Writes all images as an OCI layout, each layer once.
    fn write_layout(&self, plan: &[Image], root: &Path) -> Result<Vec<ComponentRecord>> {
        let mut layout = Layout::new(root, &[IMAGE_NAME])?;
        let mut records = Vec::new();
        let mut made: BTreeMap<Part, Compressed> = BTreeMap::new();
        for image in plan {
            for &part in &image.layers {
                if let Entry::Vacant(room) = made.entry(part) {
                    room.insert(self.part(&layout, part)?);
                }
            }
            let layers: Vec<_> = image.layers.iter().map(|part| made[part].clone()).collect();
            let digest = layout.image(&image.names, &image.run, &layers)?;
            records.extend(image.names.iter().map(|name| ComponentRecord {
                name: name.clone(),
                version: image.version.clone(),
                source: image.source.clone(),
                sha256: digest.hex().into(),
                path: None,
                modules: Vec::new(),
            }));
        }
        layout.finish()?;
        Ok(records)
    }

    fn part(&self, layout: &Layout, part: Part) -> Result<Compressed> {
        let program = |name: &'static str| self.programs.get(name);
        let kept = |kept: &Kept| {
            layout.existing(&kept.file, &kept.compressed)?;
            Ok(kept.compressed.clone())
        };
        match part {
            Part::Toolbox => kept(&self.toolbox.toolbox),
            Part::Nginx => kept(&self.toolbox.nginx),
            Part::Busybox => kept(&self.toolbox.busybox),
            Part::Pause => layout.layer(|tar| add(tar, "pause", program("pause")?)),
            Part::Coredns => layout.layer(|tar| add(tar, "coredns", program("coredns")?)),
            Part::SampleApiserver => {
                let name = "sample-apiserver";
                layout.layer(|tar| add(tar, name, program(name)?))
            }
            Part::Etcd => layout.layer(|tar| {
                tar.parents("usr/local/bin/x")?;
                add(tar, "usr/local/bin/etcd", program("etcd")?)?;
                add(tar, "usr/local/bin/etcdctl", program("etcdctl")?)
            }),
            Part::Nonewprivs => layout.layer(|tar| {
                tar.parents("usr/local/bin/x")?;
                add_mode(tar, "usr/local/bin/nnp", program("nnp")?, 0o6755)
            }),
            Part::Agnhost => layout.layer(|tar| self.agnhost(tar)),
            Part::Kitten => layout.layer(|tar| self.html(tar, "kitten")),
            Part::Nautilus => layout.layer(|tar| self.html(tar, "nautilus")),
        }
    }

    /// What upstream's `test/images/agnhost/Dockerfile` adds to its base, but for coredns and the images of its registry.
    fn agnhost(&self, tar: &mut LayerTar<'_, '_>) -> Result<()> {
        let accounts = self.toolbox.read(&["etc/passwd", "etc/group"])?;
        add(tar, "agnhost", self.programs.get("agnhost")?)?;
        tar.symlink("agnhost-2", "agnhost")?;
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
        for name in ["localhost.crt", "localhost.key"] {
            self.asset(tar, &format!("agnhost/porter/{name}"), name)?;
        }
        // What its upstream base, alpine, has of busybox, where the toolbox has no program of that name.
        tar.parents("usr/bin/x")?;
        for name in ["hexdump", "wget"] {
            tar.symlink(format!("usr/bin/{name}"), "busybox")?;
        }
        tar.directory("uploads")
    }

    /// What upstream's Dockerfiles of `kitten` and `nautilus` add to agnhost.
    fn html(&self, tar: &mut LayerTar<'_, '_>, animal: &str) -> Result<()> {
        for name in ["data.json".to_owned(), format!("{animal}.jpg")] {
            self.asset(tar, &format!("{animal}/html/{name}"), &name)?;
        }
        Ok(())
    }

    /// A file of Kubernetes' `test/images`.
    fn asset(&self, tar: &mut LayerTar<'_, '_>, from: &str, to: &str) -> Result<()> {
        let bytes = disk::read(&self.programs.asset(&format!("test/images/{from}"))?)?;
        tar.file(to, 0o644, bytes.len() as u64, &bytes[..])
    }
}

fn add<W: std::io::Write>(tar: &mut TarWriter<W>, path: &str, built: &Built) -> Result<()> {
    add_mode(tar, path, built, 0o755)
}

fn add_mode<W: std::io::Write>(
    tar: &mut TarWriter<W>,
    path: &str,
    built: &Built,
    mode: u32,
) -> Result<()> {
    let file = File::open(&built.file).at("open", &built.file)?;
    let size = file.metadata().at("read", &built.file)?.len();
    tar.file(path, mode, size, file)
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
            Err(Error::NoProgram { .. }) => return vial_testing::skip("there is no go"),
            built => built.unwrap(),
        };
        let mut layout = Layout::new(&home.path().join("layout"), &[IMAGE_NAME]).unwrap();
        let make = |text: &'static str| {
            layout
                .layer(|tar| tar.file(text, 0o4755, text.len() as u64, text.as_bytes()))
                .unwrap()
        };
        let layers = [make("one"), make("two")];
        layout
            .image(
                &["a:1".into(), "b:2".into()],
                &oci::RunConfig::default(),
                &layers,
            )
            .unwrap();
        layout
            .image(&["c:3".into()], &oci::RunConfig::default(), &layers[..1])
            .unwrap();
        layout.finish().unwrap();
        let programs = Programs {
            kubernetes: String::new(),
            test_images: crate::components::SUPPORTED[0].test_images,
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
