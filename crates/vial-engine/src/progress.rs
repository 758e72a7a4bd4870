//! How the engine tells what it does.

/// Told by the executor as it goes; whoever listens decides what a person sees.
#[derive(Debug, Clone)]
pub enum Progress {
    /// A step began.
    Started {
        /// Unique within the operation: `w-1/kubelet`.
        id: String,
        /// For people: `start kubelet`.
        title: String,
        /// Which node it concerns.
        node: Option<String>,
    },
    /// A step ended well.
    Finished {
        /// As in `Started`.
        id: String,
    },
    /// Something to tell the person.
    Note {
        /// One line.
        text: String,
        /// Which node it concerns.
        node: Option<String>,
        /// Which component of it.
        component: Option<String>,
    },
}

impl Progress {
    /// A note about the whole cluster.
    #[must_use]
    pub fn note(text: impl Into<String>) -> Self {
        Self::Note {
            text: text.into(),
            node: None,
            component: None,
        }
    }
}

/// Where progress goes.
pub type Reporter = std::sync::Arc<dyn Fn(Progress) + Send + Sync>;

/// Runs one step and reports its start and, when it went well, its end.
///
/// # Errors
/// Those of the step.
pub async fn step<T, E>(
    report: &Reporter,
    node: Option<&str>,
    name: &str,
    title: impl Into<String>,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let id = node.map_or_else(|| name.to_owned(), |node| format!("{node}/{name}"));
    report(Progress::Started {
        id: id.clone(),
        title: title.into(),
        node: node.map(str::to_owned),
    });
    let value = work.await?;
    report(Progress::Finished { id });
    Ok(value)
}
