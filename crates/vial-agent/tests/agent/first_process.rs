//! The agent as PID 1 of a namespace, as in a node.

use crate::lab::Lab;

/// Whether this machine and user can make a pid namespace.
fn can_unshare() -> bool {
    let tried = std::process::Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "true"])
        .output();
    let can = tried.is_ok_and(|output| output.status.success());
    if !can {
        vial_testing::skip("no pid namespace can be made here");
    }
    can
}

#[tokio::test]
async fn orphans_are_reaped() {
    if !can_unshare() {
        return;
    }
    let mut lab =
        Lab::with_launcher(&["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]).await;
    assert_eq!(lab.run("cat /proc/1/comm").await.stdout, b"vial-agent\n");
    // Each of them loses its parent, then ends.
    let orphans = "for i in 1 2 3 4 5 6 7 8 9; do (sh -c 'sleep 0.1; exit 3' & ); done";
    assert_eq!(lab.run(orphans).await.code, 0);
    // Only the agent and the shell that looks are left; and the codes of the agent's own children are not lost.
    let until_none = "while set -- /proc/[0-9]*; [ $# -gt 2 ]; do sleep 0.02; done; exit 21";
    assert_eq!(lab.run(until_none).await.code, 21);
    lab.apply(lab.sh("x", "exec sleep 100000")).await;
    lab.wait_ready("x").await;
    assert_eq!(
        lab.run("kill -HUP 1; kill -QUIT 1; kill -USR1 1; echo alive")
            .await
            .stdout,
        b"alive\n"
    );
    // The launcher's end is the agent's end, and with it the namespace's.
    let _ = vial_rpc::exec_collect(lab.channel.clone(), ["kill", "-TERM", "1"], b"").await;
    assert_eq!(lab.wait(), Some(0));
}
