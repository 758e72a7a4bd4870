//! Builds a node image without the command line: `cargo run -p vial-image --example build -- HOME [KEY=VALUE…]`.
//!
//! Keys are those of `BuildOptions` in JSON: `source=go`, `kubernetes=1.35`, `k8sBin=DIR`, `tag=NAME:TAG`.

use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use vial_image::{BuildOptions, Progress, Store};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let home = arguments.next().ok_or("which VIAL_HOME?")?;
    let mut options = serde_json::to_value(BuildOptions::default())?;
    for argument in arguments {
        let (key, value) = argument.split_once('=').ok_or("KEY=VALUE")?;
        options[key] = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    }
    let options: BuildOptions = serde_json::from_value(options)?;
    let store = Store::open(Path::new(&home))?;
    let begin = Instant::now();
    let tell = |progress: Progress| {
        let _ = writeln!(
            std::io::stderr(),
            "{:7.2} {progress:?}",
            begin.elapsed().as_secs_f32()
        );
    };
    match vial_image::build(&store, &options, &tell).await {
        Ok(image) => writeln!(
            std::io::stdout(),
            "{}",
            serde_json::to_string_pretty(&image)?
        )?,
        Err(error) => {
            let hint = error.hint();
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            writeln!(
                std::io::stderr(),
                "error: {text}\n hint: {}",
                hint.unwrap_or_default()
            )?;
            std::process::exit(1);
        }
    }
    Ok(())
}
