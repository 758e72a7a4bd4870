//! What runs the instructions of virtual machines here: found out with the first machine after the host's boot, then known.

use vial_image::NodeImage;
use vial_image::machine::COMMAND_LINE;
use vial_qemu::{Accelerator, Program, Verdict, probe};
use vial_spec::ClusterSpec;

use crate::paths::Paths;
use crate::progress::{Progress, Reporter};

/// Software emulation: a thread for each processor.
const EMULATION: &str = "tcg,thread=multi";

/// What follows from it for a machine.
pub(super) struct Known {
    /// As QEMU is told.
    pub(super) accelerator: String,
    /// Of the machine's kernel, without the console.
    pub(super) command_line: String,
}

/// What is known of this host.
pub(super) fn known(paths: &Paths) -> Known {
    let verdict = probe::remembered(&paths.accelerator());
    Known {
        accelerator: told(verdict.as_ref()),
        command_line: kernel_told(verdict.as_ref()),
    }
}

/// As QEMU is told.
pub(crate) fn name(paths: &Paths) -> String {
    known(paths).accelerator
}

/// An emulated kernel is told how quickly the time stamp counter counts, which is the host's own. It would measure it, and on
/// a busy host took 290 MHz for 2596: its clock ran nine times too fast.
fn kernel_told(verdict: Option<&Verdict>) -> String {
    match verdict {
        Some(Verdict {
            accelerator: Accelerator::Tcg,
            tsc_khz: Some(khz),
            ..
        }) => format!("{COMMAND_LINE} tsc_early_khz={khz}"),
        Some(_) | None => COMMAND_LINE.into(),
    }
}

fn told(verdict: Option<&Verdict>) -> String {
    match verdict.map(|verdict| verdict.accelerator) {
        Some(Accelerator::Kvm) => "kvm".into(),
        Some(Accelerator::Tcg) | None => EMULATION.into(),
    }
}

/// Finds it out when there are machines and it is not known yet, which is said. Where it cannot be tried, they are emulated.
pub async fn find_out(paths: &Paths, spec: &ClusterSpec, image: &NodeImage, report: &Reporter) {
    let nodes = spec.nodes.iter().any(|node| node.machine.is_some());
    if !nodes && spec.sandbox.machine().is_none() {
        return;
    }
    let Some(program) = Program::in_layers(&image.lower_dirs()) else {
        return;
    };
    match probe::accelerator(&program, &paths.accelerator()).await {
        Ok(known) if known.new => report(Progress::note(note(&known.verdict))),
        Ok(_) => {}
        Err(error) => {
            let why = std::error::Error::source(&error).map(ToString::to_string);
            let text = format!(
                "virtual machines are emulated: {error}: {}",
                why.unwrap_or_default()
            );
            report(Progress::note(text));
        }
    }
}

fn note(verdict: &Verdict) -> String {
    let reason = &verdict.reason;
    match verdict.accelerator {
        Accelerator::Kvm => format!("virtual machines run by KVM ({reason})"),
        Accelerator::Tcg => format!("virtual machines are emulated by software ({reason})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_seen_to_work_is_used() {
        let verdict = |accelerator| Verdict {
            accelerator,
            reason: "seen".into(),
            tsc_khz: Some(2_596_142),
        };
        assert_eq!(told(None), EMULATION);
        assert_eq!(told(Some(&verdict(Accelerator::Tcg))), EMULATION);
        assert_eq!(told(Some(&verdict(Accelerator::Kvm))), "kvm");
        let line = kernel_told(Some(&verdict(Accelerator::Tcg)));
        assert_eq!(line, format!("{COMMAND_LINE} tsc_early_khz=2596142"));
        assert_eq!(kernel_told(Some(&verdict(Accelerator::Kvm))), COMMAND_LINE);
        assert_eq!(kernel_told(None), COMMAND_LINE);
        assert!(note(&verdict(Accelerator::Tcg)).ends_with("emulated by software (seen)"));
    }
}
