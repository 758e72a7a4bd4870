//! Tables of figures and their ratios, on stdout.

use std::time::Duration;

/// The middle one of some measurements, the lower of two middles; zero when there is none.
#[must_use]
pub fn median(durations: &[Duration]) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort();
    sorted
        .get(sorted.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or_default()
}

/// `5.71 s`.
#[must_use]
pub fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// `4.2×`; a dash when there is nothing to compare with.
#[must_use]
pub fn ratio(ours: Duration, theirs: Duration) -> String {
    if ours.is_zero() || theirs.is_zero() {
        return "-".into();
    }
    format!("{:.1}×", theirs.as_secs_f64() / ours.as_secs_f64())
}

/// Says what is being measured, on stderr.
#[expect(clippy::print_stderr, reason = "a race takes minutes and is watched")]
pub fn progress(text: &str) {
    eprintln!("{text}");
}

/// Prints rows with aligned columns, the first row a header.
#[expect(clippy::print_stdout, reason = "a race's result is its output")]
pub fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        println!("{}", line.join("  ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_one_is_taken() {
        let of = |seconds: &[u64]| {
            median(
                &seconds
                    .iter()
                    .map(|s| Duration::from_secs(*s))
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(of(&[]), Duration::ZERO);
        assert_eq!(of(&[3]), Duration::from_secs(3));
        assert_eq!(of(&[9, 1, 5]), Duration::from_secs(5));
        assert_eq!(of(&[9, 1]), Duration::from_secs(1));
    }

    #[test]
    fn a_ratio_says_how_often_ours_fits_into_theirs() {
        assert_eq!(
            ratio(Duration::from_secs(2), Duration::from_secs(9)),
            "4.5×"
        );
        assert_eq!(ratio(Duration::ZERO, Duration::from_secs(9)), "-");
    }
}
