//! Freezes a running cluster into a directory, and lays another cluster from it: the engine without a keeper.
//!
//! ```text
//! freezer freeze CLUSTER DIRECTORY [end|stop]      end: the sandbox ends; stop: it ends, and the disks stay where they are
//! freezer lay DIRECTORY CLUSTER
//! ```
//! A cluster that was laid has a record that says `creating`: who keeps it thaws it, or starts it from its disks.

use std::path::Path;
use std::sync::Arc;

use vial_engine::execute::{self, Prepared};
use vial_engine::freeze::namespace::{self, After, Cluster, Disks};
use vial_engine::paths::Paths;
use vial_engine::progress::{Progress, Reporter};
use vial_engine::record::{Journal, Record};
use vial_image::Store;
use vial_sandbox::{AnyMaker, Maker as _};

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let paths = Paths::from_env();
    match words[..] {
        ["freeze", cluster, directory] => {
            freeze(
                &paths,
                cluster,
                directory.as_ref(),
                Disks::Copy,
                After::GoOn,
            )
            .await
        }
        ["freeze", cluster, directory, "end"] => {
            freeze(&paths, cluster, directory.as_ref(), Disks::Copy, After::End).await
        }
        ["freeze", cluster, directory, "stop"] => {
            freeze(
                &paths,
                cluster,
                directory.as_ref(),
                Disks::Leave,
                After::End,
            )
            .await
        }
        ["lay", directory, cluster] => lay(&paths, directory.as_ref(), cluster),
        _ => Err("freeze CLUSTER DIRECTORY [end|stop], or lay DIRECTORY CLUSTER".into()),
    }
}

async fn freeze(
    paths: &Paths,
    name: &str,
    into: &Path,
    disks: Disks,
    after: After,
) -> Result<(), Failure> {
    let record = Record::load(paths, name)?.ok_or("no such cluster")?;
    let prepared = plan(paths, record)?;
    let spec = execute::sandbox_spec(paths, name);
    let sandbox = AnyMaker.find(&spec).await?.ok_or("it does not run")?;
    let cluster = Cluster {
        paths,
        record: &prepared.record,
        plan: &prepared.plan,
        sandbox: sandbox.as_ref(),
    };
    std::fs::create_dir_all(into)?;
    let began = std::time::Instant::now();
    let report: Reporter = Arc::new(move |progress| {
        use std::io::Write as _;
        let line = match progress {
            Progress::Started { title, .. } => title,
            Progress::Finished { id } => format!("{id}: done"),
            Progress::Note { text, .. } => text,
        };
        let _ = writeln!(
            std::io::stderr(),
            "{:.3} {line}",
            began.elapsed().as_secs_f64()
        );
    });
    namespace::freeze(cluster, into, disks, after, &report).await?;
    let record = paths.cluster_dir(name).join("cluster.json");
    std::fs::copy(record, into.join("cluster.json"))?;
    Ok(())
}

/// The plan of a cluster that is up; its record stays what it is.
fn plan(paths: &Paths, record: Record) -> Result<Prepared, Failure> {
    let image = Store::open(&paths.home)?.find(&record.image_digest)?;
    let spec = record.spec.clone();
    let prepared = execute::prepare(paths, &spec, record.ports.clone(), &image, || {
        Err(std::io::ErrorKind::NotFound.into())
    })?;
    record.save(paths)?;
    Ok(prepared)
}

fn lay(paths: &Paths, from: &Path, name: &str) -> Result<(), Failure> {
    let mut record: Record = serde_json::from_slice(&std::fs::read(from.join("cluster.json"))?)?;
    let port = || -> Result<u16, Failure> {
        Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?
            .local_addr()?
            .port())
    };
    // One that was stopped is the same cluster again.
    if record.name != name {
        record.uid = format!("{:016x}", std::process::id());
        (record.api_port, record.registry_port) = (port()?, port()?);
    }
    record.name = name.to_owned();
    record.spec.name = name.to_owned();
    record.journal = Journal::Creating;
    record.save(paths)?;
    let began = std::time::Instant::now();
    namespace::lay(paths, from, name)?;
    use std::io::Write as _;
    let _ = writeln!(
        std::io::stderr(),
        "laid in {:.3} s",
        began.elapsed().as_secs_f64()
    );
    Ok(())
}
