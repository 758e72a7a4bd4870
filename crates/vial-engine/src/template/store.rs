//! All templates of a home.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::Template;
use crate::paths::{Paths, private_dir};
use crate::record::{self, Record, write_private};
use crate::{Error, Result};

/// In a template's directory.
const MANIFEST: &str = "template.json";
/// Between the name of a template and a number, while it is made.
const ASIDE: &str = ".new-";
/// Held by who makes it, in its directory.
const HELD: &str = ".held";

/// Why something cannot be done with a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// There is none of that name.
    #[error("there is no template {name:?}")]
    Unknown {
        /// The name.
        name: String,
        /// Those that there are.
        names: Vec<String>,
    },
    /// There is one of that name.
    #[error("there is a template {name:?} already")]
    Exists {
        /// The name.
        name: String,
    },
    /// Clusters share its files.
    #[error("template {name} is in use: {}", clusters.join(", "))]
    InUse {
        /// The name.
        name: String,
        /// Of the clusters.
        clusters: Vec<String>,
    },
    /// Its name cannot be one.
    #[error("{name:?} cannot be the name of a template: {why}")]
    Name {
        /// What was given.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

impl TemplateError {
    /// The next step.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { name, names } => Some(
                vial_spec::names::did_you_mean(name, names).unwrap_or_else(|| {
                    match names.as_slice() {
                        [] => "`vial freeze` makes one of a cluster".to_owned(),
                        names => format!("there are {}", names.join(", ")),
                    }
                }),
            ),
            Self::Exists { name } => Some(format!(
                "--replace takes its place; `vial template rm {name}` removes it"
            )),
            Self::InUse { clusters, .. } => {
                Some(format!("`vial down {}` first", clusters.join(" ")))
            }
            Self::Name { .. } => None,
        }
    }
}

/// Finds, makes and removes templates.
#[derive(Debug, Clone)]
pub struct Templates<'a> {
    paths: &'a Paths,
}

impl<'a> Templates<'a> {
    /// Those of a home.
    #[must_use]
    pub fn of(paths: &'a Paths) -> Self {
        Self { paths }
    }

    /// Where one lies, or would lie.
    #[must_use]
    pub fn directory(&self, name: &str) -> PathBuf {
        self.paths.templates_dir().join(name)
    }

    /// Its manifest, which is there when it is whole.
    pub(super) fn manifest(&self, name: &str) -> PathBuf {
        self.directory(name).join(MANIFEST)
    }

    /// All that are whole and can be read, by name.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self) -> Result<Vec<Template>> {
        let dir = self.paths.templates_dir();
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::file("read", &dir)(error)),
        };
        let names = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        // One that is being removed is not whole.
        Ok(names
            .iter()
            .filter_map(|name| self.read(name).ok())
            .collect())
    }

    fn read(&self, name: &str) -> Result<Template> {
        let path = self.manifest(name);
        let bytes = fs::read(&path).map_err(Error::file("read", &path))?;
        serde_json::from_slice(&bytes).map_err(|source| Error::Damaged { path, source })
    }

    /// The one of that name.
    ///
    /// # Errors
    /// [`TemplateError::Unknown`]; or when it cannot be read.
    pub fn find(&self, name: &str) -> Result<Template> {
        check(name)?;
        if self.manifest(name).is_file() {
            return self.read(name);
        }
        let names = self.list()?.into_iter().map(|template| template.name);
        Err(Error::Template(TemplateError::Unknown {
            name: name.to_owned(),
            names: names.collect(),
        }))
    }

    /// The clusters that go on from it.
    ///
    /// # Errors
    /// When the clusters cannot be listed.
    pub fn users(&self, name: &str) -> Result<Vec<String>> {
        let of_it = |cluster: &String| {
            // A damaged record may say anything.
            let record = Record::load(self.paths, cluster).ok().flatten();
            record.is_none_or(|record| record.template.as_deref() == Some(name))
        };
        Ok(record::names(self.paths)?
            .into_iter()
            .filter(of_it)
            .collect())
    }

    /// Removes one. What was cut off is completed by the next try.
    ///
    /// # Errors
    /// When there is none, or clusters go on from it.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.find(name)?;
        let clusters = self.users(name)?;
        if !clusters.is_empty() {
            let name = name.to_owned();
            return Err(Error::Template(TemplateError::InUse { name, clusters }));
        }
        self.discard(name)
    }

    /// Removes one, whoever goes on from it: clusters have what they need of it under names of their own.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn discard(&self, name: &str) -> Result<()> {
        let directory = self.directory(name);
        // From here on nobody finds it.
        remove_file(&self.manifest(name))?;
        remove_all(&directory)
    }

    /// Begins to make one. What cuts have left is removed first.
    ///
    /// # Errors
    /// [`TemplateError::Exists`] unless it may take the place of another.
    pub fn make(&self, name: &str, replace: bool) -> Result<Making<'a>> {
        check(name)?;
        if !replace && self.manifest(name).is_file() {
            let name = name.to_owned();
            return Err(Error::Template(TemplateError::Exists { name }));
        }
        let dir = self.paths.templates_dir();
        private_dir(&dir).map_err(Error::file("make", &dir))?;
        self.sweep(&dir)?;
        let made = tempfile::Builder::new()
            .prefix(&format!(".{name}{ASIDE}"))
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .tempdir_in(&dir)
            .map_err(Error::file("make a directory in", &dir))?;
        let held = made.path().join(HELD);
        let lock = File::create(&held).and_then(|file| file.lock().map(|()| file));
        Ok(Making {
            templates: self.clone(),
            name: name.to_owned(),
            lock: lock.map_err(Error::file("lock", &held))?,
            directory: made,
        })
    }

    /// Removes what nobody makes any more.
    fn sweep(&self, dir: &Path) -> Result<()> {
        let entries = fs::read_dir(dir).map_err(Error::file("read", dir))?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let rest = name.to_string_lossy();
            if !rest.starts_with('.') || !rest.contains(ASIDE) {
                continue;
            }
            // Between the directory and its lock there is a moment; a directory that is being made is empty then.
            let held = File::open(entry.path().join(HELD));
            let free = held.as_ref().is_ok_and(|file| file.try_lock().is_ok());
            if free {
                remove_all(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// A template that is being made; gone again when this is dropped.
#[derive(Debug)]
pub struct Making<'a> {
    templates: Templates<'a>,
    name: String,
    lock: File,
    directory: tempfile::TempDir,
}

impl Making<'_> {
    /// What is to be in the directory of each new cluster.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn cluster(&self) -> Result<PathBuf> {
        self.part("cluster")
    }

    /// The processes.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn frozen(&self) -> Result<PathBuf> {
        self.part("frozen")
    }

    fn part(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.path().join(name);
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(Error::file("make", &path)(error))
            }
            _ => Ok(path),
        }
    }

    /// It is whole from here on.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self, template: &Template) -> Result<()> {
        let aside = self.directory.path();
        let manifest = aside.join(MANIFEST);
        let text = serde_json::to_vec_pretty(template).map_err(|source| Error::Damaged {
            path: manifest.clone(),
            source,
        })?;
        write_private(&manifest, &text)?;
        remove_file(&aside.join(HELD))?;
        let directory = self.templates.directory(&self.name);
        if directory.exists() {
            self.templates.discard(&self.name)?;
        }
        fs::rename(aside, &directory).map_err(Error::file("write", &directory))?;
        // It has another name now.
        let _ = self.directory.keep();
        drop(self.lock);
        Ok(())
    }
}

/// A name is one of a cluster: it stands in paths and in commands.
fn check(name: &str) -> Result<()> {
    vial_spec::names::check_cluster(name).map_err(|why| {
        Error::Template(TemplateError::Name {
            name: name.to_owned(),
            why: why.to_string(),
        })
    })
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn remove_all(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}
