//! `vial logs [NODE [COMPONENT]]`.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::Args;
use futures::StreamExt as _;
use futures::stream::{SelectAll, select_all};
use jiff::Timestamp;
use tokio::sync::mpsc::Receiver;
use tokio_stream::wrappers::ReceiverStream;
use vial_keeper::client::Client;

use crate::agent;
use crate::cli::ClusterFlag;
use crate::context::{Context, command_line};
use crate::error::{Code, Error, Exit, Result};
use crate::interrupt;
use crate::logs::Line;
use crate::logs::merge::{Backlog, Window};
use crate::logs::place::{self, Place, Wanted};
use crate::logs::pump::{self, News, Range};
use crate::logs::show::{Format, Shape};
use crate::when;

/// Between two looks for nodes and components that came meanwhile.
const LOOK: Duration = Duration::from_secs(2);
/// So much is printed at once.
const PAGE: usize = 64 * 1024;

/// Show the logs of a cluster's nodes, merged in the order of time
///
/// Without names those of all components on all nodes, of the cluster's registry, of its keeper and of its first process
/// (init), each line with where it is from. Of one component on one node the lines are shown as they are. Pods' logs are
/// shown by `kubectl logs`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial logs
  vial logs w-1 kubelet -f
  vial logs w-1,w-2 kubelet,containerd --tail 50
  vial logs --component kubelet --since 5m -f
  vial logs -c dev keeper
  vial logs -o json | jq -r 'select(.message | test(\"error\")) | .time + \" \" + .node'")]
pub(crate) struct LogsArgs {
    /// The nodes: cp-1, w-1, …, registry, keeper, init [default: all]
    #[arg(value_name = "NODE[,…]")]
    node: Option<Names>,
    /// Only these components: kubelet, containerd, kube-apiserver, … [default: all]
    #[arg(value_name = "COMPONENT[,…]")]
    component: Option<Names>,
    /// The nodes, by a flag; may be given several times
    #[arg(
        short = 'n',
        long = "node",
        value_name = "NODE[,…]",
        conflicts_with = "node"
    )]
    nodes: Vec<Names>,
    /// Only these components, also without a node; may be given several times
    #[arg(
        long = "component",
        value_name = "COMPONENT[,…]",
        conflicts_with = "component"
    )]
    components: Vec<Names>,
    /// Go on with what comes, also from nodes that come later
    #[arg(short, long)]
    follow: bool,
    /// Begin with so many last lines of each component [default: all]
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(u64).range(1..))]
    tail: Option<u64>,
    /// Only lines since then: a span (90s, 10m, 1h30m) or a time (2026-11-21T12:00:00Z)
    #[arg(long, value_name = "WHEN", value_parser = when::since)]
    since: Option<Timestamp>,
    /// Begin each line with its time
    #[arg(long)]
    timestamps: bool,
    /// How to print lines
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    cluster: ClusterFlag,
}

/// `w-1,w-2`.
#[derive(Debug, Clone)]
struct Names(Vec<String>);

impl FromStr for Names {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let names = text.split(',').map(str::trim);
        if names.clone().any(str::is_empty) {
            return Err("write names, with a comma between them: w-1,w-2");
        }
        Ok(Self(names.map(ToOwned::to_owned).collect()))
    }
}

pub(crate) async fn run(context: &Context, args: LogsArgs) -> Result {
    context.require_owner("read a cluster's logs")?;
    let all = |one: Option<Names>, more: Vec<Names>| {
        let names = one.into_iter().chain(more).flat_map(|names| names.0);
        names.collect()
    };
    let wanted = Wanted {
        nodes: all(args.node, args.nodes),
        components: all(args.component, args.components),
    };
    let cluster = args.cluster.cluster;
    let client = context.keeper(&cluster).await?;
    let status = context.status(&cluster, &client).await?;
    if status.sandbox_pid.is_none() {
        let what = format!("cluster `{cluster}` does not run, nobody serves its logs");
        return Err(Error::new(Code::Failed, what)
            .hint(format!("{} starts it", command_line("up", &cluster)))
            .hint(format!(
                "{} gathers the logs that are on its disks",
                command_line("diagnose", &cluster)
            )));
    }
    if let Some(node) = status
        .nodes
        .iter()
        .find(|node| node.stopped && wanted.nodes.contains(&node.name))
    {
        return Err(agent::stopped(&cluster, &node.name));
    }
    let places = wanted.of(&cluster, &place::all(&context.paths, &status))?;
    let mut shape = Shape::new(args.output, &places);
    shape.timestamps = args.timestamps;
    shape.names = !wanted.is_one();
    shape.color = context.ui.color_out();
    let range = Range {
        follow: args.follow,
        tail: args.tail.unwrap_or(0),
        since: args.since.map_or(0, Timestamp::as_microsecond),
    };
    let mut logs = Logs {
        context,
        cluster,
        wanted,
        shape,
        range,
        places,
        silent: BTreeMap::new(),
        page: Vec::new(),
    };
    tokio::select! {
        ended = logs.show() => ended,
        // Ctrl-C is how one stops following.
        () = interrupt::signal() => Ok(Exit(Code::Interrupted as u8)),
    }
}

/// What is shown, and how far it came.
struct Logs<'a> {
    context: &'a Context,
    cluster: String,
    wanted: Wanted,
    shape: Shape,
    range: Range,
    places: Vec<Place>,
    /// Nodes that could not be read, and why; told once each.
    silent: BTreeMap<String, String>,
    page: Vec<u8>,
}

/// News of the place with this number.
type Numbered = std::pin::Pin<Box<dyn futures::Stream<Item = (usize, News)> + Send>>;

impl Logs<'_> {
    async fn show(&mut self) -> Result {
        let places = self.places.iter().cloned();
        let mut queues: Vec<_> = places.map(|place| pump::start(place, self.range)).collect();
        let mut backlog = Backlog::new(queues.len());
        let mut reading: BTreeSet<usize> = (0..queues.len()).collect();
        for (log, queue) in queues.iter_mut().enumerate() {
            self.fill(log, queue, &mut backlog, &mut reading).await;
        }
        while let Some((log, line)) = backlog.next() {
            self.put(log, &line)?;
            self.fill(log, &mut queues[log], &mut backlog, &mut reading)
                .await;
        }
        self.flush()?;
        if self.range.follow {
            let queues = queues.into_iter().enumerate();
            return self
                .follow(select_all(queues.map(|(log, queue)| numbered(log, queue))))
                .await;
        }
        // Whoever asked for one node only is told by an error.
        match self.silent.pop_first() {
            None => Ok(Exit::OK),
            Some((node, why)) if self.wanted.nodes.len() == 1 => Err(self.unreadable(&node, &why)),
            Some(_) => Ok(Exit::FAILED),
        }
    }

    /// Waits until the next line of a log is known, or that there is none.
    async fn fill(
        &mut self,
        log: usize,
        queue: &mut Receiver<News>,
        backlog: &mut Backlog,
        reading: &mut BTreeSet<usize>,
    ) {
        while backlog.lacks(log) && reading.contains(&log) {
            match queue.recv().await {
                Some(News::Lines(lines)) => {
                    backlog.add(log, lines);
                    continue;
                }
                Some(News::Lost(why)) => self.lost(log, why),
                Some(News::CaughtUp) | None => {}
            }
            reading.remove(&log);
        }
    }

    /// Goes on until the cluster is gone.
    async fn follow(&mut self, mut news: SelectAll<Numbered>) -> Result {
        let mut window = Window::default();
        let mut look = tokio::time::interval(LOOK);
        loop {
            let due = window.due();
            let due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some((log, news)) = news.next() => match news {
                    News::Lines(lines) => {
                        self.silent.remove(&self.places[log].node);
                        for line in lines {
                            window.add(Instant::now(), log, line);
                        }
                    }
                    News::CaughtUp => {}
                    News::Lost(why) => self.lost(log, why),
                },
                () = due => {
                    for (log, line) in window.take(Instant::now()) {
                        self.put(log, &line)?;
                    }
                    self.flush()?;
                }
                _ = look.tick() => {
                    if !self.context.paths.cluster_dir(&self.cluster).is_dir() {
                        for (log, line) in window.rest() {
                            self.put(log, &line)?;
                        }
                        self.flush()?;
                        self.context.ui.status(format!("cluster {} is gone", self.cluster));
                        return Ok(Exit::OK);
                    }
                    for place in self.more().await {
                        // All of it is new.
                        let range = Range { follow: true, ..Range::default() };
                        news.push(numbered(self.places.len(), pump::start(place.clone(), range)));
                        self.places.push(place);
                    }
                }
            }
        }
    }

    /// Places that were not there before. Nobody is disturbed for it: a keeper that does not answer is asked next time.
    async fn more(&self) -> Vec<Place> {
        let (paths, cluster) = (&self.context.paths, &self.cluster);
        let status = async { Client::connect(paths, cluster).await?.status().await.ok()? };
        let Some(status) = tokio::time::timeout(LOOK, status).await.ok().flatten() else {
            return Vec::new();
        };
        let mut all = place::all(paths, &status);
        all.retain(|place| self.wanted.wants(place) && !self.places.contains(place));
        all
    }

    /// Tells once that a node cannot be read.
    fn lost(&mut self, log: usize, why: String) {
        let node = self.places[log].node.clone();
        if self.silent.contains_key(&node) {
            return;
        }
        let alone = self.wanted.nodes.len() == 1 && !self.range.follow;
        if !alone {
            let again = match self.range.follow {
                true => "; its logs go on when it is back",
                false => "",
            };
            let warning = format!("the logs of `{node}` cannot be read: {why}{again}");
            self.context.ui.warn(warning);
        }
        self.silent.insert(node, why);
    }

    fn unreadable(&self, node: &str, why: &str) -> Error {
        let cluster = &self.cluster;
        let what = format!("node `{node}` of cluster `{cluster}` does not answer: {why}");
        Error::new(Code::Failed, what).hint(format!(
            "{} shows its state, {} starts what is not there",
            command_line("status", cluster),
            command_line("up", cluster)
        ))
    }

    fn put(&mut self, log: usize, line: &Line) -> Result<()> {
        self.shape.put(&mut self.page, &self.places[log], line)?;
        match self.page.len() {
            PAGE.. => self.flush(),
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<()> {
        if self.page.is_empty() {
            return Ok(());
        }
        self.context.ui.data(std::mem::take(&mut self.page))
    }
}

fn numbered(log: usize, queue: Receiver<News>) -> Numbered {
    ReceiverStream::new(queue)
        .map(move |news| (log, news))
        .boxed()
}
