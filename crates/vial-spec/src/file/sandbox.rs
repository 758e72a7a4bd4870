//! What is written of the sandbox.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Maker;
use crate::size::Size;

/// What the sandbox is made of: the place that holds the whole cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SandboxEntry {
    /// `namespace`: on the host's kernel, needs root. `vm`: one virtual machine, needs no right. `auto` (unless given):
    /// `namespace` for root, `vm` for everybody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maker: Option<Maker>,
    /// Of the virtual machine, processors: 1 to 64; 2 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub cpus: Option<u32>,
    /// Its memory: at least 2Gi; 4Gi unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Its disk: at least 4Gi; 40Gi unless given. It takes what is written, no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Size>,
}
