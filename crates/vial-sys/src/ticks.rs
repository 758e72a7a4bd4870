//! The processor's time stamp counter, beside the clock: how quickly it counts.

use std::time::{Duration, Instant};

/// How often a moment is taken; the one that took least is kept, since whoever takes it may lose the processor meanwhile.
const TRIES: usize = 16;

/// What the counter and the clock said at once.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    ticks: u64,
    at: Instant,
}

impl Moment {
    /// Looks at both.
    #[must_use]
    pub fn now() -> Self {
        let mut best = look();
        for _ in 1..TRIES {
            let next = look();
            if next.1 < best.1 {
                best = next;
            }
        }
        best.0
    }

    /// How quickly the counter counted since `earlier`, in kHz; the longer ago, the more exact: some 10 ppm of 50 ms. `None`
    /// when nothing was counted.
    #[must_use]
    pub fn khz_since(&self, earlier: &Self) -> Option<u32> {
        let ticks = u128::from(self.ticks.checked_sub(earlier.ticks)?);
        let nanoseconds = self.at.duration_since(earlier.at).as_nanos();
        let khz = (ticks * 1_000_000).checked_div(nanoseconds)?;
        u32::try_from(khz).ok().filter(|khz| *khz > 0)
    }
}

/// A moment, and how long it took to look.
fn look() -> (Moment, Duration) {
    let at = Instant::now();
    let ticks = read();
    (Moment { ticks, at }, at.elapsed())
}

#[cfg(target_arch = "x86_64")]
fn read() -> u64 {
    // SAFETY: RDTSC has no effect but its result; all 64-bit processors have it, and Linux allows it unless a process
    // forbids it to itself (PR_SET_TSC), which nothing here does.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Others have no such counter.
#[cfg(not(target_arch = "x86_64"))]
fn read() -> u64 {
    0
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn it_counts_at_one_speed() {
        let moments = [(); 3].map(|()| {
            std::thread::sleep(Duration::from_millis(50));
            Moment::now()
        });
        let [first, second] = [0, 1].map(|at| moments[at + 1].khz_since(&moments[at]).unwrap());
        assert!(first.abs_diff(second) < first / 1000, "{first} {second}");
        assert_eq!(moments[0].khz_since(&moments[1]), None);
    }
}
