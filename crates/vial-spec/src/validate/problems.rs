//! Everything that is wrong with a file, collected.

use std::cell::OnceCell;
use std::fmt;

use super::FieldPath;
use crate::file::{Places, Source};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which field, or which argument of the command line; empty for the whole file.
    pub path: String,
    /// Line and column of the field (from 1), where it is written in a file.
    pub position: Option<(u64, u64)>,
    /// What is wrong.
    pub message: String,
    /// What was probably meant, or the next step.
    pub hint: Option<String>,
}

/// A file that cannot be a cluster; its text names every problem, each on a line of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationErrors {
    /// What was read: `vial.yaml`; empty when there was no file.
    pub origin: String,
    /// At least one, in the order of the text: of arguments first.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ValidationErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            if let Some((line, column)) = problem.position {
                write!(f, "{}:{line}:{column}: ", self.origin)?;
            }
            if !problem.path.is_empty() {
                write!(f, "{}: ", problem.path)?;
            }
            f.write_str(&problem.message)?;
            if let Some(hint) = &problem.hint {
                write!(f, "; {hint}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ValidationErrors {}

/// Collects problems while a file is checked.
pub(super) struct Problems {
    source: Source,
    places: OnceCell<Places>,
    list: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(source: Source) -> Self {
        Problems {
            source,
            places: OnceCell::new(),
            list: Vec::new(),
        }
    }

    /// Notes what is wrong with a field.
    pub(super) fn add(&mut self, path: &FieldPath, message: impl Into<String>) {
        self.add_hint(path, message, None);
    }

    /// Notes what is wrong with a field, and what was meant.
    pub(super) fn add_hint(
        &mut self,
        path: &FieldPath,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        let places = self.places.get_or_init(|| self.source.places());
        let position = places.find(path).map(|at| (at.line, at.column));
        let problem = Problem {
            path: path.to_string(),
            position,
            message: message.into(),
            hint,
        };
        // What a group says is looked at once for each of its nodes.
        if !self.list.contains(&problem) {
            self.list.push(problem);
        }
    }

    /// The result, if nothing was noted.
    pub(super) fn into_result<T>(mut self, result: T) -> Result<T, ValidationErrors> {
        if self.list.is_empty() {
            return Ok(result);
        }
        self.list.sort_by_key(|problem| problem.position);
        Err(ValidationErrors {
            origin: self.source.origin,
            problems: self.list,
        })
    }
}
