//! Components: started in order, restarted, replaced, stopped.

use std::os::unix::fs::PermissionsExt as _;

use tonic::Code;
use vial_rpc::component_status::State;
use vial_rpc::probe::How;
use vial_rpc::{AgentInfoRequest, ComponentRef, ComponentSpec, File, Probe, WriteFilesRequest};

use crate::lab::{self, Lab};

const FOREVER: &str = "exec sleep 100000";

#[tokio::test]
async fn the_agent_says_who_it_is() {
    let lab = Lab::new().await;
    let info = lab
        .client()
        .info(AgentInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(info.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(
        info.hostname,
        rustix::system::uname().nodename().to_str().unwrap()
    );
    let mode = std::fs::metadata(lab.path("agent.sock"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_crash_is_followed_by_a_restart() {
    let lab = Lab::new().await;
    lab.apply(lab.sh(
        "kubelet",
        "[ -e $LAB/again ] && exec sleep 100000; touch $LAB/again; exit 7",
    ))
    .await;
    let status = lab
        .until("kubelet", |status| {
            status.state() == State::Ready && status.restarts == 1
        })
        .await;
    assert_eq!(status.last_exit_code, 7);
}

#[tokio::test]
async fn backing_off_says_why() {
    let lab = Lab::new().await;
    lab.apply(lab.sh("kubelet", "kill -9 $$")).await;
    let status = lab.until_state("kubelet", State::Backoff).await;
    assert_eq!(status.last_exit_code, 137);
    assert!(
        status
            .message
            .starts_with("ended by signal 9; starts again in"),
        "{}",
        status.message
    );
    lab.until("kubelet", |status| status.restarts >= 3).await;
}

#[tokio::test]
async fn a_missing_program_is_named_and_tried_again() {
    let lab = Lab::new().await;
    let program = lab.path("kube-apiserver").to_str().unwrap().to_string();
    let spec = ComponentSpec {
        name: "kube-apiserver".into(),
        argv: vec![program.clone()],
        ..Default::default()
    };
    lab.apply(spec).await;
    let status = lab.until_state("kube-apiserver", State::Backoff).await;
    assert!(
        status.message.starts_with(&format!("no program {program}")),
        "{}",
        status.message
    );
    std::fs::write(lab.path("kube-apiserver"), "#!/bin/sh\nexec sleep 100000\n").unwrap();
    std::fs::set_permissions(
        lab.path("kube-apiserver"),
        std::fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    lab.wait_ready("kube-apiserver").await;
}

#[tokio::test]
async fn an_equal_spec_is_left_alone_and_another_replaces() {
    let lab = Lab::new().await;
    let spec = lab.sh("etcd", FOREVER);
    lab.apply(spec.clone()).await;
    let first = lab.wait_ready("etcd").await;
    let same = lab.apply(spec.clone()).await;
    assert_eq!((same.pid, same.state()), (first.pid, State::Ready));
    lab.apply(ComponentSpec {
        config_digest: "other".into(),
        ..spec
    })
    .await;
    let second = lab.wait_ready("etcd").await;
    assert_ne!(second.pid, first.pid);
    assert_ne!(second.spec_digest, first.spec_digest);
    assert_eq!(second.restarts, 0);
}

#[tokio::test]
async fn a_restart_that_was_asked_for_is_not_counted() {
    let lab = Lab::new().await;
    lab.apply(lab.sh("etcd", FOREVER)).await;
    let first = lab.wait_ready("etcd").await;
    lab.client()
        .restart_component(ComponentRef {
            name: "etcd".into(),
        })
        .await
        .unwrap();
    let second = lab.wait_ready("etcd").await;
    assert_ne!(second.pid, first.pid);
    assert_eq!((second.restarts, second.last_exit_code), (0, 143));
}

#[tokio::test]
async fn what_comes_after_waits_for_readiness() {
    let lab = Lab::new().await;
    lab.apply(ComponentSpec {
        after: vec!["etcd".into()],
        ..lab.sh("apiserver", "cat $LAB/data")
    })
    .await;
    let ready = Probe {
        how: Some(How::File(lab.path("data").to_str().unwrap().into())),
        interval_ms: 0,
    };
    lab.apply(ComponentSpec {
        ready: Some(ready),
        ..lab.sh("etcd", FOREVER)
    })
    .await;
    lab.until("etcd", |status| {
        status.message.ends_with("/data does not exist")
    })
    .await;
    let waiting = lab
        .list()
        .await
        .into_iter()
        .find(|status| status.name == "apiserver")
        .unwrap();
    assert_eq!(
        (waiting.state(), waiting.message.as_str()),
        (State::Waiting, "waits for etcd")
    );
    std::fs::write(lab.path("data.new"), "stored\n").unwrap();
    std::fs::rename(lab.path("data.new"), lab.path("data")).unwrap();
    lab.until_state("apiserver", State::Backoff).await;
    assert!(lab.text("apiserver.log").starts_with("stored\n"));
}

#[tokio::test]
async fn what_runs_once_is_ready_when_it_ended_well() {
    let lab = Lab::new().await;
    lab.apply(ComponentSpec {
        foreground_once: true,
        ..lab.sh("mount", "echo mounted")
    })
    .await;
    let status = lab.wait_ready("mount").await;
    assert_eq!((status.pid, status.last_exit_code), (0, 0));
    assert_eq!(lab.text("mount.log"), "mounted\n");
}

#[tokio::test]
async fn waiting_for_what_crashes_again_and_again_ends() {
    let lab = Lab::new().await;
    let ready = Probe {
        how: Some(How::File(lab.path("never").to_str().unwrap().into())),
        interval_ms: 0,
    };
    lab.apply(ComponentSpec {
        ready: Some(ready),
        ..lab.sh("scheduler", "echo unknown flag >&2; exit 1")
    })
    .await;
    let error = lab.try_wait_ready("scheduler", 600_000).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    let told = error.message();
    assert!(
        told.starts_with("scheduler ends again and again: exited with code 1")
            && told.ends_with("\n  unknown flag"),
        "{told}"
    );
}

#[tokio::test]
async fn waiting_for_a_single_run_ends_when_it_fails() {
    let lab = Lab::new().await;
    lab.apply(ComponentSpec {
        foreground_once: true,
        ..lab.sh("mount", "echo no such device >&2; exit 32")
    })
    .await;
    let error = lab.try_wait_ready("mount", 60_000).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(
        error
            .message()
            .starts_with("mount failed: exited with code 32"),
        "{}",
        error.message()
    );
    assert!(
        error.message().ends_with("\n  no such device"),
        "{}",
        error.message()
    );
}

#[tokio::test]
async fn waiting_in_vain_ends_with_the_log() {
    let lab = Lab::new().await;
    let ready = Probe {
        how: Some(How::File("/nowhere".into())),
        interval_ms: 0,
    };
    let script = "i=0; while [ $i -lt 12 ]; do i=$((i+1)); echo line $i; done; exec sleep 100000";
    lab.apply(ComponentSpec {
        ready: Some(ready),
        ..lab.sh("etcd", script)
    })
    .await;
    // The error must not depend on how fast the shell is.
    let log = lab.path("etcd.log");
    let written = format!(
        "until grep -qx 'line 12' {}; do sleep 0.02; done",
        log.display()
    );
    assert_eq!(lab.run(&written).await.code, 0);
    let error = lab.try_wait_ready("etcd", 1).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert!(
        error.message().contains("etcd is not ready after 0.0 s"),
        "{}",
        error.message()
    );
    assert!(
        error.message().contains("\n  line 3\n"),
        "{}",
        error.message()
    );
    assert!(
        !error.message().contains("\n  line 2\n"),
        "only the last ten: {}",
        error.message()
    );
}

#[tokio::test]
async fn unknown_names_are_answered_with_known_ones() {
    let lab = Lab::new().await;
    lab.apply(lab.sh("kube-apiserver", FOREVER)).await;
    let error = lab.try_wait_ready("apiserver", 1000).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert_eq!(
        error.message(),
        "no component apiserver here; did you mean kube-apiserver?"
    );
    let restart = lab
        .client()
        .restart_component(ComponentRef {
            name: "kube-apisever".into(),
        })
        .await
        .unwrap_err();
    assert_eq!(restart.code(), Code::NotFound);
}

#[tokio::test]
async fn impossible_specs_are_refused() {
    let lab = Lab::new().await;
    let probe = |how| ComponentSpec {
        ready: Some(Probe {
            how,
            interval_ms: 0,
        }),
        ..lab.sh("x", FOREVER)
    };
    for spec in [
        ComponentSpec::default(),
        ComponentSpec {
            name: "x".into(),
            ..Default::default()
        },
        ComponentSpec {
            after: vec!["x".into()],
            ..lab.sh("x", FOREVER)
        },
        probe(None),
        probe(Some(How::Tcp("localhost:80".into()))),
        probe(Some(How::Http(vial_rpc::HttpProbe {
            url: "https://localhost/".into(),
            ..Default::default()
        }))),
    ] {
        let error = lab
            .client()
            .apply_component(spec.clone())
            .await
            .expect_err(&format!("{spec:?}"));
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    }
    assert_eq!(lab.list().await, []);
}

#[tokio::test]
async fn removing_ends_the_whole_process_group() {
    let lab = Lab::new().await;
    let script = "sh -c 'trap \"\" TERM; echo $$ >$LAB/child.new; mv $LAB/child.new $LAB/child; exec sleep 100000' & wait";
    let ready = Probe {
        how: Some(How::File(lab.path("child").to_str().unwrap().into())),
        interval_ms: 0,
    };
    lab.apply(ComponentSpec {
        ready: Some(ready),
        ..lab.sh("containerd", script)
    })
    .await;
    let leader = lab.wait_ready("containerd").await.pid;
    let child: i32 = lab.text("child").trim().parse().unwrap();
    lab.remove("containerd").await;
    assert_eq!(lab.list().await, []);
    assert!(is_gone(leader));
    // It was killed with its leader, but dies on its own time.
    let output = lab
        .run(&format!(
            "until ! grep -q '^State:.[^ZX]' /proc/{child}/status; do sleep 0.02; done"
        ))
        .await;
    assert_eq!(output.code, 0);
    assert!(is_gone(child));
}

#[tokio::test]
async fn who_ignores_the_request_to_end_is_killed() {
    let lab = Lab::new().await;
    let script = "trap '' TERM; touch $LAB/up; while :; do sleep 100000; done";
    let ready = Probe {
        how: Some(How::File(lab.path("up").to_str().unwrap().into())),
        interval_ms: 0,
    };
    lab.apply(ComponentSpec {
        ready: Some(ready),
        stop_grace_ms: 50,
        ..lab.sh("stubborn", script)
    })
    .await;
    let pid = lab.wait_ready("stubborn").await.pid;
    lab.remove("stubborn").await;
    assert!(is_gone(pid));
}

#[tokio::test]
async fn a_component_gets_its_environment_and_nothing_else() {
    let lab = Lab::new().await;
    let script = "env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD= | sort | cut -d= -f1; \
                  readlink /proc/$$/fd/0; pwd; cut -d' ' -f6 /proc/$$/stat; echo $$; umask";
    lab.apply(ComponentSpec {
        foreground_once: true,
        ..lab.sh("x", script)
    })
    .await;
    lab.wait_ready("x").await;
    let log = lab.text("x.log");
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines[..2], ["LAB", "PATH"], "{log}");
    assert_eq!(lines[2..4], ["/dev/null", "/"], "{log}");
    assert_eq!(lines[4], lines[5], "it leads its own session");
    assert_eq!(lines[6], "0022");
}

#[tokio::test]
async fn a_component_inherits_no_descriptor() {
    let lab = Lab::new().await;
    // No shell, which would have descriptors of its own at times.
    let argv = vec!["sleep".into(), "100000".into()];
    lab.apply(ComponentSpec {
        argv,
        ..lab.sh("x", "")
    })
    .await;
    let pid = lab.wait_ready("x").await.pid;
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let mut open: Vec<String> = open
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    open.sort();
    assert_eq!(open, ["0", "1", "2"]);
}

#[tokio::test]
async fn the_end_goes_backwards_and_leaves_nothing() {
    let mut lab = Lab::new().await;
    let script = |name: &str| {
        format!(
            "trap 'echo {name} >>$LAB/ended; exit 0' TERM; touch $LAB/{name}; while :; do sleep 100000 & wait; done"
        )
    };
    let up = |name: &str| {
        Some(Probe {
            how: Some(How::File(lab.path(name).to_str().unwrap().into())),
            interval_ms: 0,
        })
    };
    for (name, after) in [
        ("etcd", vec![]),
        ("apiserver", vec!["etcd"]),
        ("scheduler", vec!["apiserver"]),
    ] {
        let after = after.into_iter().map(String::from).collect();
        lab.apply(ComponentSpec {
            after,
            ready: up(name),
            ..lab.sh(name, &script(name))
        })
        .await;
    }
    lab.wait_ready("scheduler").await;
    let pids: Vec<i32> = lab.list().await.iter().map(|status| status.pid).collect();
    assert_eq!(lab.end(), Some(0));
    assert_eq!(lab.text("ended"), "scheduler\napiserver\netcd\n");
    assert!(pids.into_iter().all(is_gone));
    assert!(!lab.path("agent.sock").exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
    let lab = Lab::new().await;
    let other = lab.path("other.sock");
    drop(std::os::unix::net::UnixListener::bind(&other).unwrap());
    let mut second = lab::start(&[], &other);
    vial_rpc::connect(&other).await.unwrap();
    lab::terminate(&second);
    assert_eq!(second.wait().unwrap().code(), Some(0));
    let mut third = std::process::Command::new(env!("CARGO_BIN_EXE_vial-agent"));
    let output = third
        .arg("--socket")
        .arg(lab.path("agent.sock"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("another agent serves"));
    lab.client().info(AgentInfoRequest {}).await.unwrap();
}

#[tokio::test]
async fn files_are_written_with_their_modes() {
    let lab = Lab::new().await;
    let path = lab.path("etc/kubernetes/key.pem");
    let (uid, gid) = (
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    let file = File {
        path: path.to_str().unwrap().into(),
        content: vec![b'x'; 10_000_000],
        mode: 0o600,
        uid,
        gid,
    };
    lab.client()
        .write_files(WriteFilesRequest {
            files: vec![file.clone()],
        })
        .await
        .unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 10_000_000);
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let below = File {
        path: format!("{}/below", file.path),
        ..file.clone()
    };
    let error = lab
        .client()
        .write_files(WriteFilesRequest { files: vec![below] })
        .await
        .unwrap_err();
    assert!(error.message().contains("key.pem/below"), "{error}");
    let relative = File {
        path: "relative".into(),
        ..file
    };
    let error = lab
        .client()
        .write_files(WriteFilesRequest {
            files: vec![relative],
        })
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
}

/// Whether no process of that number runs; one that only waits to be reaped does not.
fn is_gone(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

#[tokio::test]
async fn a_component_runs_as_its_user() {
    let lab = Lab::new().await;
    lab.apply(ComponentSpec {
        user: "65534".into(),
        foreground_once: true,
        ..lab.sh(
            "who",
            "id -u; id -g; touch $LAB/there 2> /dev/null || echo refused",
        )
    })
    .await;
    lab.wait_ready("who").await;
    assert_eq!(lab.text("who.log"), "65534\n65534\nrefused\n");
    lab.apply(ComponentSpec {
        user: "nobody-of-that-name".into(),
        ..lab.sh("unknown", FOREVER)
    })
    .await;
    let status = lab.until_state("unknown", State::Backoff).await;
    let said = "no user nobody-of-that-name in /etc/passwd";
    assert!(status.message.starts_with(said), "{}", status.message);
}

#[tokio::test]
async fn the_agent_ends_with_a_vital_component() {
    let mut lab = Lab::new().await;
    let trapped =
        "trap 'touch $LAB/ended; exit' TERM; touch $LAB/began; while :; do sleep 0.01; done";
    lab.apply(lab.sh("other", trapped)).await;
    lab.apply(ComponentSpec {
        vital: true,
        ..lab.sh(
            "qemu",
            "until [ -e $LAB/began ]; do sleep 0.01; done; exit 3",
        )
    })
    .await;
    assert_eq!(lab.wait(), Some(1));
    assert!(lab.path("ended").exists(), "the others are asked to end");
}
