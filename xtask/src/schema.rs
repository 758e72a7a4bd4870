//! `cargo xtask schema`: the JSON schema of vial.yaml, committed so that editors find it by its address.

use std::fs;

use crate::{Error, root};

const COMMAND: &str = "cargo xtask schema";

/// Arguments of the chore.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write nothing; fail if the committed file is not what the code says
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let path = root().join("docs/vial.schema.json");
    if !args.check {
        let text = text();
        return fs::write(&path, text).map_err(|source| Error::File {
            operation: "write",
            path,
            source,
        });
    }
    match fs::read_to_string(&path) {
        Ok(committed) if committed == text() => Ok(()),
        Ok(_) => Err(Error::Stale {
            path,
            command: COMMAND,
        }),
        Err(source) => Err(Error::File {
            operation: "read",
            path,
            source,
        }),
    }
}

/// The file's content.
fn text() -> String {
    format!("{:#}\n", vial_spec::file::schema())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_schema_is_current() {
        run(&Args { check: true }).unwrap_or_else(|error| panic!("{error}"));
    }
}
