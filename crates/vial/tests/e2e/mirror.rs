//! Public images: pulled once for all clusters of the machine, also when the registry is gone.

use crate::crane::toolbox;
use crate::lab::{Lab, eventually};
use crate::public_registry::PublicRegistry;
use crate::world::{REGISTRY, World};

/// A pod of the image runs, and the image is the one that was meant.
#[track_caller]
fn runs(lab: &Lab, cluster: &str, word: &str) {
    lab.apply(
        cluster,
        &format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: app}}\nspec: {{containers: [{{name: c, image: \"{REGISTRY}/team/app:v1\", imagePullPolicy: Always}}]}}\n"
        ),
    );
    lab.await_pod(cluster, "app");
    let said = lab.kubectl(cluster, &["exec", "app", "--", "cat", "/word"]);
    assert_eq!(said.ok(), word);
}

/// What the mirror says to a node.
fn code(lab: &Lab, cluster: &str, path: &str) -> String {
    let url = format!("http://10.89.0.1:5001{path}");
    let ask = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", &url];
    lab.exec(cluster, "cp-1", &ask).stdout
}

#[test]
fn a_second_cluster_pulls_nothing_again_and_needs_no_registry() {
    let mut world = World::apart();
    world.connect();
    let registry = PublicRegistry::start(&mut world);
    let lab = Lab::new(&["pull-1", "pull-2"]).on(&world);
    let lab = lab.trusting(registry.authority());
    // Digests that no run before has left in the cache.
    let word = lab.dir().display().to_string();

    lab.vial(["up", "pull-1"]).ok();
    registry.publish("team/app", "v1", &toolbox(&lab, "pull-1"), &word);
    runs(&lab, "pull-1", &word);
    let blobs = registry.asked("GET /v2/", "/blobs/");
    // The configuration, and the layer that nodes do not have; both fetched where the registry sends everybody.
    assert_eq!(blobs.len(), 2, "{blobs:?}");
    assert_eq!(registry.asked("GET /elsewhere/", "").len(), 2);

    lab.vial(["up", "pull-2"]).ok();
    registry.forget();
    runs(&lab, "pull-2", &word);
    assert_eq!(registry.asked("GET ", ""), Vec::<String>::new());
    assert!(!registry.asked("HEAD /v2/", "/manifests/v1").is_empty());

    registry.stop();
    lab.vial(["down", "pull-1"]).ok();
    lab.vial(["up", "pull-1"]).ok();
    runs(&lab, "pull-1", &word);

    // Nobody else's registries, nothing but pulls, and nothing at all for a cluster that is sealed.
    assert_eq!(code(&lab, "pull-1", "/v2/"), "200");
    let shut = world.serve_on_host("127.0.0.1");
    for registry in [format!("127.0.0.1:{shut}"), format!("localhost:{shut}")] {
        let path = format!("/v2/a/manifests/b?ns={registry}");
        assert_eq!(code(&lab, "pull-1", &path), "404", "{registry}");
    }
    lab.vial(["up", "pull-1", "--outbound", "none"]).ok();
    eventually("the mirror is closed", || {
        let code = code(&lab, "pull-1", "/v2/");
        (code == "404").then_some(()).ok_or(code)
    });
    lab.vial(["down", "pull-1", "pull-2"]).ok();
    lab.assert_nothing_left();
}
