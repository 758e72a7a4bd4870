//! The Job that ends a pod made for a time: started, moved, taken away. See [`crate::plan::Timer`].

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, Preconditions};
use serde_json::{Value, json};

use super::apply;
use crate::cloud::Cloud;
use crate::error::{Error, Kind, Result};
use crate::plan::Timer;
use crate::words;

/// Starts it, or gives the one that runs another end; gives the Job.
///
/// # Errors
/// When its time is over already, something else has its name, or the API refuses.
pub(super) async fn start(
    cloud: &Cloud,
    namespace: &str,
    name: &str,
    timer: &Timer,
    owner: &Value,
) -> Result<DynamicObject> {
    let what = format!("cannot look for what ends pod {name}");
    let there = jobs(cloud, namespace)
        .get_opt(&words::timer(name))
        .await
        .map_err(Error::api(what))?;
    let started = match &there {
        None => Timestamp::now(),
        Some(job) if !words::is_ours(job) => {
            let job = words::timer(name);
            let message = format!("namespace {namespace} has a Job {job} that vial did not make");
            return Err(Error::new(Kind::Conflict, message)
                .hinted("choose another name, or another namespace with -n"));
        }
        Some(job) if is_over(job) => {
            let message = format!("the time of pod {name} is over: it is just being removed");
            return Err(Error::new(Kind::Conflict, message).hinted(format!(
                "`vial pod wait {name} --for gone` tells when it is gone"
            )));
        }
        Some(job) => began(job).unwrap_or_else(Timestamp::now),
    };
    let mut job = timer.begun(started);
    job["metadata"]["ownerReferences"] = json!([owner]);
    apply(cloud, job).await
}

/// Takes it away from a pod that is to stay. Who may not look for Jobs never made one.
///
/// # Errors
/// When the API refuses.
pub(super) async fn stop(cloud: &Cloud, namespace: &str, name: &str) -> Result<()> {
    let jobs = jobs(cloud, namespace);
    let cannot = || format!("cannot remove what was to end pod {name}");
    let there = match jobs.get_opt(&words::timer(name)).await {
        Err(kube::Error::Api(status)) if status.code == 403 => return Ok(()),
        there => there.map_err(Error::api(cannot()))?,
    };
    let Some(job) = there.filter(words::is_ours) else {
        return Ok(());
    };
    let params = DeleteParams::background().preconditions(Preconditions {
        uid: job.uid(),
        resource_version: None,
    });
    match jobs.delete(&job.name_any(), &params).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        done => done.map(drop).map_err(Error::api(cannot())),
    }
}

fn jobs(cloud: &Cloud, namespace: &str) -> Api<Job> {
    Api::namespaced(cloud.client().clone(), namespace)
}

fn is_over(job: &Job) -> bool {
    let conditions = job.status.iter().flat_map(|status| &status.conditions);
    let mut conditions = conditions.flatten();
    job.metadata.deletion_timestamp.is_some()
        || conditions.any(|one| one.type_.starts_with("Fail") && one.status == "True")
}

/// Since when its deadline counts; `None` when its controller has not seen it yet.
fn began(job: &Job) -> Option<Timestamp> {
    Some(job.status.as_ref()?.start_time.as_ref()?.0)
}
