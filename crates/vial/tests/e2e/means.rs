//! The ssh server's image: there shortly after an `up`, on every node, and still there whatever is done to it.

use crate::lab::{Lab, eventually, kill};

/// The image that the cluster names, once it does.
fn named(lab: &Lab, cluster: &str) -> String {
    let facts = [
        "get",
        "configmap",
        "vial",
        "-n",
        "kube-public",
        "-o",
        "jsonpath={.data.sshdImage}",
    ];
    eventually("the cluster names the image of the ssh server", || {
        let ran = lab.kubectl(cluster, &facts);
        match ran.code {
            0 if !ran.stdout.is_empty() => Ok(ran.stdout),
            _ => Err(ran.stderr),
        }
    })
}

/// Which nodes have it.
fn nodes(lab: &Lab, cluster: &str, image: &str) -> Vec<String> {
    let listed = lab
        .vial(["image", "ls", "-c", cluster, "-o", "json"])
        .json();
    let listed = listed.as_array().expect("a list");
    let found = listed.iter().find(|found| found["name"] == image);
    let found = found.unwrap_or_else(|| panic!("{image} is not listed"));
    assert_eq!(found["source"], "vial");
    serde_json::from_value(found["nodes"].clone()).expect("names")
}

#[test]
fn pods_find_the_ssh_server_on_every_node() {
    let lab = Lab::up("means", &["--workers", "1"]);
    let image = named(&lab, "means");
    assert!(image.starts_with("docker.io/vial/sshd:"), "{image}");
    assert_eq!(nodes(&lab, "means", &image), ["cp-1", "w-1"]);

    // A volume is filled from it, as any user, and an image with nothing in it has a shell then.
    lab.apply(
        "means",
        &format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: filled}}\nspec:\n  securityContext: {{runAsUser: 4242, runAsNonRoot: true}}\n  \
             initContainers:\n  - {{name: fill, image: \"{image}\", command: [/vial-sshd, install, /vial/bin], volumeMounts: [{{name: bin, mountPath: /vial/bin}}]}}\n  \
             containers:\n  - {{name: box, image: \"registry.k8s.io/pause:3.10.2\", volumeMounts: [{{name: bin, mountPath: /vial/bin}}]}}\n  \
             volumes:\n  - {{name: bin, emptyDir: {{}}}}\n"
        ),
    );
    lab.await_pod("means", "filled");
    let exec = |argv: &[&str]| {
        let command = [&["exec", "filled", "--"], argv].concat();
        lab.kubectl("means", &command).ok()
    };
    assert!(exec(&["/vial/bin/vial-sshd", "--version"]).starts_with("vial-sshd "));
    assert_eq!(exec(&["/vial/bin/applets/id", "-u"]).trim(), "4242");

    // A node that comes later has it when it is there.
    lab.vial(["up", "means", "--workers", "2"]).ok();
    assert_eq!(nodes(&lab, "means", &image), ["cp-1", "w-1", "w-2"]);

    // It is the cluster's own: taken away, it is brought again; and a keeper looks for it when it takes over.
    lab.vial(["image", "rm", &image, "-c", "means"]).ok();
    eventually("it is brought again", || {
        let list = lab.vial(["image", "ls", "-c", "means", "-o", "name"]).ok();
        let there = list.lines().any(|name| name == image);
        there.then_some(()).ok_or(list)
    });
    lab.kubectl(
        "means",
        &["delete", "configmap", "vial", "-n", "kube-public"],
    )
    .ok();
    kill(&lab.status("means")["keeperPid"]);
    lab.status("means");
    assert_eq!(named(&lab, "means"), image);

    // Another cluster has links to the same bytes.
    let written = lab.dir().join("sshd.tar").display().to_string();
    let name = lab.vial(["image", "sshd", "-o", &written]).ok();
    assert_eq!(name.trim(), image);
}
