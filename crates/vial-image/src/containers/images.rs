//! Which container images a node has, and of which layers each is made: what is decided before anything is written.
//!
//! Beside what a node itself runs and the toolbox, these are the images that Kubernetes' conformance tests run, under
//! the names that they use. Where the content is of another version or on another base than upstream's, docs/node-image.md
//! says so.

use serde::Serialize;

use super::toolbox::Toolbox;
use crate::components::Programs;
use crate::error::Result;
use crate::oci::RunConfig;

/// Tags of pause: the defaults of containerd 2.4 and kubelet 1.36, of kubelet 1.35, and vial's own.
const PAUSE: [&str; 3] = [
    "registry.k8s.io/pause:3.10.2",
    "registry.k8s.io/pause:3.10.1",
    "docker.io/vial/pause:1",
];
/// Tags of the toolbox. The kubelet asks a registry for `latest` unless told `imagePullPolicy: IfNotPresent`; the
/// other tag it takes as it is.
const TOOLBOX: [&str; 2] = ["docker.io/vial/toolbox:latest", "docker.io/vial/toolbox:1"];
/// Where upstream keeps the images of its tests.
const TESTS: &str = "registry.k8s.io/e2e-test-images";

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A layer. Several images share most of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) enum Part {
    /// The program, in `/`.
    Pause,
    /// The program, in `/`.
    Coredns,
    /// A Debian root file system.
    Toolbox,
    /// A root file system of busybox alone.
    Busybox,
    /// Debian's nginx, on the toolbox.
    Nginx,
    /// The program and what its tests need, on the toolbox.
    Agnhost,
    /// etcd and etcdctl, in `/usr/local/bin`.
    Etcd,
    /// The program, in `/`.
    SampleApiserver,
    /// The program `nnp`, set-user-id root.
    Nonewprivs,
    /// Files for agnhost to serve.
    Kitten,
    /// Files for agnhost to serve.
    Nautilus,
}

/// An image to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Image {
    /// All its tags.
    pub(super) names: Vec<String>,
    pub(super) run: RunConfig,
    /// Lowest first.
    pub(super) layers: Vec<Part>,
    /// For the list of components.
    pub(super) version: String,
    /// For the list of components.
    pub(super) source: String,
}

/// How an image is run, beginning with an entry point and its arguments.
fn run(entrypoint: &[&str], cmd: &[&str]) -> RunConfig {
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    RunConfig {
        env: vec![PATH.into()],
        entrypoint: words(entrypoint),
        cmd: words(cmd),
        working_dir: "/".into(),
        ..RunConfig::default()
    }
}

/// Every image of a node, in the order in which they are made.
pub(super) fn plan(programs: &Programs, toolbox: &Toolbox, suite: &str) -> Result<Vec<Image>> {
    use Part::{
        Agnhost, Busybox, Coredns, Etcd, Kitten, Nautilus, Nginx, Nonewprivs, Pause,
        SampleApiserver, Toolbox,
    };
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let test = |name: &str| vec![format!("{TESTS}/{name}")];
    let tests = |names: &[&str]| names.iter().flat_map(|&name| test(name)).collect();
    let debian = |names, run, layers, version: &str| Image {
        names,
        run,
        layers,
        version: version.to_owned(),
        source: format!("debian {suite}"),
    };
    let built = |names, run, layers, name: &str| -> Result<Image> {
        let record = &programs.get(name)?.record;
        Ok(Image {
            names,
            run,
            layers,
            version: record.version.clone(),
            source: record.source.clone(),
        })
    };

    let coredns = &programs.get("coredns")?.record.version;
    let coredns = vec![format!("registry.k8s.io/coredns/coredns:{coredns}")];
    let of = &programs.test_images;
    let agnhost = vec![Toolbox, Coredns, Agnhost];
    let on_agnhost = |files| [agnhost.clone(), vec![files]].concat();
    let serve = run(&["/agnhost"], &["test-webserver"]);
    // As upstream's: nobody.
    let nobody = RunConfig {
        user: "65535:65535".into(),
        ..run(&["/pause"], &[])
    };
    let nginx = RunConfig {
        // It ends what it is at; SIGTERM would break it off.
        stop_signal: "SIGQUIT".into(),
        ..run(&[], &["nginx", "-g", "daemon off;"])
    };
    let nonroot = RunConfig {
        user: "1234".into(),
        ..run(&[], &["/bin/bash"])
    };
    Ok(vec![
        built(owned(&PAUSE), nobody, vec![Pause], "pause")?,
        built(coredns, run(&["/coredns"], &[]), vec![Coredns], "coredns")?,
        debian(
            owned(&TOOLBOX),
            run(&[], &["/bin/bash"]),
            vec![Toolbox],
            &toolbox.toolbox.version,
        ),
        debian(
            test(of.busybox),
            run(&[], &["sh"]),
            vec![Busybox],
            &toolbox.busybox.version,
        ),
        debian(
            tests(of.nginx),
            nginx,
            vec![Toolbox, Nginx],
            &toolbox.nginx.version,
        ),
        debian(
            test(of.dns),
            run(&[], &["/bin/bash"]),
            vec![Toolbox, Coredns],
            &toolbox.toolbox.version,
        ),
        debian(
            test(of.nonroot),
            nonroot,
            vec![Toolbox],
            &toolbox.toolbox.version,
        ),
        built(
            tests(of.agnhost),
            run(&["/agnhost"], &["pause"]),
            agnhost.clone(),
            "agnhost",
        )?,
        built(
            test(of.kitten),
            serve.clone(),
            on_agnhost(Kitten),
            "agnhost",
        )?,
        built(test(of.nautilus), serve, on_agnhost(Nautilus), "agnhost")?,
        built(
            test(of.nonewprivs),
            run(&[], &["nnp"]),
            vec![Busybox, Nonewprivs],
            "nnp",
        )?,
        built(
            test(of.sample_apiserver),
            run(&["/sample-apiserver"], &[]),
            vec![Busybox, SampleApiserver],
            "sample-apiserver",
        )?,
        built(
            vec![format!("registry.k8s.io/{}", of.etcd)],
            run(&[], &["/usr/local/bin/etcd"]),
            vec![Etcd],
            "etcd",
        )?,
    ])
}
