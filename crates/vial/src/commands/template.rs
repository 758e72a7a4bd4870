//! `vial template ls|inspect|rm`.

use clap::{Args, Subcommand};
use serde::Serialize;
use vial_engine::template::{Ground, Made, Template, Templates};

use super::node_image::size;
use super::registry::bytes_below;
use crate::context::Context;
use crate::error::{Code, Error, Exit, Result};
use crate::output::{self, Format, OutputArgs, Report};
use crate::ui::{Table, Ui};
use crate::when;

/// Frozen clusters: list, look at and remove them
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct TemplateArgs {
    #[command(subcommand)]
    command: TemplateCommand,
}

#[derive(Debug, Subcommand)]
enum TemplateCommand {
    /// List the templates
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Show what a template is, and what it needs to go on
    Inspect(InspectArgs),
    /// Remove templates that no cluster goes on from
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
}

/// List the templates
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vial template ls\n  vial template ls -o name")]
struct LsArgs {
    #[command(flatten)]
    output: OutputArgs,
}

/// Show what a template is, and what it needs to go on
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vial template inspect dev\n  vial template inspect dev -o json"
)]
struct InspectArgs {
    /// The template
    #[arg(value_name = "TEMPLATE")]
    name: String,
    #[command(flatten)]
    output: OutputArgs,
}

/// Remove templates that no cluster goes on from
///
/// Files that clusters share with it stay as long as these do.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vial template rm monday\n  vial template rm a b --force")]
struct RmArgs {
    /// The templates
    #[arg(value_name = "TEMPLATE", required = true)]
    names: Vec<String>,
    /// Also those that clusters go on from: they keep what they need
    #[arg(long)]
    force: bool,
    /// A template that is not there is no error
    #[arg(long)]
    ignore_not_found: bool,
}

pub(crate) async fn run(context: &Context, args: TemplateArgs) -> Result {
    context.require_owner("see the templates")?;
    let templates = Templates::of(&context.paths);
    match args.command {
        TemplateCommand::Ls(args) => {
            let all = templates.list().map_err(told)?;
            let shown: Result<Vec<_>> = all.into_iter().map(|one| shown(&templates, one)).collect();
            let shown = Shown(shown?);
            output::print(&context.ui, args.output.output, &shown)?;
            if shown.0.is_empty() && args.output.output == Format::Table {
                let text = "there is no template; `vial freeze` makes one of a cluster";
                context.ui.status(text);
            }
        }
        TemplateCommand::Inspect(args) => {
            let one = templates.find(&args.name).map_err(told)?;
            let one = One(shown(&templates, one)?);
            output::print(&context.ui, args.output.output, &one)?;
        }
        TemplateCommand::Rm(args) => remove(context, &templates, &args)?,
    }
    Ok(Exit::OK)
}

fn remove(context: &Context, templates: &Templates<'_>, args: &RmArgs) -> Result<()> {
    let mut names = args.names.clone();
    // All names are looked at before the first one goes: a typing error removes nothing.
    let mut failed = None;
    names.retain(|name| match templates.find(name) {
        Ok(_) => true,
        Err(_) if args.ignore_not_found => false,
        Err(error) => {
            failed.get_or_insert(error);
            false
        }
    });
    if let Some(error) = failed {
        return Err(told(error));
    }
    for name in names {
        let removed = match args.force {
            true => templates.discard(&name),
            false => templates.remove(&name),
        };
        removed.map_err(told)?;
        context.ui.status(format!("template {name} is removed"));
    }
    Ok(())
}

fn told(error: vial_engine::Error) -> Error {
    use vial_engine::template::TemplateError;
    let hint = error.hint();
    let code = match &error {
        vial_engine::Error::Template(TemplateError::Unknown { .. }) => Code::NotFound,
        vial_engine::Error::Template(TemplateError::Name { .. }) => Code::BadInput,
        vial_engine::Error::Template(_) => Code::Conflict,
        _ => Code::Failed,
    };
    let message = error.to_string();
    match code {
        Code::Failed => Error::caused(message, error).maybe_hint(hint),
        code => Error::new(code, message).maybe_hint(hint),
    }
}

/// A template, printable.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    created: String,
    cluster: String,
    made: Made,
    kubernetes: String,
    nodes: Vec<String>,
    node_image: String,
    node_image_digest: String,
    /// On disk; what clusters share with it is counted too.
    bytes: u64,
    clusters: Vec<String>,
    ground: Ground,
}

fn shown(templates: &Templates<'_>, template: Template) -> Result<Row> {
    let nodes = template.spec.nodes.iter();
    Ok(Row {
        bytes: bytes_below(&templates.directory(&template.name)),
        clusters: templates.users(&template.name).map_err(told)?,
        nodes: nodes.map(|node| node.name.clone()).collect(),
        node_image: template.spec.node_image.clone(),
        node_image_digest: template.image_digest,
        name: template.name,
        created: template.created,
        cluster: template.cluster,
        made: template.made,
        kubernetes: template.kubernetes,
        ground: template.ground,
    })
}

struct Shown(Vec<Row>);

impl Report for Shown {
    type Data = [Row];

    fn data(&self) -> &[Row] {
        &self.0
    }

    fn text(&self, _wide: bool, ui: &Ui) -> String {
        let now = when::now();
        let head = [
            "NAME",
            "CLUSTER",
            "KUBERNETES",
            "NODES",
            "SIZE",
            "CLUSTERS",
            "AGE",
        ];
        let mut table = Table::new(head);
        for row in &self.0 {
            table.row([
                row.name.as_str().into(),
                match &row.made {
                    Made::Person => row.cluster.as_str().into(),
                    Made::Pristine { .. } => "(pristine)".into(),
                },
                row.kubernetes.as_str().into(),
                row.nodes.len().to_string().into(),
                size(row.bytes).into(),
                row.clusters.join(",").into(),
                when::age(&row.created, now).into(),
            ]);
        }
        table.render(ui.color_out())
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|row| row.name.clone()).collect()
    }
}

struct One(Row);

impl Report for One {
    type Data = Row;

    fn data(&self) -> &Row {
        &self.0
    }

    fn text(&self, _wide: bool, ui: &Ui) -> String {
        let row = &self.0;
        let mut table = Table::new(["FIELD", "VALUE"]);
        let pairs = [
            ("name", row.name.clone()),
            ("created", row.created.clone()),
            ("cluster", row.cluster.clone()),
            ("kubernetes", row.kubernetes.clone()),
            ("nodes", row.nodes.join(", ")),
            ("node image", row.node_image.clone()),
            ("size", size(row.bytes)),
            ("clusters", row.clusters.join(", ")),
            (
                "vial",
                format!("{} ({})", row.ground.vial, row.ground.build),
            ),
            ("kernel", row.ground.kernel.clone()),
            ("processor", row.ground.processor.clone()),
            ("accelerator", row.ground.accelerator.clone()),
        ];
        for (name, value) in pairs {
            table.row([name.into(), value.into()]);
        }
        table.render(ui.color_out())
    }

    fn names(&self) -> Vec<String> {
        vec![self.0.name.clone()]
    }
}
