//! Connections that are held while their ends come back one after the other: a rule that drops what goes over the
//! loopback interface, so that no kernel says of the end that is not there yet that there is none.
//!
//! Only what has a service's port on one side: CRIU itself tries out connections, between two ports of the kernel's
//! choice. What goes to other machines is not held: its other ends are gone for good, and the reset says so.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use vial_sys::session::{Terminal, prepare};

use super::FreezeError;
use crate::launch::{agent_path, find_program};
use crate::reaper::{Leftovers, Reaper};

/// The table's name; no other program uses it.
const TABLE: &str = "inet vial_thaw";

/// Where the kernel chooses ports from by default (ip-sysctl.rst, `ip_local_port_range`).
const FIRST_OF_KERNEL: u16 = 32768;

/// Held from its making until [`let_go`](Self::let_go), or its drop.
pub(super) struct Held {
    reaper: Arc<Reaper>,
    is_over: bool,
}

impl Held {
    pub(super) async fn new(reaper: &Arc<Reaper>) -> Result<Self, FreezeError> {
        nft(reaper, &rules()).await?;
        Ok(Self {
            reaper: Arc::clone(reaper),
            is_over: false,
        })
    }

    pub(super) async fn let_go(mut self) -> Result<(), FreezeError> {
        nft(&self.reaper, &format!("delete table {TABLE}\n")).await?;
        self.is_over = true;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let reaper = Arc::clone(&self.reaper);
        tokio::spawn(async move {
            if let Err(error) = nft(&reaper, &format!("delete table {TABLE}\n")).await {
                tracing::error!("{error}");
            }
        });
    }
}

/// One that a killed agent of this network left is replaced.
fn rules() -> String {
    format!(
        "add table {TABLE}\n\
         delete table {TABLE}\n\
         table {TABLE} {{\n\
           chain input {{\n\
             type filter hook input priority -500\n\
             iif lo tcp dport < {FIRST_OF_KERNEL} drop\n\
             iif lo tcp sport < {FIRST_OF_KERNEL} drop\n\
           }}\n\
         }}\n"
    )
}

async fn nft(reaper: &Reaper, rules: &str) -> Result<(), FreezeError> {
    let path = agent_path();
    let failed = |reason: String| FreezeError::Hold { reason };
    let program = find_program("nft", &path, Path::new("/"));
    let program = program.ok_or_else(|| failed(format!("there is no program nft in {path}")))?;
    let mut command = Command::new(program);
    let (input, mut text) = std::io::pipe().map_err(|error| failed(error.to_string()))?;
    // Shorter than a pipe holds (pipe(7)): it does not wait for a reader.
    text.write_all(rules.as_bytes())
        .map_err(|error| failed(error.to_string()))?;
    drop(text);
    command
        .args(["-f", "-"])
        .stdin(input)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    prepare(&mut command, Terminal::None, None);
    let child = reaper.spawn(&mut command, Leftovers::Leave);
    let child = child.map_err(|error| failed(error.to_string()))?;
    match child.exit.await {
        Ok(0) => Ok(()),
        code => Err(failed(format!(
            "nft ended with code {}",
            code.unwrap_or(255)
        ))),
    }
}
