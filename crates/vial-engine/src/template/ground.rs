//! What a frozen process expects to find when it goes on: the same program, kernel and processor.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use vial_spec::{ClusterSpec, SandboxConfig};

use crate::paths::Paths;
use crate::{Error, Result, execute};

/// Where something was frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ground {
    /// `0.1.0`.
    pub vial: String,
    /// Which build of it: first processes and agents are of it, and go on with everything else.
    pub build: String,
    /// The host's kernel (uname -r); empty where all that was frozen has a kernel of its own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kernel: String,
    /// The processor, and all that it can: a program that found an instruction uses it, and a kernel's clock counts at its
    /// rate, emulated or not.
    pub processor: String,
    /// What emulates or runs machines; empty where there are none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub accelerator: String,
}

/// Why a template cannot go on here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template {template} was made {how}: {was}, here it is {here}")]
pub struct Unfit {
    template: String,
    how: &'static str,
    was: String,
    here: String,
}

impl Ground {
    /// Of this host and this program, as far as a cluster of that kind notices.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn of(paths: &Paths, spec: &ClusterSpec) -> Result<Self> {
        let machines = spec.nodes.iter().any(|node| node.machine.is_some());
        let sealed = matches!(spec.sandbox, SandboxConfig::Vm(_));
        let accelerator = match machines || sealed {
            true => execute::accelerator_name(paths),
            false => String::new(),
        };
        let kernel = rustix::system::uname();
        let kernel = kernel.release().to_string_lossy().into_owned();
        let program = execute::program(paths)?;
        let build = program.file_name().unwrap_or_default();
        Ok(Self {
            vial: env!("CARGO_PKG_VERSION").into(),
            build: build.to_string_lossy().into_owned(),
            kernel: if sealed { String::new() } else { kernel },
            processor: processor()?,
            accelerator: accelerator.split(',').next().unwrap_or_default().to_owned(),
        })
    }

    /// Fine where `here` is the same.
    ///
    /// # Errors
    /// The first thing that is another.
    pub fn check(&self, template: &str, here: &Self) -> std::result::Result<(), Unfit> {
        let unfit = |how, was: &str, here: &str| {
            Err(Unfit {
                template: template.to_owned(),
                how,
                was: was.to_owned(),
                here: here.to_owned(),
            })
        };
        if self.vial != here.vial {
            return unfit("by another version of vial", &self.vial, &here.vial);
        }
        if self.build != here.build {
            return unfit("by another build of vial", &self.build, &here.build);
        }
        if self.kernel != here.kernel {
            return unfit("on another kernel", &self.kernel, &here.kernel);
        }
        if self.processor != here.processor {
            return unfit("on another processor", &self.processor, &here.processor);
        }
        if self.accelerator != here.accelerator {
            let (was, here) = (&self.accelerator, &here.accelerator);
            return unfit("with another accelerator", was, here);
        }
        Ok(())
    }
}

/// `Intel(R) Xeon(R) … (5f3a…)`: its name, and a digest of what it can.
fn processor() -> Result<String> {
    let path = Path::new("/proc/cpuinfo");
    let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
    Ok(named(&text))
}

fn named(cpuinfo: &str) -> String {
    let field = |name: &str| {
        let mut lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(key, _)| key.trim() == name);
        found.map_or("", |(_, value)| value.trim())
    };
    let digest = Sha256::digest(field("flags"));
    let digest: String = digest
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{} ({digest})", field("model name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ground() -> Ground {
        Ground {
            vial: "1.0.0".into(),
            build: "vial-1.0.0-a".into(),
            kernel: "6.18.1".into(),
            processor: "A (1)".into(),
            accelerator: "tcg".into(),
        }
    }

    #[test]
    fn what_is_another_is_named() {
        let here = ground();
        here.check("t", &here).unwrap();
        type Change = fn(&mut Ground);
        let changes: [(Change, &str); 5] = [
            (
                |it| it.vial = "0.9".into(),
                "by another version of vial: 0.9, here it is 1.0.0",
            ),
            (|it| it.build = "b".into(), "another build"),
            (
                |it| it.kernel = "6.1".into(),
                "on another kernel: 6.1, here it is 6.18.1",
            ),
            (|it| it.processor = "B".into(), "another processor"),
            (
                |it| it.accelerator = "kvm".into(),
                "another accelerator: kvm",
            ),
        ];
        for (change, told) in changes {
            let mut was = ground();
            change(&mut was);
            let error = was.check("t", &here).unwrap_err().to_string();
            assert!(
                error.starts_with("template t was made") && error.contains(told),
                "{error}"
            );
        }
    }

    #[test]
    fn a_processor_is_known_by_what_it_can() {
        let text = |flags| {
            format!(
                "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: {flags}\n\nprocessor\t: 1\n"
            )
        };
        assert!(named(&text("fpu avx")).starts_with("Some CPU ("));
        assert_ne!(named(&text("fpu avx")), named(&text("fpu")));
    }
}
