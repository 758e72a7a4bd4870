//! PAX records: what a header of tar cannot say, fractions of seconds and extended attributes.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rustix::fs::Timespec;
use rustix::io::Errno;

/// Extended attributes that are carried: people's own, access control lists and capabilities. The others belong to the
/// file system or to a security module of the machine.
const ATTRIBUTES: [&[u8]; 3] = [b"user.", b"system.posix_acl_", b"security.capability"];
/// The kernel's limit of their names and of each value (xattr(7)).
const MOST: usize = 64 * 1024;
/// How PAX records of extended attributes are called (star(4), GNU tar, libarchive).
pub(crate) const ATTRIBUTE_RECORD: &str = "SCHILY.xattr.";
/// libarchive's way, with the value in base64 (`archive_write_set_format_pax.c`): for values with a line feed, at which
/// the tar crate takes a record to be at its end.
pub(crate) const ENCODED_RECORD: &str = "LIBARCHIVE.xattr.";

/// Seconds since 1970 as PAX writes them: `-1.5` is one and a half second before.
pub(crate) fn decimal(seconds: i64, nanos: i64) -> String {
    if seconds < 0 && nanos > 0 {
        // The kernel counts the fraction upwards, also before 1970.
        let whole = seconds + 1;
        let sign = if whole == 0 { "-" } else { "" };
        return format!("{sign}{whole}.{:09}", 1_000_000_000 - nanos);
    }
    format!("{seconds}.{nanos:09}")
}

/// The carried extended attributes of a file, as PAX records.
pub(crate) fn attributes(path: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let (mut few, mut many) = ([0; 512], Vec::new());
    let names = match rustix::fs::llistxattr(path, &mut few[..]) {
        Ok(length) => &few[..length],
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(Errno::RANGE) => {
            many.resize(MOST, 0);
            let length = rustix::fs::llistxattr(path, &mut many[..])?;
            &many[..length]
        }
        Err(error) => return Err(error.into()),
    };
    let mut records = Vec::new();
    for name in names.split(|byte| *byte == 0) {
        // A record's key ends at its first `=`.
        let carried = ATTRIBUTES.iter().any(|start| name.starts_with(start))
            && !name.contains(&b'=')
            && !name.contains(&b'\n');
        let (true, Ok(key)) = (carried, std::str::from_utf8(name)) else {
            continue;
        };
        let mut value = vec![0; MOST];
        match rustix::fs::lgetxattr(path, OsStr::new(key), &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                records.push(if value.contains(&b'\n') {
                    let value = STANDARD_NO_PAD.encode(value).into_bytes();
                    (format!("{ENCODED_RECORD}{key}"), value)
                } else {
                    (format!("{ATTRIBUTE_RECORD}{key}"), value)
                });
            }
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(records)
}

/// The extended attribute that a PAX record is about, if it is.
pub(crate) fn attribute(key: &str, value: &[u8]) -> Option<(String, Vec<u8>)> {
    if let Some(key) = key.strip_prefix(ENCODED_RECORD) {
        return Some((key.to_owned(), STANDARD_NO_PAD.decode(value).ok()?));
    }
    let key = key.strip_prefix(ATTRIBUTE_RECORD)?;
    Some((key.to_owned(), value.to_vec()))
}

pub(crate) fn timespec(seconds: i64, nanos: i64) -> Timespec {
    Timespec {
        tv_sec: seconds,
        tv_nsec: nanos,
    }
}

/// The time that [`decimal`] wrote, or another program: `1700000000.25`, `-1.5` (pax(1), "time records").
pub(crate) fn time(text: &str) -> Option<Timespec> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanos: i64 = digits.parse().ok()?;
    if whole.starts_with('-') && nanos > 0 {
        return Some(timespec(seconds - 1, 1_000_000_000 - nanos));
    }
    Some(timespec(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_as_other_programs_write_them() {
        for (text, expected) in [
            ("1700000000", (1_700_000_000, 0)),
            ("1700000000.25", (1_700_000_000, 250_000_000)),
            ("-1.5", (-2, 500_000_000)),
            ("-0.25", (-1, 750_000_000)),
            ("1.1234567891", (1, 123_456_789)),
        ] {
            let time = time(text).unwrap();
            assert_eq!((time.tv_sec, time.tv_nsec), expected, "{text}");
        }
        assert!(time("soon").is_none() && time("1.x").is_none());
    }

    proptest! {
        #[test]
        fn a_time_survives(seconds in -10_000_000_000_i64..10_000_000_000, nanos in 0..1_000_000_000_i64) {
            let read = time(&decimal(seconds, nanos)).unwrap();
            prop_assert_eq!((read.tv_sec, read.tv_nsec), (seconds, nanos));
        }
    }
}
