//! Relations between packages: `libc6 (>= 2.38), debconf (>= 0.5) | debconf-2.0`.
//!
//! The form is that of Debian Policy 7.1, as it occurs in binary package indices: no architecture or profile lists there.

use std::fmt;

use super::version::Version;

/// How a version must stand to the one in the relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`
    LaterOrEqual,
    /// `>>`
    Later,
}

impl Operator {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "<<" => Self::Earlier,
            // Policy 7.1: a lone "<" or ">" is the obsolete form of "<=" and ">=".
            "<=" | "<" => Self::EarlierOrEqual,
            "=" => Self::Equal,
            ">=" | ">" => Self::LaterOrEqual,
            ">>" => Self::Later,
            _ => return None,
        })
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        }
    }
}

/// One package name, perhaps with a bound on its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Without an architecture qualifier (`python3:any` is `python3` here: one architecture is installed).
    pub name: String,
    /// `None`: any version.
    pub bound: Option<(Operator, Version)>,
}

impl Relation {
    /// Whether this version is within the bound.
    pub fn admits(&self, version: &Version) -> bool {
        match &self.bound {
            None => true,
            Some((Operator::Earlier, bound)) => version < bound,
            Some((Operator::EarlierOrEqual, bound)) => version <= bound,
            Some((Operator::Equal, bound)) => version == bound,
            Some((Operator::LaterOrEqual, bound)) => version >= bound,
            Some((Operator::Later, bound)) => version > bound,
        }
    }

    /// Reads `name[:qualifier] [(operator version)]`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("\"{text}\" is not a relation");
        let (name, rest) = match text.split_once('(') {
            Some((name, rest)) => (
                name,
                Some(rest.trim_end().strip_suffix(')').ok_or_else(bad)?),
            ),
            None => (text, None),
        };
        let name = name.trim();
        let name = name.split_once(':').map_or(name, |(name, _)| name);
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(bad());
        }
        let bound = match rest {
            None => None,
            Some(rest) => {
                let rest = rest.trim();
                let end = rest
                    .find(|c| !matches!(c, '<' | '=' | '>'))
                    .ok_or_else(bad)?;
                let operator = Operator::parse(&rest[..end]).ok_or_else(bad)?;
                Some((operator, Version::new(rest[end..].trim())))
            }
        };
        Ok(Self {
            name: name.to_owned(),
            bound,
        })
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some((operator, version)) = &self.bound {
            write!(f, " ({} {version})", operator.as_str())?;
        }
        Ok(())
    }
}

/// Alternatives, of which one is enough: `a | b`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnyOf(pub Vec<Relation>);

impl fmt::Display for AnyOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, relation) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" | ")?;
            }
            relation.fmt(f)?;
        }
        Ok(())
    }
}

/// Reads a whole field: `a | b, c (>= 1)`. An empty field is an empty list.
pub(crate) fn parse_field(text: &str) -> Result<Vec<AnyOf>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            part.split('|')
                .map(Relation::parse)
                .collect::<Result<_, _>>()
                .map(AnyOf)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let text = "debconf (>= 0.5) | debconf-2.0, libc6 (>= 2.38), python3:any, x(<<2)";
        let field = parse_field(text).unwrap();
        let written: Vec<_> = field.iter().map(ToString::to_string).collect();
        assert_eq!(
            written,
            [
                "debconf (>= 0.5) | debconf-2.0",
                "libc6 (>= 2.38)",
                "python3",
                "x (<< 2)"
            ]
        );
    }

    #[test]
    fn admits_within_the_bound() {
        let admits = |relation: &str, version: &str| {
            Relation::parse(relation)
                .unwrap()
                .admits(&Version::new(version))
        };
        assert!(admits("a", "0"));
        assert!(admits("a (>= 4.2.1)", "4.2.1-1"));
        assert!(!admits("a (>= 4.2.1)", "4.1.1-1"));
        assert!(admits("a (= 1.0-1)", "1.0-1"));
        assert!(!admits("a (<< 1.0)", "1.0"));
        assert!(admits("a (<= 1.0)", "1.0"));
        assert!(!admits("a (>> 1.0)", "1.0"));
    }

    #[test]
    fn refuses_nonsense() {
        for text in ["a (>= 1", "(>= 1)", "a b", "a (~ 1)", "a (>=)"] {
            assert!(Relation::parse(text).is_err(), "{text}");
        }
    }
}
