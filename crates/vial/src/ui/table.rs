//! Tables in plain columns, two spaces apart: easy to read, easy to cut.

use super::Style;

/// One cell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A cell with a meaning.
    pub(crate) fn new(text: impl Into<String>, style: Style) -> Self {
        Self {
            text: text.into(),
            style,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Style::Plain)
    }
}

/// A head and rows. Empty cells are shown as `-`, so that columns stay countable for `awk`.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<Cell>>,
    widths: Vec<usize>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new<const N: usize>(head: [&str; N]) -> Self {
        Self {
            widths: head.iter().map(|name| name.chars().count()).collect(),
            head: head.iter().map(ToString::to_string).collect(),
            rows: Vec::new(),
        }
    }

    /// Makes columns at least this wide, for tables that are printed row by row.
    pub(crate) fn at_least<const N: usize>(mut self, widths: [usize; N]) -> Self {
        for (width, least) in self.widths.iter_mut().zip(widths) {
            *width = (*width).max(least);
        }
        self
    }

    /// Leaves out all but the first `columns`.
    pub(crate) fn first(mut self, columns: usize) -> Self {
        self.head.truncate(columns);
        self.widths.truncate(columns);
        self
    }

    /// As many columns as these, known only now.
    pub(crate) fn of(head: Vec<String>) -> Self {
        Self {
            widths: head.iter().map(|name| name.chars().count()).collect(),
            head,
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.cells(cells.into());
    }

    /// As [`row`](Self::row), for [`of`](Self::of).
    pub(crate) fn cells(&mut self, cells: Vec<Cell>) {
        for (width, cell) in self.widths.iter_mut().zip(&cells) {
            *width = (*width).max(cell.text.chars().count().max(1));
        }
        self.rows.push(cells);
    }

    /// Has no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The head and all rows, each line closed by a newline.
    pub(crate) fn render(&self, color: bool) -> String {
        let head: Vec<Cell> = self
            .head
            .iter()
            .map(|name| Cell::new(name.clone(), Style::Dim))
            .collect();
        std::iter::once(&head)
            .chain(&self.rows)
            .map(|row| self.line(row, color))
            .collect()
    }

    /// Only the head.
    pub(crate) fn render_head(&self, color: bool) -> String {
        Self {
            rows: Vec::new(),
            ..self.clone()
        }
        .render(color)
    }

    /// One row by itself, in the columns as they are now.
    pub(crate) fn render_row<const N: usize>(&self, cells: [Cell; N], color: bool) -> String {
        self.line(&cells, color)
    }

    fn line(&self, cells: &[Cell], color: bool) -> String {
        let mut line = String::new();
        let mut gap = 0;
        for (cell, width) in cells.iter().zip(&self.widths) {
            let text = if cell.text.is_empty() {
                "-"
            } else {
                &cell.text
            };
            line.extend(std::iter::repeat_n(' ', gap));
            line.push_str(&cell.style.paint(text, color));
            // The gap is written before the next cell only: no line ends in spaces.
            gap = width.saturating_sub(text.chars().count()) + 2;
        }
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["NAME", "STATE", "NOTE"]);
        table.row(["w-1".into(), Cell::new("ready", Style::Good), "".into()]);
        table.row(["control-plane".into(), "x".into(), "in Zürich".into()]);
        table
    }

    #[test]
    fn columns_line_up_and_no_line_ends_in_spaces() {
        insta::assert_snapshot!(table().render(false), @r"
        NAME           STATE  NOTE
        w-1            ready  -
        control-plane  x      in Zürich
        ");
        assert!(
            table()
                .render(false)
                .lines()
                .all(|line| line == line.trim_end())
        );
    }

    #[test]
    fn colour_changes_no_column() {
        let painted = table().render(true);
        assert!(painted.contains("\x1b[32mready\x1b[0m"));
        let stripped = ["2", "32", "0"].iter().fold(painted, |text, code| {
            text.replace(&format!("\x1b[{code}m"), "")
        });
        assert_eq!(stripped, table().render(false));
    }

    #[test]
    fn rows_printed_one_by_one_keep_the_columns() {
        let table = Table::new(["A", "B"]).at_least([6, 0]);
        let text = table.render_head(false) + &table.render_row(["ab".into(), "c".into()], false);
        assert_eq!(text, "A       B\nab      c\n");
    }
}
