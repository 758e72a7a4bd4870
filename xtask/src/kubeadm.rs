//! `cargo xtask kubeadm`: kubeadm, for those who compare vial with what it makes. It is in no node image.

use std::path::PathBuf;

use vial_image::Progress;

use crate::{Error, say, test};

/// Build kubeadm of a Kubernetes version that vial knows, from its Go module
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory to put it into
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The version of Kubernetes
    #[arg(long, value_name = "VERSION", default_value = "1.36")]
    kubernetes: String,
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let file = |operation, path: &std::path::Path| {
        let path = path.to_path_buf();
        move |source| Error::File {
            operation,
            path,
            source,
        }
    };
    let home = test::home()?;
    let tell = |progress| {
        if let Progress::Started { title, .. } = progress {
            say(&title);
        }
    };
    let runtime = tokio::runtime::Runtime::new().map_err(file("use", &home))?;
    let built = runtime
        .block_on(vial_image::build_extra(
            &home,
            &args.kubernetes,
            "kubeadm",
            &tell,
        ))
        .map_err(|source| Error::Build {
            what: "kubeadm",
            source,
        })?;
    std::fs::create_dir_all(&args.out).map_err(file("create", &args.out))?;
    let target = args.out.join("kubeadm");
    // One that runs cannot be written to, but be replaced.
    match std::fs::remove_file(&target) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(file("replace", &target)(error));
        }
        _ => {}
    }
    std::fs::copy(&built, &target).map_err(file("write", &target))?;
    say(&target.display().to_string());
    Ok(())
}
