//! Images of the host in a cluster without a registry: archives and layouts loaded, listed, removed; damaged ones refused.

use std::fs;
use std::process::{Command, Stdio};

use crate::crane::toolbox;
use crate::lab::Lab;

/// An archive of `docker save` with one layer on the toolbox's: the file /word; its name is `word:WORD`.
fn saved(lab: &Lab, base: &str, word: &str) -> String {
    saved_as(lab, base, word, &format!("word:{word}"))
}

fn saved_as(lab: &Lab, base: &str, word: &str, name: &str) -> String {
    let path = lab.dir().join(format!("{word}.tar"));
    let unpacked = lab.dir().join("base");
    fs::create_dir_all(&unpacked).expect("made");
    let script = r#"
tar -C "$2" -xf "$1"
cd "$2"
rm -f index.json oci-layout
printf '%s\n' "$4" > word
tar --owner 0 --group 0 --mtime @0 -cf layer.tar word
layer=$(sha256sum layer.tar | cut -c1-64)
python3 - "$layer" "$5" <<'P'
import hashlib, json, sys
manifest = json.load(open("manifest.json"))[0]
config = json.load(open(manifest["Config"]))
config["rootfs"]["diff_ids"].append("sha256:" + sys.argv[1])
config["config"] = {**config.get("config", {}), "Cmd": ["sleep", "infinity"]}
text = json.dumps(config)
name = hashlib.sha256(text.encode()).hexdigest() + ".json"
open(name, "w").write(text)
json.dump([{"Config": name, "RepoTags": [sys.argv[2]], "Layers": manifest["Layers"] + ["layer.tar"]}], open("manifest.json", "w"))
P
tar -cf "$3" *.json layer.tar blobs
"#;
    let ran = lab.shell(
        script,
        &[
            base,
            &unpacked.to_string_lossy(),
            &path.to_string_lossy(),
            word,
            name,
        ],
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    path.to_string_lossy().into_owned()
}

#[track_caller]
fn says(lab: &Lab, cluster: &str, pod: &str, node: &str, image: &str, word: &str) {
    lab.apply(
        cluster,
        &format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {pod}}}\nspec: {{nodeName: {node}, tolerations: [{{operator: Exists}}], containers: [{{name: c, image: \"{image}\"}}]}}\n"
        ),
    );
    lab.await_pod(cluster, pod);
    let said = lab.kubectl(cluster, &["exec", pod, "--", "cat", "/word"]);
    assert_eq!(said.ok(), word);
}

fn nodes_of(lab: &Lab, image: &str) -> Vec<String> {
    let listed = lab
        .vial(["image", "ls", "-c", "loaded", "-o", "json"])
        .json();
    let listed = listed.as_array().expect("a list");
    let found = listed.iter().find(|found| found["name"] == image);
    let nodes = found.map(|found| found["nodes"].clone());
    serde_json::from_value(nodes.unwrap_or_else(|| "[]".parse().expect("JSON"))).expect("names")
}

#[test]
fn an_image_of_the_host_runs_on_every_node_also_on_one_that_comes_later() {
    let lab = Lab::up("loaded", &["--workers", "1"]);
    let base = toolbox(&lab, "loaded");
    let one = saved(&lab, &base, "one");
    lab.vial(["image", "load", &one, "-c", "loaded"]).ok();
    assert_eq!(
        nodes_of(&lab, "docker.io/library/word:one"),
        ["cp-1", "w-1"]
    );
    says(&lab, "loaded", "one", "w-1", "word:one", "one");

    // The same name, another image: new pods have the new one.
    let two = saved(&lab, &base, "two");
    let load = ["image", "load", &two, "-t", "word:one", "-c", "loaded"];
    lab.vial(load).ok();
    says(&lab, "loaded", "two", "cp-1", "word:one", "two");
    assert_eq!(
        lab.kubectl("loaded", &["exec", "one", "--", "cat", "/word"])
            .ok(),
        "one"
    );

    lab.vial(["up", "loaded", "--workers", "2"]).ok();
    says(&lab, "loaded", "later", "w-2", "word:one", "two");

    // From standard input, compressed, for one node.
    let script =
        "gzip -c \"$1\" | vial image load - -t piped.example/word:v1 --nodes w-2 -c loaded";
    let ran = lab.shell(script, &[&one]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(nodes_of(&lab, "piped.example/word:v1"), ["w-2"]);

    // An OCI layout is a directory.
    let layout = lab.dir().join("layout");
    fs::create_dir(&layout).expect("made");
    let unpacked = Command::new("tar")
        .arg("-C")
        .arg(&layout)
        .args(["-xf", &base])
        .status();
    assert!(unpacked.expect("tar").success());
    let layout = layout.to_string_lossy();
    lab.vial(["image", "load", &layout, "-t", "laid:v1", "-c", "loaded"])
        .ok();
    assert_eq!(
        nodes_of(&lab, "docker.io/library/laid:v1"),
        ["cp-1", "w-1", "w-2"]
    );

    lab.vial(["image", "rm", "word:one", "laid:v1", "-c", "loaded"])
        .ok();
    assert!(nodes_of(&lab, "docker.io/library/word:one").is_empty());
    lab.vial(["down", "loaded"]).ok();
    lab.assert_nothing_left();
}

/// What a pod of this image is told about pulling, when it says this itself.
fn pull_policy(lab: &Lab, image: &str, says: &[&str]) -> String {
    let run = ["run", "asked", "--image", image, "--dry-run=server"];
    let show = ["-o", "jsonpath={.spec.containers[0].imagePullPolicy}"];
    lab.kubectl("pulled", &[&run[..], &show, says].concat())
        .ok()
}

#[test]
fn a_loaded_image_is_taken_from_the_node_whatever_its_tag() {
    let lab = Lab::up("pulled", &["--workers", "0"]);
    let base = toolbox(&lab, "pulled");
    let word = saved(&lab, &base, "here");
    assert_eq!(pull_policy(&lab, "app", &[]), "Always");
    let tags = ["-t", "app", "-t", "team.example/app", "-t", "app:v1"];
    lab.vial([&["image", "load", &word, "-c", "pulled"][..], &tags].concat())
        .ok();
    // At once, by every name that means it, and by what makes pods too.
    for image in [
        "app",
        "docker.io/app:latest",
        "library/app",
        "team.example/app",
    ] {
        assert_eq!(pull_policy(&lab, image, &[]), "IfNotPresent", "{image}");
    }
    lab.kubectl("pulled", &["create", "deployment", "app", "--image", "app"])
        .ok();
    let rollout = ["rollout", "status", "deployment/app", "--timeout=60s"];
    lab.kubectl("pulled", &rollout).ok();

    // What `kubectl debug` adds to a pod that runs, once and again.
    let pods = ["get", "pods", "-l", "app=app", "-o", "name"];
    let pod = lab.kubectl("pulled", &pods).ok();
    for image in ["app", "vial/toolbox"] {
        lab.kubectl("pulled", &["debug", &pod, "--image", image])
            .ok();
    }
    let policies = "jsonpath={.spec.ephemeralContainers[*].imagePullPolicy}";
    let shown = lab.kubectl("pulled", &["get", &pod, "-o", policies]);
    assert_eq!(shown.ok(), "IfNotPresent IfNotPresent");

    // What somebody wrote stays, as far as it can be told from what nobody wrote; other images are not touched.
    let always = ["--image-pull-policy", "Always"];
    assert_eq!(pull_policy(&lab, "app:v1", &always), "Always");
    let never = ["--image-pull-policy", "Never"];
    assert_eq!(pull_policy(&lab, "app", &never), "Never");
    assert_eq!(pull_policy(&lab, "app2", &[]), "Always");

    lab.vial(["image", "rm", "app", "-c", "pulled"]).ok();
    lab.vial(["down", "pulled"]).ok();
    lab.assert_nothing_left();
}

#[test]
fn several_images_are_loaded_all_or_none_and_lie_on_the_disk_once() {
    let lab = Lab::up("several", &["--workers", "2"]);
    // The image that vial itself brings comes a moment after the cluster, and is not what is counted here.
    let brought = ["--for=create", "configmap/vial", "-n", "kube-public"];
    lab.kubectl(
        "several",
        &[&["wait", "--timeout=60s"], &brought[..]].concat(),
    )
    .ok();
    let base = toolbox(&lab, "several");
    let words = ["one", "two", "three"].map(|word| saved(&lab, &base, word));
    let load = |more: &[&str]| {
        let archives = words.iter().map(String::as_str);
        let command = ["image", "load", "-c", "several"].into_iter();
        lab.vial(command.chain(archives).chain(more.iter().copied()))
    };
    let list = || {
        let ls = ["image", "ls", "-c", "several", "-o", "name"];
        lab.vial(ls).ok()
    };
    let before = list();
    let bad = lab.file("bad.tar", "no archive");
    let ran = load(&[&bad]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("bad.tar"), "{ran:?}");
    let ran = load(&["-t", "one:name"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("-t names one image"), "{ran:?}");
    // The same name twice, for different images.
    let clash = saved_as(&lab, &base, "four", "word:one");
    let ran = load(&[&clash]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(
        ran.stderr
            .contains("different images `docker.io/library/word:one`"),
        "{ran:?}"
    );
    assert_eq!(list(), before);

    let disk = lab.cluster_dir("several");
    let used = |below: &str| {
        let path = disk.join(below);
        let du = lab.shell("sync; du -sk \"$1\" | cut -f1", &[&path.to_string_lossy()]);
        du.ok().parse::<u64>().expect("kilobytes")
    };
    let grown = ["", "images", "images/layers"].map(|below| (below, used(below)));
    load(&[]).ok();
    let [all, store, unpacked] = grown.map(|(below, before)| used(below) - before);
    // Three nodes and the store have the files of three images, whose largest layer is the same; what is not shared are
    // directories and containerd's lists.
    assert!(
        all < store + store / 2,
        "{all} kB for {store} kB of blobs and layers"
    );
    let size = fs::metadata(&base).expect("the archive").len() / 1024;
    assert!(
        store < size + unpacked + 1024,
        "{store} kB of blobs and layers"
    );
    for (number, word) in ["one", "two", "three"].into_iter().enumerate() {
        let node = ["cp-1", "w-1", "w-2"][number];
        says(&lab, "several", word, node, &format!("word:{word}"), word);
    }
    lab.vial(["down", "several"]).ok();
    lab.assert_nothing_left();
}

#[test]
fn what_is_no_whole_image_is_refused_and_changes_nothing() {
    let lab = Lab::up("refused", &["--workers", "0"]);
    let good = toolbox(&lab, "refused");
    let bytes = fs::read(&good).expect("read");
    let write = |name: &str, bytes: &[u8]| {
        let path = lab.dir().join(name);
        fs::write(&path, bytes).expect("written");
        path.to_string_lossy().into_owned()
    };
    let mut changed = bytes.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    let list = || {
        lab.vial(["image", "ls", "-c", "refused", "-o", "json"])
            .ok()
    };
    let before = list();
    let missing = lab.dir().join("missing.tar");
    for (path, flags, code, what) in [
        (write("cut.tar", &bytes[..middle]), &[][..], 2, "cut short"),
        (write("changed.tar", &changed), &[], 2, "changed.tar"),
        (write("text", b"hello\n"), &[], 2, "no archive"),
        (write("empty", b""), &[], 2, "empty"),
        (
            missing.to_string_lossy().into_owned(),
            &[],
            3,
            "missing.tar",
        ),
        (good.clone(), &["-t", "Not A Name"], 2, "Not A Name"),
        (good.clone(), &["--nodes", "w-1"], 3, "w-1"),
    ] {
        let ran = lab.vial([&["image", "load", &path, "-c", "refused"], flags].concat());
        assert_eq!(ran.code, code, "{path}: {ran:?}");
        assert!(ran.stderr.contains(what), "{path}: {ran:?}");
        assert_eq!(list(), before, "{path}");
    }
    // Interrupted in the middle, then done again.
    let mut load = lab.command(["image", "load", "-", "-t", "again:v1", "-c", "refused"]);
    let mut load = load.stdin(Stdio::piped()).spawn().expect("vial runs");
    let mut input = load.stdin.take().expect("piped");
    std::io::Write::write_all(&mut input, &bytes[..middle]).expect("written");
    load.kill().expect("killed");
    load.wait().expect("it ended");
    assert_eq!(list(), before);
    lab.vial(["image", "load", &good, "-t", "again:v1", "-c", "refused"])
        .ok();
    assert!(list().contains("again:v1"));
    let begun = lab.cluster_dir("refused").join("images/tmp");
    let left = fs::read_dir(begun).expect("a store").count();
    assert_eq!(left, 0, "what was begun and not ended");
}
