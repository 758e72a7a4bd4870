//! Who may log in to a pod that is made now: the person at the keyboard.

use std::fs;

use crate::kubeconfig::Environment;
use crate::pods::wish::public_keys;

/// The person's public keys: those of `~/.ssh/id_*.pub`. What is no key is passed over: it is ssh's matter.
pub(crate) fn of_person() -> Vec<String> {
    let Some(home) = Environment::of_process().home() else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir(home.join(".ssh")) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    paths
        .iter()
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("id_") && name.ends_with(".pub")
        })
        .filter_map(|path| public_keys(&fs::read_to_string(path).ok()?, "").ok())
        .flatten()
        .collect()
}
