//! `-o table|wide|json|yaml|name`: one answer in the form that is wanted.

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::error::{Code, Error, Result};
use crate::ui::Ui;

/// The form of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// More columns.
    Wide,
    /// JSON for programs.
    Json,
    /// YAML.
    Yaml,
    /// Only names, one a line.
    Name,
}

/// The flag, for commands that print data.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OutputArgs {
    /// How to print the answer
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        value_enum,
        default_value_t
    )]
    pub(crate) output: Format,
}

/// Something that can be printed in every [`Format`].
pub(crate) trait Report {
    /// What JSON and YAML show.
    type Data: Serialize + ?Sized;

    /// For programs.
    fn data(&self) -> &Self::Data;
    /// For people.
    fn text(&self, wide: bool, ui: &Ui) -> String;
    /// The names of what is shown.
    fn names(&self) -> Vec<String>;
}

/// Prints `report` to standard output.
pub(crate) fn print<R: Report>(ui: &Ui, format: Format, report: &R) -> Result<()> {
    match format {
        Format::Table => ui.data(report.text(false, ui)),
        Format::Wide => ui.data(report.text(true, ui)),
        Format::Json => ui.data(json(report.data())?),
        Format::Yaml => ui.data(yaml(report.data())?),
        Format::Name => ui.data(
            report
                .names()
                .iter()
                .map(|name| format!("{name}\n"))
                .collect::<String>(),
        ),
    }
}

/// Pretty JSON, closed by a newline.
pub(crate) fn json(data: &(impl Serialize + ?Sized)) -> Result<String> {
    serde_json::to_string_pretty(data)
        .map(|text| text + "\n")
        .map_err(|error| {
            Error::caused("cannot write the answer as JSON", error).with_code(Code::Failed)
        })
}

/// YAML, closed by a newline.
pub(crate) fn yaml(data: &(impl Serialize + ?Sized)) -> Result<String> {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    let mut text = serde_saphyr::to_string_with_options(&data, options).map_err(|error| {
        Error::caused("cannot write the answer as YAML", error).with_code(Code::Failed)
    })?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}
