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
        return finding(&verdict);
    }
    if !root {
        return Finding::info(REQUIREMENT, "not tried: only root reads the node image");
    }
    let Some(program) = qemu(paths) else {
        return Finding::info(
            REQUIREMENT,
            "not tried: there is no node image with QEMU yet; container nodes do not need it",
        );
    };
    match probe::attempt(&program).await {
        Ok(verdict) => finding(&verdict),
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
fn finding(verdict: &Verdict) -> Finding {
    match verdict.accelerator {
        Accelerator::Kvm => Finding::ok(
            REQUIREMENT,
            format!("by KVM, at the speed of this machine ({})", verdict.reason),
        ),
        Accelerator::Tcg => Finding::info(
            REQUIREMENT,
            format!(
                "emulated, some ten times slower: such a node is ready in about 20 s ({}); container nodes are not concerned",
                verdict.reason
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
            let finding = finding(&Verdict {
                accelerator,
                reason,
            });
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
