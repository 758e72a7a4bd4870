//! Images of the host in a cluster without a registry: archives and layouts loaded, listed, removed; damaged ones refused.

use std::fs;
use std::process::{Command, Stdio};

use crate::crane::toolbox;
use crate::lab::Lab;

/// An archive of `docker save` with one layer on the toolbox's: the file /word.
fn saved(lab: &Lab, base: &str, word: &str) -> String {
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
python3 - "$layer" "$4" <<'P'
import hashlib, json, sys
manifest = json.load(open("manifest.json"))[0]
config = json.load(open(manifest["Config"]))
config["rootfs"]["diff_ids"].append("sha256:" + sys.argv[1])
config["config"] = {**config.get("config", {}), "Cmd": ["sleep", "infinity"]}
text = json.dumps(config)
name = hashlib.sha256(text.encode()).hexdigest() + ".json"
open(name, "w").write(text)
json.dump([{"Config": name, "RepoTags": ["word:" + sys.argv[2]], "Layers": manifest["Layers"] + ["layer.tar"]}], open("manifest.json", "w"))
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
