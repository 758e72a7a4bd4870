//! A file in a line, as `ls -l` writes it: what `ls` of a client shows; pure.

use rustix::fs::{FileType, Stat};

use crate::calendar;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const DAY: i64 = 86_400;
/// Files older than this, in seconds, show their year instead of their time.
const HALF_A_YEAR: i64 = 183 * DAY;

/// The line. `now` is in seconds since 1970; users and groups are numbers, times UTC: clients that know better format
/// the attributes themselves.
pub(super) fn line(name: &[u8], stat: &Stat, now: i64) -> Vec<u8> {
    let mut line = format!(
        "{} {:3} {:<8} {:<8} {:8} {} ",
        mode(stat.st_mode),
        stat.st_nlink,
        stat.st_uid,
        stat.st_gid,
        stat.st_size,
        date(stat.st_mtime, now)
    )
    .into_bytes();
    line.extend_from_slice(name);
    line
}

fn mode(mode: u32) -> String {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        _ => '-',
    };
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

fn date(seconds: i64, now: i64) -> String {
    let (year, month, day) = calendar::date(seconds.div_euclid(DAY));
    let name = usize::try_from(month - 1)
        .ok()
        .and_then(|month| MONTHS.get(month));
    let name = name.copied().unwrap_or("???");
    if (0..HALF_A_YEAR).contains(&(now - seconds)) {
        let time = seconds.rem_euclid(DAY);
        format!("{name} {day:2} {:02}:{:02}", time / 3600, time / 60 % 60)
    } else {
        format!("{name} {day:2}  {year}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_as_ls_shows_them() {
        assert_eq!(mode(0o100_644), "-rw-r--r--");
        assert_eq!(mode(0o041_777), "drwxrwxrwt");
        assert_eq!(mode(0o104_755), "-rwsr-xr-x");
        assert_eq!(mode(0o106_644), "-rwSr-Sr--");
        assert_eq!(mode(0o120_777), "lrwxrwxrwx");
    }

    #[test]
    fn new_files_show_their_time_and_old_ones_their_year() {
        // 2000-02-29 12:34:56 UTC.
        assert_eq!(date(951_827_696, 951_827_696 + DAY), "Feb 29 12:34");
        assert_eq!(date(951_827_696, 951_827_696 + 400 * DAY), "Feb 29  2000");
        assert_eq!(date(-1, 951_827_696), "Dec 31  1969");
    }
}
