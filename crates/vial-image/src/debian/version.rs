//! Debian version numbers and their order.
//!
//! The order is that of Debian Policy 5.6.12 and deb-version(7): epoch as a number, then upstream version, then revision,
//! each compared by alternating runs of non-digits and digits, where `~` sorts before everything, even the end.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A version as written in an archive: `[epoch:]upstream[-revision]`.
///
/// Equality is equality of the order (`1.0` equals `1.0-0`), as dpkg has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(String);

impl Version {
    /// Takes the text as it is; ordering never fails.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parts(&self) -> (u64, &str, &str) {
        let (epoch, rest) = match self.0.split_once(':') {
            Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
            None => (0, self.0.as_str()),
        };
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (epoch, upstream, revision)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.parts(), other.parts());
        a.0.cmp(&b.0)
            .then_with(|| compare_part(a.1, b.1))
            .then_with(|| compare_part(a.2, b.2))
    }
}

/// The weight of one byte of a non-digit run; `None` is the end of the text.
fn weight(byte: Option<u8>) -> i32 {
    match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_digit() => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(byte),
        Some(byte) => i32::from(byte) + 256,
    }
}

fn compare_part(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        loop {
            let (x, y) = (a.first().copied(), b.first().copied());
            if x.is_none_or(|x| x.is_ascii_digit()) && y.is_none_or(|y| y.is_ascii_digit()) {
                break;
            }
            let order = weight(x).cmp(&weight(y));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (a.get(1..).unwrap_or(&[]), b.get(1..).unwrap_or(&[]));
        }
        let (x, y) = (take_digits(&mut a), take_digits(&mut b));
        // Without leading zeros the longer run of digits is the greater number, however long.
        let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y));
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

fn take_digits<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    *text = rest;
    let zeros = digits
        .iter()
        .position(|byte| *byte != b'0')
        .unwrap_or(digits.len());
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What `dpkg --compare-versions` (1.21.22) says of these pairs; `<`, `=` or `>`.
    const TABLE: &[(&str, char, &str)] = &[
        ("1.0", '=', "1.0-0"),
        ("1.0", '=', "0:1.0"),
        ("1.0", '<', "1.0-1"),
        ("1.0~rc1", '<', "1.0"),
        ("1.0~~", '<', "1.0~"),
        ("1.0~~a", '<', "1.0~"),
        ("1.0~", '<', "1.0"),
        ("1.0", '<', "1.0a"),
        ("1.0a", '<', "1.0+"),
        ("1.0+b1", '>', "1.0"),
        ("1.10", '>', "1.9"),
        ("1.010", '=', "1.10"),
        ("1:0.1", '>', "9.9"),
        ("2:1.0", '>', "1:2.0"),
        ("1.0-1", '<', "1.0-1+b1"),
        ("1.0-1+b1", '<', "1.0-2"),
        ("1.0-1~deb12u1", '<', "1.0-1"),
        ("1.0-1+deb13u1", '>', "1.0-1"),
        ("1.2-3-4", '>', "1.2-3"),
        ("4.1.1-1", '<', "4.2.1"),
        ("4.2.1-1", '>', "4.2.1"),
        ("3.7.0-2", '<', "3.11.0"),
        ("1:9.20.26-1~deb13u1", '>', "1:9.20.9-1"),
        (
            "0.0~git20250503.587980c-2+deb13u1",
            '<',
            "0.0~git20261002.cba3570-1",
        ),
        ("1.1.15+ds1-2+b4", '<', "1.3.6+ds1-1"),
        ("99999999999999999999999", '>', "9999999999999999999999"),
        ("a", '<', "b"),
        ("A", '<', "a"),
        ("1.0z", '<', "1.0."),
        ("1.a", '<', "1.a1"),
        ("1.0.", '>', "1.0"),
        ("", '<', "1"),
    ];

    #[test]
    fn orders_as_dpkg_does() {
        for (a, sign, b) in TABLE {
            let order = match sign {
                '<' => Ordering::Less,
                '=' => Ordering::Equal,
                _ => Ordering::Greater,
            };
            assert_eq!(
                Version::new(*a).cmp(&Version::new(*b)),
                order,
                "{a} {sign} {b}"
            );
            assert_eq!(
                Version::new(*b).cmp(&Version::new(*a)),
                order.reverse(),
                "{b} against {a}"
            );
        }
    }

    fn version() -> impl Strategy<Value = Version> {
        "([0-2]:)?[0-9a-bA.+~]{0,6}(-[0-9a+~]{0,4})?".prop_map(Version::new)
    }

    proptest! {
        #[test]
        fn is_a_total_order(a in version(), b in version(), c in version()) {
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            prop_assert_eq!(a.cmp(&a), Ordering::Equal);
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
        }

        #[test]
        fn a_tilde_sorts_before_nothing(a in "[0-9][0-9a-z.+]{0,5}") {
            let before = Version::new(format!("{a}~x"));
            prop_assert!(before < Version::new(a));
        }
    }
}
