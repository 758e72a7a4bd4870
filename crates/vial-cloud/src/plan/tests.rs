//! Options become objects.

use super::*;
use crate::error::Kind;

fn identity() -> Identity {
    Identity {
        host_key: "PRIVATE".into(),
        host_public: "ssh-ed25519 AAAA".into(),
        authorized_keys: "ssh-ed25519 BBBB ann\n".into(),
        user_ca: None,
        created: "2026-11-21T12:00:00Z".parse().unwrap(),
    }
}

fn objects(options: &PodOptions, means: &Means) -> Objects {
    Wanted {
        name: "dp-test01",
        namespace: "vial-pods",
        options,
        identity: &identity(),
        means,
        batch: None,
        without_entry: false,
    }
    .objects()
}

fn image() -> Means {
    Means::Image("docker.io/vial/sshd:abc".into())
}

fn options(yaml: &str) -> PodOptions {
    serde_saphyr::from_str(yaml).unwrap()
}

fn deployment(options: &PodOptions) -> Value {
    objects(options, &image()).others.pop().unwrap()
}

#[test]
fn a_pod_is_plain_kubernetes() {
    let made = objects(&options("{image: debian, user: ann}"), &image());
    let text = serde_json::to_string_pretty(&json!([made.service, made.others])).unwrap();
    insta::assert_snapshot!(text);
}

#[test]
fn everything_that_may_be_asked_for_has_its_place() {
    let options = options(
        "{image: debian, user: ann, shell: /bin/zsh, cpu: 500m, memory: 1Gi, env: {A: b}, ports: [80, '53:5353/udp'],
          expose: nodePort, volumes: ['/srv:/data:ro', old, 'new:1Gi:/new'], on: w-1, nodeSelector: {disk: ssd}, dns: node,
          privileged: true, capAdd: [NET_ADMIN], hostNetwork: true, command: [sleep, inf], pull: Never, ttl: 2h, readOnly: true}",
    );
    options.check().unwrap();
    let made = objects(&options, &image());
    let timer = made.timer.unwrap().job;
    let text = serde_json::to_string_pretty(&json!([made.service, made.others, timer])).unwrap();
    insta::assert_snapshot!(text);
}

#[test]
fn the_server_may_come_in_parts() {
    let parts = Means::Parts(Parts {
        name: "vial-sshd-abc".into(),
        parts: vec![vec![1], vec![2]],
        script: "cat".into(),
    });
    let made = objects(&options("{image: debian}"), &parts)
        .others
        .pop()
        .unwrap();
    let spec = &made["spec"]["template"]["spec"];
    assert_eq!(spec["initContainers"][0]["image"], "debian");
    let sources = &spec["volumes"][2]["projected"]["sources"];
    assert_eq!(sources[1]["configMap"]["name"], "vial-sshd-abc-002");
    assert_eq!(sources[1]["configMap"]["items"][0]["path"], "002");
}

#[test]
fn without_privileges_it_fits_the_restricted_standard() {
    let made = deployment(&options("{image: debian, nonRoot: true}"));
    let spec = &made["spec"]["template"]["spec"];
    assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
    for container in ["initContainers", "containers"] {
        let context = &spec[container][0]["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false, "{container}");
        assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
    }
    assert_eq!(spec["containers"][0]["ports"][0]["containerPort"], 2222);
    assert_eq!(spec["volumes"][1]["secret"]["defaultMode"], 0o440);
}

#[test]
fn what_was_asked_for_can_be_read_again() {
    let asked =
        options("{image: debian, ttl: 90m, ports: ['8080:80'], volumes: ['d:1Gi'], env: {A: b}}");
    let again: PodOptions = serde_json::from_str(&asked.asked()).unwrap();
    assert_eq!(again, asked);
}

#[test]
fn what_cannot_be_right_is_refused() {
    for yaml in [
        "{cpu: lots}",
        "{memory: 1X}",
        "{memory: '0'}",
        "{user: Ann Lee}",
        "{user: '-x'}",
        "{shell: zsh}",
        "{env: {'A=': b}}",
        "{capAdd: [net-admin]}",
        "{nonRoot: true, privileged: true}",
        "{command: [a], noEntry: true}",
        "{ports: [80, 80]}",
        "{volumes: ['/a:/x', '/b:/x/']}",
        "{ttl: 0s}",
    ] {
        let error = options(yaml).check().unwrap_err();
        assert_eq!(error.kind(), Kind::BadInput, "{yaml}");
    }
    for yaml in [
        "{ports: [0]}",
        "{ports: [22]}",
        "{ports: [80/http]}",
        "{volumes: ['relative/path']}",
        "{volumes: ['/x:/']}",
        "{volumes: ['/x:/vial/bin']}",
        "{volumes: ['a:1Gi:rw:x']}",
        "{ttl: soon}",
        "{unknown: 1}",
    ] {
        assert!(
            serde_saphyr::from_str::<PodOptions>(yaml).is_err(),
            "{yaml}"
        );
    }
}

#[test]
fn volumes_and_ports_are_written_as_they_are_read() {
    for text in [
        "/srv",
        "/srv:/data:ro",
        "old",
        "old:/x",
        "new:10Gi",
        "new:10Gi:/x:ro",
    ] {
        assert_eq!(text.parse::<VolumeWish>().unwrap().to_string(), text);
    }
    for text in ["80", "8080:80", "53/udp"] {
        assert_eq!(text.parse::<PortWish>().unwrap().to_string(), text);
    }
}

#[test]
fn a_timer_counts_from_when_its_job_began() {
    let made = objects(&options("{image: debian, ttl: 2h}"), &image());
    let timer = made.timer.unwrap();
    let deadline = |started: &str| {
        let job = timer.begun(started.parse().unwrap());
        job["spec"]["activeDeadlineSeconds"].as_i64().unwrap()
    };
    assert_eq!(deadline("2026-11-21T12:00:00Z"), 7200);
    assert_eq!(deadline("2026-11-21T13:59:00Z"), 60);
    assert_eq!(deadline("2026-11-21T15:00:00Z"), 1);
    assert_eq!(timer.job, timer.begun(identity().created));
    assert_eq!(objects(&options("{image: debian}"), &image()).timer, None);
}
