//! What runs the instructions of nodes that are virtual machines: the processor, or QEMU.

use vial_engine::paths::Paths;
use vial_image::Store;
use vial_qemu::{Accelerator, Program, Verdict, probe};

use super::Finding;
use crate::commands::node_image::default_image;

const REQUIREMENT: &str = "virtual machines";

/// By what was seen since the host booted, or by a trial now. It is not remembered: looking changes nothing.
pub(super) async fn accelerator(paths: &Paths, root: bool) -> Finding {
    if let Some(verdict) = probe::remembered(&paths.accelerator()) {
        return finding(&verdict, root);
    }
    let Some(program) = qemu(paths) else {
        let rest = if root {
            "; container nodes do not need it"
        } else {
            ""
        };
        let found = format!("not tried: there is no node image with QEMU yet{rest}");
        return Finding::info(REQUIREMENT, found);
    };
    match probe::attempt(&program).await {
        Ok(verdict) => finding(&verdict, root),
        Err(error) => Finding::info(REQUIREMENT, crate::error::chain(&error)),
    }
}

fn qemu(paths: &Paths) -> Option<Program> {
    if !paths.images_dir().exists() {
        return None;
    }
    let image = Store::open(&paths.home).ok()?.find(&default_image()).ok()?;
    Program::in_layers(&image.lower_dirs())
}

/// What it means for who wants such nodes. The emulated figures are those of two cores of 2026 (bench/README.md).
fn finding(verdict: &Verdict, root: bool) -> Finding {
    let emulated = if root {
        (
            "such a node is ready in about 20 s",
            "; container nodes are not concerned",
        )
    } else {
        ("a cluster is up in about 90 s", "")
    };
    match verdict.accelerator {
        Accelerator::Kvm => Finding::ok(
            REQUIREMENT,
            format!("by KVM, at the speed of this machine ({})", verdict.reason),
        ),
        Accelerator::Tcg => Finding::info(
            REQUIREMENT,
            format!(
                "emulated, some ten times slower: {} ({}){}",
                emulated.0, verdict.reason, emulated.1
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn both_are_fine_and_say_what_to_expect() {
        for (accelerator, state, word) in [
            (Accelerator::Kvm, State::Ok, "at the speed of this machine"),
            (Accelerator::Tcg, State::Info, "ten times slower"),
        ] {
            let reason = "what was seen".to_owned();
            let verdict = Verdict {
                accelerator,
                reason,
                tsc_khz: None,
            };
            let finding = finding(&verdict, true);
            assert_eq!(finding.state, state);
            assert!(
                finding.found.contains(word) && finding.found.contains("what was seen"),
                "{finding:?}"
            );
        }
    }

    #[tokio::test]
    async fn without_a_node_image_nothing_is_tried() {
        let paths = Paths {
            home: "/nonexistent/vial".into(),
            run: "/nonexistent".into(),
        };
        let finding = accelerator(&paths, true).await;
        assert!(finding.found.starts_with("not tried"), "{finding:?}");
    }
}
