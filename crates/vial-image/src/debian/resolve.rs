//! Which packages to install: the closure of what is wanted, without recommendations. Pure.
//!
//! ```text
//! wanted + Essential ─► walk Pre-Depends and Depends, first choice first ─► conflicts? ─► order, dependencies first
//!          ▲                      │ a version that was chosen does not fit
//!          └── choose another one ◄┘ (of the dependency, else of the one that depends)
//! ```
//! The first choice of a name is its highest version in the lowest-ranked suites. Another choice is made only where a
//! dependency asks for it, each (package, version) once, so it ends; the result depends on nothing but its input.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::control::Package;
use super::error::DebianError;
use super::relation::{AnyOf, Relation, parse_field};

/// Packages by index in their [`Universe`].
type Id = usize;

/// Everything that could be installed.
#[derive(Debug, Default)]
pub struct Universe {
    packages: Vec<Package>,
    /// Of each package: the rank and the number of its suite.
    origins: Vec<(u8, usize)>,
    by_name: HashMap<String, Vec<Id>>,
    providers: HashMap<String, Vec<Id>>,
}

impl Universe {
    /// Adds what a suite offers. `rank` as in [`super::Suite::rank`]; `suite` is handed back by [`Universe::suite`].
    pub fn add(&mut self, rank: u8, suite: usize, packages: impl IntoIterator<Item = Package>) {
        for package in packages {
            let id = self.packages.len();
            let named = self.by_name.entry(package.name.clone()).or_default();
            // trixie-updates and trixie often hold the same version.
            if named
                .iter()
                .any(|other| self.packages[*other].sha256 == package.sha256)
            {
                continue;
            }
            named.push(id);
            for provided in &package.provides {
                self.providers
                    .entry(provided.name.clone())
                    .or_default()
                    .push(id);
            }
            self.packages.push(package);
            self.origins.push((rank, suite));
        }
        let (packages, origins) = (&self.packages, &self.origins);
        let rank_then_newest = |a: &Id, b: &Id| {
            origins[*a]
                .0
                .cmp(&origins[*b].0)
                .then_with(|| packages[*b].version.cmp(&packages[*a].version))
        };
        for ids in self.by_name.values_mut() {
            ids.sort_by(rank_then_newest);
        }
        for ids in self.providers.values_mut() {
            ids.sort_by(|a, b| {
                let key = |id: &Id| (origins[*id].0, packages[*id].priority);
                key(a)
                    .cmp(&key(b))
                    .then_with(|| packages[*a].name.cmp(&packages[*b].name))
                    .then_with(|| rank_then_newest(a, b))
            });
        }
    }

    /// Refuses a wanted package that no suite has or provides; `suite` names them in the error.
    pub fn require(&self, wanted: &str, suite: &str) -> Result<(), DebianError> {
        let bad = |reason| DebianError::BadPackage {
            text: wanted.to_owned(),
            reason,
        };
        for any in parse_field(wanted).map_err(bad)? {
            let known = |relation: &Relation| {
                self.by_name.contains_key(&relation.name)
                    || self.providers.contains_key(&relation.name)
            };
            if !any.0.iter().any(known) {
                return Err(DebianError::NoPackage {
                    near: self.near(&any.0[0].name),
                    package: any.to_string(),
                    suite: suite.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// At most three names that look like this one, the nearest first.
    fn near(&self, name: &str) -> Vec<String> {
        let mut near: Vec<(f64, &String)> = self
            .by_name
            .keys()
            .map(|known| (strsim::jaro_winkler(name, known), known))
            .filter(|(likeness, _)| *likeness > 0.85)
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        near.truncate(3);
        near.into_iter().map(|(_, known)| known.clone()).collect()
    }

    /// A package of a [`Solution`].
    pub fn package(&self, id: usize) -> &Package {
        &self.packages[id]
    }

    /// The number its suite was added with.
    pub fn suite(&self, id: usize) -> usize {
        self.origins[id].1
    }
}

/// What to install.
#[derive(Debug, Clone, Default)]
pub struct Request<'a> {
    /// Relations as in a Depends field: `"criu (>= 4.2.1)"`.
    pub wanted: &'a [&'a str],
    /// Whether the Essential packages come along.
    pub essential: bool,
    /// Names that are never chosen, though something may depend on one of them as an alternative.
    pub excluded: &'a [&'a str],
    /// Names that count as installed, in any version.
    pub assumed: &'a [&'a str],
    /// What is there already, from an earlier solution over the same universe; it stays as it is.
    pub installed: &'a [usize],
}

/// One package to install.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// Which.
    pub id: usize,
    /// Whether the Essential packages need it: those are unpacked before dpkg can run.
    pub bootstrap: bool,
}

/// Packages to install, each after those it depends on as far as there is such an order.
pub type Solution = Vec<Chosen>;

/// Finds the packages to install.
pub fn resolve(universe: &Universe, request: &Request<'_>) -> Result<Solution, DebianError> {
    let mut wanted = Vec::new();
    for text in request.wanted {
        wanted.extend(
            parse_field(text)
                .map_err(|reason| DebianError::malformed("the package list", reason))?,
        );
    }
    let mut solver = Solver {
        universe,
        request,
        wanted,
        forced: BTreeMap::new(),
        tried: BTreeSet::new(),
    };
    loop {
        match solver.walk()? {
            Walk::Done(chosen) => {
                solver.check_conflicts(&chosen)?;
                return Ok(solver.order(&chosen));
            }
            Walk::Again => {}
        }
    }
}

/// Chosen packages by name.
type Choice<'a> = BTreeMap<&'a str, Id>;

enum Walk<'a> {
    Done(Choice<'a>),
    Again,
}

struct Solver<'a> {
    universe: &'a Universe,
    request: &'a Request<'a>,
    wanted: Vec<AnyOf>,
    /// Choices that are not the first one of their name.
    forced: BTreeMap<&'a str, Id>,
    tried: BTreeSet<Id>,
}

impl<'a> Solver<'a> {
    fn package(&self, id: Id) -> &'a Package {
        &self.universe.packages[id]
    }

    /// Candidates of a name that may be chosen, best first.
    fn candidates(&self, name: &str) -> impl Iterator<Item = Id> + use<'a> {
        let usable = !self.request.excluded.contains(&name);
        let universe = self.universe;
        universe
            .by_name
            .get(name)
            .filter(|_| usable)
            .into_iter()
            .flatten()
            .copied()
    }

    /// The choice for a name when nothing has been said about its version.
    fn favourite(&self, name: &str) -> Option<Id> {
        self.forced
            .get(name)
            .copied()
            .or_else(|| self.candidates(name).next())
    }

    fn satisfied(&self, any: &AnyOf, chosen: &Choice<'_>) -> bool {
        self.satisfier(any, chosen).is_some()
            || any
                .0
                .iter()
                .any(|relation| self.request.assumed.contains(&relation.name.as_str()))
    }

    fn satisfier(&self, any: &AnyOf, chosen: &Choice<'_>) -> Option<Id> {
        any.0.iter().find_map(|relation| {
            let named = chosen
                .get(relation.name.as_str())
                .copied()
                .filter(|id| self.package(*id).satisfies(relation));
            named.or_else(|| {
                let providers = self.universe.providers.get(&relation.name)?;
                providers.iter().copied().find(|id| {
                    chosen.get(self.package(*id).name.as_str()) == Some(id)
                        && self.package(*id).provides_for(relation)
                })
            })
        })
    }

    fn walk(&mut self) -> Result<Walk<'a>, DebianError> {
        let mut chosen: Choice<'a> = self
            .request
            .installed
            .iter()
            .map(|id| (self.package(*id).name.as_str(), *id))
            .collect();
        let mut queue: VecDeque<(AnyOf, Option<Id>)> = VecDeque::new();
        if self.request.essential {
            let mut names: Vec<_> = self
                .universe
                .packages
                .iter()
                .filter(|package| package.essential)
                .map(|package| package.name.as_str())
                .collect();
            names.sort_unstable();
            names.dedup();
            // Essential in one suite need not be so in the preferred one.
            names.retain(|name| {
                self.favourite(name).is_some_and(|id| {
                    self.package(id).essential && self.universe.origins[id].0 == 0
                })
            });
            queue.extend(names.into_iter().map(|name| {
                (
                    AnyOf(vec![Relation {
                        name: name.to_owned(),
                        bound: None,
                    }]),
                    None,
                )
            }));
        }
        queue.extend(self.wanted.iter().cloned().map(|any| (any, None)));
        while let Some((any, needed_by)) = queue.pop_front() {
            if self.satisfied(&any, &chosen) {
                continue;
            }
            match self.pick(&any, &chosen) {
                Some(id) => {
                    let package = self.package(id);
                    chosen.insert(&package.name, id);
                    queue.extend(package.depends.iter().cloned().map(|any| (any, Some(id))));
                }
                None => {
                    self.repair(&any, needed_by, &chosen)?;
                    return Ok(Walk::Again);
                }
            }
        }
        Ok(Walk::Done(chosen))
    }

    /// A package to add for the relation, of a name that is not chosen yet.
    fn pick(&self, any: &AnyOf, chosen: &Choice<'_>) -> Option<Id> {
        any.0.iter().find_map(|relation| {
            let free = |id: &Id| {
                let package = self.package(*id);
                !chosen.contains_key(package.name.as_str())
                    && !self.request.excluded.contains(&package.name.as_str())
                    && self
                        .forced
                        .get(package.name.as_str())
                        .is_none_or(|forced| forced == id)
            };
            let named = self
                .candidates(&relation.name)
                .find(|id| free(id) && relation.admits(&self.package(*id).version));
            named.or_else(|| {
                let providers = self.universe.providers.get(&relation.name)?;
                providers
                    .iter()
                    .copied()
                    .find(|id| free(id) && self.package(*id).provides_for(relation))
            })
        })
    }

    /// Forces another version of the dependency, or else of the package that depends.
    fn repair(
        &mut self,
        any: &AnyOf,
        needed_by: Option<Id>,
        chosen: &Choice<'a>,
    ) -> Result<(), DebianError> {
        let mut reasons = Vec::new();
        let mut other = None;
        for relation in &any.0 {
            let current = chosen
                .get(relation.name.as_str())
                .copied()
                .or_else(|| self.forced.get(relation.name.as_str()).copied());
            match current {
                Some(id) => reasons.push(format!(
                    "{} {} is chosen",
                    relation.name,
                    self.package(id).version
                )),
                None if self.request.excluded.contains(&relation.name.as_str()) => {
                    reasons.push(format!("{} is excluded", relation.name))
                }
                None => match self.favourite(&relation.name) {
                    Some(id) => reasons.push(format!(
                        "there is only {} {}",
                        relation.name,
                        self.package(id).version
                    )),
                    None => reasons.push(format!("there is no {}", relation.name)),
                },
            }
            let fits = |id: &Id| {
                relation.admits(&self.package(*id).version)
                    && self.is_new(*id)
                    && self.suits_all(*id, chosen)
            };
            other = other.or_else(|| self.candidates(&relation.name).find(fits));
        }
        if other.is_none()
            && let Some(dependant) = needed_by
        {
            other = self
                .candidates(&self.package(dependant).name)
                .find(|id| *id != dependant && self.is_new(*id) && self.suits_all(*id, chosen));
        }
        match other {
            Some(id) => {
                self.forced.insert(&self.package(id).name, id);
                self.tried.insert(id);
                Ok(())
            }
            None => Err(DebianError::Unsatisfied {
                relation: any.to_string(),
                needed_by: needed_by.map_or_else(
                    || "the package list".to_owned(),
                    |id| format!("{} {}", self.package(id).name, self.package(id).version),
                ),
                reason: reasons.join(", "),
            }),
        }
    }

    /// Neither tried before nor in the way of what is installed.
    fn is_new(&self, id: Id) -> bool {
        let name = &self.package(id).name;
        !self.tried.contains(&id)
            && !self
                .request
                .installed
                .iter()
                .any(|installed| self.package(*installed).name == *name)
    }

    /// Whether everything that is chosen and depends on the package's name could live with this version of it.
    fn suits_all(&self, id: Id, chosen: &Choice<'a>) -> bool {
        let name = self.package(id).name.as_str();
        let mut changed = chosen.clone();
        changed.insert(name, id);
        chosen
            .iter()
            .filter(|(other, _)| **other != name)
            .all(|(_, other)| {
                let about = |any: &&AnyOf| any.0.iter().any(|relation| relation.name == name);
                let depends = &self.package(*other).depends;
                depends
                    .iter()
                    .filter(about)
                    .all(|any| self.satisfied(any, &changed) || !self.satisfied(any, chosen))
            })
    }

    fn check_conflicts(&self, chosen: &Choice<'_>) -> Result<(), DebianError> {
        for (name, id) in chosen {
            for relation in &self.package(*id).conflicts {
                let hit = chosen.iter().find(|(other, other_id)| {
                    *other != name && self.package(**other_id).satisfies(relation)
                });
                if let Some((other, _)) = hit {
                    return Err(DebianError::Conflict {
                        package: (*name).to_owned(),
                        other: (*other).to_owned(),
                        relation: relation.to_string(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Dependencies first; in a circle, where the names' order says.
    fn order(&self, chosen: &Choice<'_>) -> Solution {
        let mut visit = Visit {
            solver: self,
            chosen,
            seen: self.request.installed.iter().copied().collect(),
            order: Vec::new(),
        };
        for (_, id) in chosen
            .iter()
            .filter(|(_, id)| self.package(**id).essential && self.request.essential)
        {
            visit.visit(*id);
        }
        let bootstrap = visit.order.len();
        for id in chosen.values() {
            visit.visit(*id);
        }
        visit
            .order
            .iter()
            .enumerate()
            .map(|(index, id)| Chosen {
                id: *id,
                bootstrap: index < bootstrap,
            })
            .collect()
    }
}

struct Visit<'s, 'a> {
    solver: &'s Solver<'a>,
    chosen: &'s Choice<'s>,
    seen: BTreeSet<Id>,
    order: Vec<Id>,
}

impl Visit<'_, '_> {
    fn visit(&mut self, id: Id) {
        if !self.seen.insert(id) {
            return;
        }
        for any in &self.solver.package(id).depends {
            if let Some(dependency) = self.solver.satisfier(any, self.chosen) {
                self.visit(dependency);
            }
        }
        self.order.push(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debian::control::packages;

    /// `name version; Field: value; …` lines, as a suite's packages.
    fn suite(text: &str) -> Vec<Package> {
        let mut index = String::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let mut parts = line.split("; ");
            let (name, version) = parts.next().unwrap().split_once(' ').unwrap();
            index += &format!(
                "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: {name}.deb\nSize: 1\nSHA256: {name}{version}\n"
            );
            parts.for_each(|field| index += &format!("{field}\n"));
            index += "\n";
        }
        packages("test", &index).unwrap()
    }

    fn universe(stable: &str, unstable: &str) -> Universe {
        let mut universe = Universe::default();
        universe.add(0, 0, suite(stable));
        universe.add(1, 1, suite(unstable));
        universe
    }

    fn names(universe: &Universe, solution: &Solution) -> String {
        let name = |chosen: &Chosen| {
            format!(
                "{} {}",
                universe.package(chosen.id).name,
                universe.package(chosen.id).version
            )
        };
        solution.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    fn solve(universe: &Universe, request: &Request<'_>) -> String {
        match resolve(universe, request) {
            Ok(solution) => names(universe, &solution),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn takes_the_closure_dependencies_first() {
        let universe = universe(
            "a 1; Depends: c, b (>= 1)\nb 2; Pre-Depends: c\nc 3; Depends: a\nd 4; Depends: a",
            "",
        );
        assert_eq!(
            solve(
                &universe,
                &Request {
                    wanted: &["a"],
                    ..Request::default()
                }
            ),
            "c 3, b 2, a 1"
        );
    }

    #[test]
    fn takes_the_newest_of_a_rank_but_not_of_a_higher_one() {
        let mut universe = universe("a 1", "a 9");
        universe.add(0, 2, suite("a 2"));
        let solution = resolve(
            &universe,
            &Request {
                wanted: &["a"],
                ..Request::default()
            },
        )
        .unwrap();
        assert_eq!(
            (
                names(&universe, &solution).as_str(),
                universe.suite(solution[0].id)
            ),
            ("a 2", 2)
        );
    }

    #[test]
    fn another_suite_gives_only_what_is_missing() {
        // CRIU and libnl of 2026: the new library drags along its sister, which insists on the same version.
        let stable = "libc6 2.41\nlibnl 3.7; Depends: libc6\nlibnl-route 3.7; Depends: libnl (= 3.7)\ntool 1; Depends: libnl-route\ncriu 4.1; Depends: libnl";
        let unstable = "libc6 2.42\nlibnl 3.12; Depends: libc6 (>= 2.38)\nlibnl-route 3.12; Depends: libnl (= 3.12)\ntool 2\ncriu 4.2.1; Depends: libnl (>= 3.11)";
        let universe = universe(stable, unstable);
        for wanted in [["tool", "criu (>= 4.2.1)"], ["criu (>= 4.2.1)", "tool"]] {
            let result = solve(
                &universe,
                &Request {
                    wanted: &wanted,
                    ..Request::default()
                },
            );
            assert_eq!(
                result,
                "libc6 2.41, libnl 3.12, criu 4.2.1, libnl-route 3.12, tool 1"
            );
        }
    }

    #[test]
    fn a_layer_keeps_what_is_installed() {
        let universe = universe(
            "libnl 3.7\nlibnl-route 3.7; Depends: libnl (= 3.7)\nqemu 10; Depends: libnl-route",
            "libnl 3.12\nlibnl-route 3.12; Depends: libnl (= 3.12)",
        );
        let base = resolve(
            &universe,
            &Request {
                wanted: &["libnl (>= 3.12)"],
                ..Request::default()
            },
        )
        .unwrap();
        let installed: Vec<_> = base.iter().map(|chosen| chosen.id).collect();
        assert_eq!(
            solve(
                &universe,
                &Request {
                    wanted: &["qemu"],
                    installed: &installed,
                    ..Request::default()
                }
            ),
            "libnl-route 3.12, qemu 10"
        );
        let clash = Request {
            wanted: &["libnl (<< 3.12)"],
            installed: &installed,
            ..Request::default()
        };
        assert_eq!(
            solve(&universe, &clash),
            "cannot satisfy libnl (<< 3.12), needed by the package list: libnl 3.12 is chosen"
        );
    }

    #[test]
    fn alternatives_and_providers() {
        let stable = "ssh 1; Depends: systemd | standalone | sysusers, mta\nsystemd 1; Provides: sysusers\nstandalone 1; Provides: sysusers\n\
            exim 1; Provides: mta\npostfix 1; Provides: mta; Priority: important\ndebconf 1; Provides: debconf-2.0 (= 2)\nx 1; Depends: debconf-2.0 (>= 2)";
        let universe = universe(stable, "");
        let request = Request {
            wanted: &["ssh"],
            excluded: &["systemd"],
            ..Request::default()
        };
        assert_eq!(solve(&universe, &request), "postfix 1, standalone 1, ssh 1");
        assert_eq!(
            solve(
                &universe,
                &Request {
                    wanted: &["exim", "ssh"],
                    ..request.clone()
                }
            ),
            "exim 1, standalone 1, ssh 1"
        );
        assert_eq!(
            solve(
                &universe,
                &Request {
                    wanted: &["x"],
                    ..Request::default()
                }
            ),
            "debconf 1, x 1"
        );
        assert_eq!(
            solve(
                &universe,
                &Request {
                    wanted: &["ssh"],
                    assumed: &["mta", "systemd"],
                    ..Request::default()
                }
            ),
            "ssh 1"
        );
    }

    #[test]
    fn essentials_come_first_and_are_marked() {
        let universe = universe(
            "base 1; Essential: yes; Depends: libc\nlibc 1\nabc 1; Depends: libc",
            "odd 1; Essential: yes",
        );
        let solution = resolve(
            &universe,
            &Request {
                wanted: &["abc"],
                essential: true,
                ..Request::default()
            },
        )
        .unwrap();
        assert_eq!(names(&universe, &solution), "libc 1, base 1, abc 1");
        assert_eq!(
            solution
                .iter()
                .map(|chosen| chosen.bootstrap)
                .collect::<Vec<_>>(),
            [true, true, false]
        );
    }

    #[test]
    fn says_what_is_missing_and_for_whom() {
        let universe = universe(
            "a 1; Depends: b (>= 2) | c\nb 1\nx 1; Conflicts: y\ny 2; Provides: z\nw 1; Breaks: z",
            "",
        );
        assert_eq!(
            solve(
                &universe,
                &Request {
                    wanted: &["a"],
                    ..Request::default()
                }
            ),
            "cannot satisfy b (>= 2) | c, needed by a 1: there is only b 1, there is no c"
        );
        assert_eq!(
            solve(
                &universe,
                &Request {
                    wanted: &["x", "y"],
                    ..Request::default()
                }
            ),
            "x cannot be installed with y: it declares \"y\""
        );
        assert_eq!(
            solve(
                &universe,
                &Request {
                    wanted: &["w", "y"],
                    ..Request::default()
                }
            ),
            "w cannot be installed with y: it declares \"z\""
        );
    }
}
