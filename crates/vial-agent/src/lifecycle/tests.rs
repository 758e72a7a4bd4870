//! Lives of components, told as events and the actions they lead to.

use vial_rpc::component_status::State;
use vial_rpc::probe::How;

use super::*;

fn at(milliseconds: u64) -> Now {
    Now {
        elapsed: Duration::from_millis(milliseconds),
        unix_ms: 1_000_000 + milliseconds,
    }
}

fn spec(name: &str) -> ComponentSpec {
    ComponentSpec {
        name: name.into(),
        argv: vec![format!("/bin/{name}")],
        ..Default::default()
    }
}

fn probed(name: &str) -> ComponentSpec {
    ComponentSpec {
        ready: Some(Probe {
            how: Some(How::File("/ready".into())),
            interval_ms: 0,
        }),
        ..spec(name)
    }
}

fn after(name: &str, others: &[&str]) -> ComponentSpec {
    ComponentSpec {
        after: others.iter().map(ToString::to_string).collect(),
        ..spec(name)
    }
}

/// A lifecycle whose starts succeed at once, with pids 101, 102, …
#[derive(Default)]
struct Story {
    lifecycle: Lifecycle,
    now: u64,
}

impl Story {
    fn tell(&mut self, event: Event) -> Vec<Action> {
        let mut all = self.lifecycle.handle(event, at(self.now));
        let mut next = 0;
        while next < all.len() {
            if let Action::Start { name, run, .. } = all[next].clone() {
                let pid = 100 + i32::try_from(run).unwrap();
                all.extend(
                    self.lifecycle
                        .handle(Event::Started { name, run, pid }, at(self.now)),
                );
            }
            next += 1;
        }
        all
    }

    fn apply(&mut self, spec: ComponentSpec) -> Vec<Action> {
        self.lifecycle.check(&spec).unwrap();
        self.tell(Event::Apply(Box::new(spec)))
    }

    fn run(&self, name: &str) -> u64 {
        self.lifecycle.components[self.lifecycle.index(name).unwrap()].run
    }

    fn exits(&mut self, name: &str, code: i32) -> Vec<Action> {
        let run = self.run(name);
        self.tell(Event::Exited {
            name: name.into(),
            run,
            code,
        })
    }

    fn answers(&mut self, name: &str) -> Vec<Action> {
        let run = self.run(name);
        self.tell(Event::ProbeSucceeded {
            name: name.into(),
            run,
        })
    }

    /// The delay of the only timer among `actions`, which then fires.
    fn delay(&mut self, actions: &[Action]) -> (u64, Vec<Action>) {
        let timers: Vec<_> = actions
            .iter()
            .filter_map(|action| match action {
                Action::Timer { name, timer, after } => Some((name.clone(), *timer, *after)),
                _ => None,
            })
            .collect();
        let [(name, timer, after)] = &timers[..] else {
            panic!("one timer expected: {actions:?}")
        };
        let delay = u64::try_from(after.as_millis()).unwrap();
        self.now += delay;
        (
            delay,
            self.tell(Event::TimerFired {
                name: name.clone(),
                timer: *timer,
            }),
        )
    }

    fn state(&self, name: &str) -> State {
        self.lifecycle.status(name).unwrap().state()
    }
}

fn started(actions: &[Action]) -> Vec<&str> {
    actions
        .iter()
        .filter_map(|a| {
            if let Action::Start { name, .. } = a {
                Some(name.as_str())
            } else {
                None
            }
        })
        .collect()
}

fn signalled(actions: &[Action]) -> Vec<(&str, Urgency)> {
    let of = |a| {
        if let &Action::Signal {
            ref name, urgency, ..
        } = a
        {
            Some((name.as_str(), urgency))
        } else {
            None
        }
    };
    actions.iter().filter_map(of).collect()
}

#[test]
fn without_a_probe_running_is_ready() {
    let mut story = Story::default();
    let actions = story.apply(spec("etcd"));
    assert_eq!(started(&actions), ["etcd"]);
    let status = story.lifecycle.status("etcd").unwrap();
    assert_eq!((status.state(), status.pid), (State::Ready, 101));
}

#[test]
fn with_a_probe_ready_means_answered() {
    let mut story = Story::default();
    let actions = story.apply(probed("etcd"));
    assert!(
        actions
            .iter()
            .any(|action| matches!(action, Action::Probe { .. }))
    );
    assert_eq!(story.state("etcd"), State::Starting);
    story.answers("etcd");
    assert_eq!(story.state("etcd"), State::Ready);
}

#[test]
fn starts_follow_readiness_not_the_order_of_apply() {
    let mut story = Story::default();
    assert_eq!(
        started(&story.apply(after("scheduler", &["apiserver"]))),
        [""; 0]
    );
    assert_eq!(
        started(&story.apply(ComponentSpec {
            after: vec!["etcd".into()],
            ..probed("apiserver")
        })),
        [""; 0]
    );
    assert_eq!(
        story.lifecycle.status("scheduler").unwrap().message,
        "waits for apiserver"
    );
    assert_eq!(started(&story.apply(probed("etcd"))), ["etcd"]);
    assert_eq!(started(&story.answers("etcd")), ["apiserver"]);
    assert_eq!(started(&story.answers("apiserver")), ["scheduler"]);
}

#[test]
fn crashes_delay_the_next_start_ever_longer() {
    let mut story = Story::default();
    story.apply(probed("kubelet"));
    let mut delays = Vec::new();
    for _ in 0..9 {
        let actions = story.exits("kubelet", 1);
        assert_eq!(story.state("kubelet"), State::Backoff);
        let (delay, actions) = story.delay(&actions);
        assert_eq!(started(&actions), ["kubelet"]);
        delays.push(delay);
    }
    assert_eq!(
        delays,
        [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]
    );
    assert_eq!(story.lifecycle.status("kubelet").unwrap().restarts, 9);
}

#[test]
fn a_minute_of_readiness_forgives_earlier_crashes() {
    let mut story = Story::default();
    story.apply(spec("kubelet"));
    for _ in 0..4 {
        let actions = story.exits("kubelet", 1);
        story.delay(&actions);
    }
    story.now += 59_000;
    let actions = story.exits("kubelet", 1);
    assert_eq!(story.delay(&actions).0, 1_600);
    story.now += 60_000;
    let actions = story.exits("kubelet", 139);
    assert_eq!(
        story.lifecycle.status("kubelet").unwrap().message,
        "ended by signal 11; starts again in 100ms"
    );
    assert_eq!(story.delay(&actions).0, 100);
}

#[test]
fn an_equal_spec_changes_nothing() {
    let mut story = Story::default();
    story.apply(spec("etcd"));
    assert_eq!(story.apply(spec("etcd")), []);
}

#[test]
fn another_spec_replaces_and_is_no_restart() {
    let mut story = Story::default();
    story.apply(spec("etcd"));
    let actions = story.apply(ComponentSpec {
        config_digest: "2".into(),
        ..spec("etcd")
    });
    assert_eq!(signalled(&actions), [("etcd", Urgency::Terminate)]);
    assert_eq!(started(&actions), [""; 0], "the old one still runs");
    assert_eq!(story.state("etcd"), State::Stopping);
    let actions = story.exits("etcd", 143);
    assert_eq!(started(&actions), ["etcd"]);
    let status = story.lifecycle.status("etcd").unwrap();
    assert_eq!(
        (status.state(), status.restarts, status.pid),
        (State::Ready, 0, 102)
    );
}

#[test]
fn who_ignores_terminate_is_killed_after_the_grace() {
    let mut story = Story::default();
    story.apply(ComponentSpec {
        stop_grace_ms: 700,
        ..spec("etcd")
    });
    let actions = story.tell(Event::Restart("etcd".into()));
    let (grace, actions) = story.delay(&actions);
    assert_eq!(grace, 700);
    assert_eq!(signalled(&actions), [("etcd", Urgency::Kill)]);
    assert_eq!(started(&story.exits("etcd", 137)), ["etcd"]);
}

#[test]
fn a_removed_component_is_forgotten_when_it_is_gone() {
    let mut story = Story::default();
    story.apply(spec("etcd"));
    let gone = Action::Forgotten {
        name: "etcd".into(),
    };
    assert!(!story.tell(Event::Remove("etcd".into())).contains(&gone));
    assert!(story.exits("etcd", 143).contains(&gone));
    assert_eq!(story.lifecycle.statuses(), []);
}

#[test]
fn applying_what_is_being_removed_keeps_it() {
    let mut story = Story::default();
    story.apply(spec("etcd"));
    story.tell(Event::Remove("etcd".into()));
    story.apply(spec("etcd"));
    assert_eq!(started(&story.exits("etcd", 143)), ["etcd"]);
}

#[test]
fn a_program_that_is_missing_is_tried_again_and_is_no_restart() {
    let mut lifecycle = Lifecycle::default();
    lifecycle.handle(Event::Apply(Box::new(spec("etcd"))), at(0));
    let why = "no program /bin/etcd".to_string();
    let actions = lifecycle.handle(
        Event::NotStarted {
            name: "etcd".into(),
            run: 1,
            why,
        },
        at(0),
    );
    let status = lifecycle.status("etcd").unwrap();
    assert_eq!(
        (status.state(), status.message.as_str()),
        (
            State::Backoff,
            "no program /bin/etcd; starts again in 100ms"
        )
    );
    let Some(Action::Timer { timer, .. }) = actions.last().cloned() else {
        panic!("{actions:?}")
    };
    let actions = lifecycle.handle(
        Event::TimerFired {
            name: "etcd".into(),
            timer,
        },
        at(100),
    );
    assert_eq!(started(&actions), ["etcd"]);
    assert_eq!(lifecycle.status("etcd").unwrap().restarts, 0);
}

#[test]
fn what_runs_once_is_ready_after_a_good_end_only() {
    let mut story = Story::default();
    story.apply(ComponentSpec {
        foreground_once: true,
        ..spec("mount")
    });
    story.apply(after("kubelet", &["mount"]));
    assert_eq!(story.state("mount"), State::Starting);
    let actions = story.exits("mount", 3);
    assert_eq!(story.state("mount"), State::Backoff);
    story.delay(&actions);
    assert_eq!(started(&story.exits("mount", 0)), ["kubelet"]);
    let status = story.lifecycle.status("mount").unwrap();
    assert_eq!(
        (status.state(), status.pid, status.last_exit_code),
        (State::Ready, 0, 0)
    );
}

#[test]
fn shutdown_goes_backwards() {
    let mut story = Story::default();
    story.apply(spec("etcd"));
    story.apply(after("apiserver", &["etcd"]));
    story.apply(after("scheduler", &["apiserver"]));
    story.apply(after("controllers", &["apiserver"]));
    story.apply(after("never", &["missing"]));
    let both = [
        ("scheduler", Urgency::Terminate),
        ("controllers", Urgency::Terminate),
    ];
    assert_eq!(signalled(&story.tell(Event::Shutdown)), both);
    assert_eq!(signalled(&story.exits("scheduler", 0)), []);
    assert_eq!(
        signalled(&story.exits("controllers", 0)),
        [("apiserver", Urgency::Terminate)]
    );
    assert_eq!(
        signalled(&story.exits("apiserver", 0)),
        [("etcd", Urgency::Terminate)]
    );
    assert!(story.exits("etcd", 0).contains(&Action::Finished));
    let refusal = Refusal::Stopping {
        name: "late".into(),
    };
    assert_eq!(story.lifecycle.check(&spec("late")), Err(refusal));
}

#[test]
fn an_empty_agent_shuts_down_at_once() {
    assert_eq!(
        Lifecycle::default().handle(Event::Shutdown, at(0)),
        [Action::Finished]
    );
}

#[test]
fn circles_are_refused() {
    let mut story = Story::default();
    story.apply(after("a", &["b"]));
    story.apply(after("b", &["c"]));
    let by = vec!["a".to_string(), "b".to_string(), "c".to_string()];
    assert_eq!(
        story.lifecycle.check(&after("c", &["a"])),
        Err(Refusal::Cycle {
            name: "c".into(),
            by
        })
    );
    assert!(story.lifecycle.check(&after("c", &["d"])).is_ok());
    let by = vec!["e".to_string()];
    assert_eq!(
        story.lifecycle.check(&after("e", &["e"])),
        Err(Refusal::Cycle {
            name: "e".into(),
            by
        })
    );
}

#[test]
fn news_of_an_older_run_are_ignored() {
    let mut story = Story::default();
    story.apply(probed("etcd"));
    let actions = story.exits("etcd", 1);
    story.delay(&actions);
    assert_eq!(
        story.tell(Event::ProbeSucceeded {
            name: "etcd".into(),
            run: 1
        }),
        []
    );
    assert_eq!(story.state("etcd"), State::Starting);
}

#[test]
fn the_end_of_a_vital_one_is_told_and_not_mended() {
    let mut story = Story::default();
    story.apply(ComponentSpec {
        vital: true,
        ..spec("qemu")
    });
    let actions = story.exits("qemu", 3);
    let fell = Action::Fell {
        name: "qemu".into(),
        code: 3,
    };
    assert!(actions.contains(&fell), "{actions:?}");
    assert!(
        !actions
            .iter()
            .any(|action| matches!(action, Action::Timer { .. })),
        "{actions:?}"
    );
    assert_eq!(story.state("qemu"), State::Stopped);
    // Asked to end, it is nothing to tell.
    story.apply(ComponentSpec {
        vital: true,
        ..spec("other")
    });
    story.tell(Event::Remove("other".into()));
    let actions = story.exits("other", 143);
    assert!(
        !actions
            .iter()
            .any(|action| matches!(action, Action::Fell { .. })),
        "{actions:?}"
    );
}

#[test]
fn who_is_adopted_waits_for_nobody_and_is_ready_by_its_probe() {
    let mut story = Story::default();
    let mut adopted = probed("apiserver");
    adopted.after = vec!["etcd".into()];
    let actions = story.tell(Event::Adopt(Box::new(adopted.clone())));
    assert_eq!(started(&actions), ["apiserver"]);
    assert_eq!(story.state("apiserver"), State::Starting);
    story.answers("apiserver");
    assert_eq!(story.state("apiserver"), State::Ready);
    // The same spec again changes nothing, another one replaces it.
    assert!(story.apply(adopted.clone()).is_empty());
    adopted.argv.push("--v=4".into());
    story.apply(adopted);
    assert_eq!(story.state("apiserver"), State::Stopping);
    assert_eq!(story.lifecycle.processes(), Err("apiserver".to_owned()));
}

#[test]
fn only_those_with_a_process_can_be_dumped() {
    let mut story = Story::default();
    story.apply(spec("etcd"));
    story.apply(after("scheduler", &["never"]));
    let names = |story: &Story| -> Vec<String> {
        let processes = story.lifecycle.processes().unwrap().into_iter();
        processes.map(|(spec, _)| spec.name.clone()).collect()
    };
    assert_eq!(names(&story), ["etcd"]);
    story.exits("etcd", 1);
    assert!(names(&story).is_empty());
}
