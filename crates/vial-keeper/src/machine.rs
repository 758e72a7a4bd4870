//! Virtual machines that end by themselves: what they said last, and whether they are brought back.

use vial_engine::plan::Plan;
use vial_qemu::console::{Places, last_lines};
use vial_rpc::ContainerStatus;
use vial_spec::Restart;

use crate::keeper::Keeper;

/// How far back on the console the beginning of a panic is looked for.
const FAR: usize = 60;
/// How many lines are told; the others are on the console.
const LINES: usize = 4;
/// How the kernel begins its last words (kernel/panic.c).
const PANIC: &str = "Kernel panic";

/// Is it the container around a machine?
pub(crate) fn is_one(container: &ContainerStatus) -> bool {
    container.name == format!("{}.machine", container.node)
}

/// What its console said last: of a kernel that panicked, from a line before on.
pub(crate) fn last_words(keeper: &Keeper, container: &ContainerStatus) -> String {
    let run = keeper.paths.run_dir(&keeper.name).join("agents");
    let log = Places::below(&run.join(&container.name)).log;
    let text = last_lines(&log, FAR).unwrap_or_default();
    words(&String::from_utf8_lossy(&text))
}

fn words(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<&str> = lines.collect();
    let panic = lines.iter().rposition(|line| line.contains(PANIC));
    let said = match panic {
        Some(at) => {
            let from = at.saturating_sub(1);
            &lines[from..lines.len().min(from + LINES)]
        }
        None => &lines[lines.len().saturating_sub(LINES)..],
    };
    said.join(" | ")
}

/// Does the node stay as it is when its machine ends by itself?
pub(crate) fn stays(plan: &Plan, node: &str) -> bool {
    let machine = plan.spec.node(node).and_then(|node| node.machine.as_ref());
    machine.is_some_and(|machine| machine.restart == Restart::Never)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_from_its_beginning_and_else_the_end() {
        let panic = "[ 1.0] up\r\n[ 2.0] sysrq: Trigger a crash\n[ 2.1] Kernel panic - not syncing: x\n\n[ 2.2] CPU: 0\n";
        assert_eq!(
            words(panic),
            "[ 2.0] sysrq: Trigger a crash | [ 2.1] Kernel panic - not syncing: x | [ 2.2] CPU: 0"
        );
        let many: String = (0..20).map(|line| format!("{line}\n")).collect();
        assert_eq!(words(&many), "16 | 17 | 18 | 19");
        assert_eq!(words(""), "");
    }
}
