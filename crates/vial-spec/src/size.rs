//! Sizes of memory and disks, as Kubernetes writes them: `512Mi`, `4Gi`, `10G`, `1.5Gi`.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of bytes.
///
/// The text form is a subset of Kubernetes' quantities (`resource.Quantity`): a decimal number, then nothing, one of
/// `Ki Mi Gi Ti Pi Ei` (powers of 1024) or `k M G T P E` (powers of 1000). It must come out as whole bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "String", extend("pattern" = "^[0-9]+(\\.[0-9]+)?([KMGTPE]i|[kMGTPE])?$", "examples" = ["512Mi", "4Gi"]))]
pub struct Size(u64);

/// Why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// It does not begin with a number.
    #[error("{text:?} is not a size, as 512Mi, 4Gi and 10G are")]
    Syntax {
        /// The text refused.
        text: String,
    },
    /// After the number comes something else.
    #[error(
        "{text:?} has the unknown unit {unit:?}, possible are Ki, Mi, Gi, Ti, Pi, Ei and k, M, G, T, P, E"
    )]
    Unit {
        /// The text refused.
        text: String,
        /// What stands after the number.
        unit: String,
    },
    /// More than 2⁶⁴ - 1 bytes.
    #[error("{text:?} is more than can be counted")]
    TooLarge {
        /// The text refused.
        text: String,
    },
    /// A part of a byte would be left.
    #[error("{text:?} is not a whole number of bytes")]
    Fraction {
        /// The text refused.
        text: String,
    },
}

/// Longest first, so that `Ki` is tried before `k` could be.
const UNITS: [(&str, u64); 12] = [
    ("Ei", 1 << 60),
    ("Pi", 1 << 50),
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("E", 1_000_000_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
];

impl Size {
    /// So many bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Size(bytes)
    }

    /// How many bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let owned = || text.to_owned();
        let syntax = || SizeError::Syntax { text: owned() };
        let too_large = || SizeError::TooLarge { text: owned() };
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let (whole, fraction) = match number.split_once('.') {
            Some((whole, fraction)) => (whole, fraction),
            None => (number, "0"),
        };
        if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
            return Err(syntax());
        }
        let factor = match unit {
            "" => 1,
            _ => UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .map(|(_, factor)| *factor)
                .ok_or_else(|| SizeError::Unit {
                    text: owned(),
                    unit: unit.to_owned(),
                })?,
        };
        let whole: u64 = whole.parse().map_err(|_| too_large())?;
        // 0.1Gi is no whole number of bytes; 18 digits are more than any that is.
        let fraction = fraction.trim_end_matches('0');
        let digits = u32::try_from(fraction.len())
            .ok()
            .filter(|digits| *digits <= 18);
        let scale = digits
            .map(|digits| 10u128.pow(digits))
            .ok_or_else(|| SizeError::Fraction { text: owned() })?;
        let fraction: u128 = if fraction.is_empty() {
            0
        } else {
            fraction.parse().map_err(|_| syntax())?
        };
        let part = fraction * u128::from(factor);
        if !part.is_multiple_of(scale) {
            return Err(SizeError::Fraction { text: owned() });
        }
        let bytes = u128::from(whole) * u128::from(factor) + part / scale;
        u64::try_from(bytes).map(Size).map_err(|_| too_large())
    }
}

/// The shortest exact form: the largest unit of which it is a whole multiple, powers of 1024 first.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |factor: u64| self.0 != 0 && self.0.is_multiple_of(factor);
        match UNITS.iter().find(|(_, factor)| fits(*factor)) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("1024", 1024),
            ("512Mi", 512 << 20),
            ("4Gi", 4 << 30),
            ("10G", 10_000_000_000),
            ("1k", 1000),
            ("1.5Gi", 3 << 29),
            ("0.5Ki", 512),
            ("1.000k", 1000),
            ("15Ei", 15 << 60),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        for (text, message) in [
            ("", r#""" is not a size, as 512Mi, 4Gi and 10G are"#),
            ("Gi", r#""Gi" is not a size, as 512Mi, 4Gi and 10G are"#),
            ("-1Gi", r#""-1Gi" is not a size, as 512Mi, 4Gi and 10G are"#),
            ("1.Gi", r#""1.Gi" is not a size, as 512Mi, 4Gi and 10G are"#),
            (
                "1.2.3",
                r#""1.2.3" is not a size, as 512Mi, 4Gi and 10G are"#,
            ),
            (
                "4GB",
                r#""4GB" has the unknown unit "GB", possible are Ki, Mi, Gi, Ti, Pi, Ei and k, M, G, T, P, E"#,
            ),
            ("16Ei", r#""16Ei" is more than can be counted"#),
            (
                "99999999999999999999",
                r#""99999999999999999999" is more than can be counted"#,
            ),
            ("0.5", r#""0.5" is not a whole number of bytes"#),
            ("0.1Ki", r#""0.1Ki" is not a whole number of bytes"#),
        ] {
            assert_eq!(text.parse::<Size>().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn the_shortest_form_is_written() {
        for (bytes, text) in [
            (0, "0"),
            (1, "1"),
            (1 << 20, "1Mi"),
            (1_000_000, "1M"),
            (3 << 29, "1536Mi"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(bytes in any::<u64>(), shift in 0..63u32) {
            for size in [Size(bytes), Size(bytes >> shift), Size(bytes << shift)] {
                prop_assert_eq!(size.to_string().parse(), Ok(size));
            }
        }

        #[test]
        fn anything_may_be_read(text in any::<String>()) {
            let _ = text.parse::<Size>();
        }

        #[test]
        fn anything_like_a_size_may_be_read(text in r"[0-9]{0,24}\.?[0-9]{0,24}[KkMGTPE]?i?") {
            let _ = text.parse::<Size>();
        }
    }
}
