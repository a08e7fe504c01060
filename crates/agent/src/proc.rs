//! What the texts of `/proc` say about load. Pure: the texts are parameters.

/// CPU time since boot, in the system's ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuTimes {
    /// Not idle. Time that a hypervisor gave to others counts: it was wanted and not there.
    pub busy: u64,
    /// All of it.
    pub total: u64,
}

impl CpuTimes {
    /// Reads `/proc/stat`: the line of all CPUs together.
    #[must_use]
    pub fn parse(stat: &str) -> Option<CpuTimes> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let mut times = [0_u64; 8];
        let mut words = line.split_ascii_whitespace();
        for (at, time) in times.iter_mut().enumerate() {
            match words.next() {
                Some(word) => *time = word.parse().ok()?,
                // Old systems know neither steal nor what stands before it.
                None if at >= 4 => break,
                None => return None,
            }
        }
        // The guests' times, which follow, are contained in user and nice.
        let total = times.iter().fold(0_u64, |a, b| a.saturating_add(*b));
        let [_, _, _, idle, iowait, ..] = times;
        Some(CpuTimes {
            busy: total.saturating_sub(idle).saturating_sub(iowait),
            total,
        })
    }

    /// The busy part of the time since `before`, in thousandths; none when no time has passed.
    #[must_use]
    pub fn busy_permille_since(&self, before: &CpuTimes) -> Option<u16> {
        let total = self.total.checked_sub(before.total)?;
        // Single counters may go back a little: it was the rest that grew.
        let busy = self.busy.saturating_sub(before.busy);
        permille(busy, total)
    }
}

/// The part of the memory that is in use, in thousandths, by `/proc/meminfo`: what a new program could
/// not have.
#[must_use]
pub fn memory_permille(meminfo: &str) -> Option<u16> {
    let value = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.strip_prefix(':')
        })?;
        line.split_ascii_whitespace().next()?.parse().ok()
    };
    let total = value("MemTotal")?;
    let available = match value("MemAvailable") {
        Some(available) => available,
        // Before Linux 3.14.
        None => [value("Buffers"), value("Cached")]
            .into_iter()
            .flatten()
            .fold(value("MemFree")?, u64::saturating_add),
    };
    permille(total.saturating_sub(available), total)
}

/// How long each disk was busy since boot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskTimes {
    busy_ms: Vec<(String, u64)>,
}

/// Devices without a disk behind them.
const NO_DISKS: &[&str] = &["loop", "ram", "zram", "fd", "sr"];

impl DiskTimes {
    /// Reads `/proc/diskstats`.
    #[must_use]
    pub fn parse(diskstats: &str) -> DiskTimes {
        let device = |line: &str| -> Option<(String, u64)> {
            let mut words = line.split_ascii_whitespace().skip(2);
            let name = words.next()?;
            if NO_DISKS.iter().any(|one| is_numbered(name, one)) {
                return None;
            }
            // The tenth number after the name: milliseconds with requests open.
            Some((name.to_owned(), words.nth(9)?.parse().ok()?))
        };
        DiskTimes {
            busy_ms: diskstats.lines().filter_map(device).collect(),
        }
    }

    /// The part of `elapsed_ms` in which the busiest disk was busy since `before`, in thousandths.
    /// None without disks. A partition is never busier than its disk.
    #[must_use]
    pub fn busy_permille_since(&self, before: &DiskTimes, elapsed_ms: u64) -> Option<u16> {
        let grown = self.busy_ms.iter().filter_map(|(name, now)| {
            let (_, then) = before.busy_ms.iter().find(|(one, _)| one == name)?;
            // The kernel counts in 32 bits on some machines: a count that went round says nothing.
            now.checked_sub(*then)
        });
        permille(grown.max()?, elapsed_ms)
    }
}

/// Whether `name` is `kind` and a number.
fn is_numbered(name: &str, kind: &str) -> bool {
    name.strip_prefix(kind)
        .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
}

fn permille(part: u64, whole: u64) -> Option<u16> {
    let permille = u128::from(part) * 1_000 / u128::from((whole > 0).then_some(whole)?);
    Some(permille.min(1_000) as u16)
}

#[cfg(test)]
mod tests {
    use super::{CpuTimes, DiskTimes, memory_permille};

    #[test]
    fn cpu_is_what_was_not_idle_between_two_looks() {
        let before = CpuTimes::parse("cpu  100 10 50 800 40 0 0 0 0 0\ncpu0 1 2 3 4\n");
        let after = CpuTimes::parse("cpu  160 10 70 880 60 5 5 10 60 0\n");
        let (before, after) = before.zip(after).expect("both are well formed");
        assert_eq!((before.busy, before.total), (160, 1_000));
        // 200 ticks passed, 80 of them idle and 20 waiting for disks.
        assert_eq!(after.busy_permille_since(&before), Some(500));
        assert_eq!(before.busy_permille_since(&before), None);
        assert_eq!(before.busy_permille_since(&after), None);
    }

    #[test]
    fn a_counter_that_goes_back_is_no_load() {
        let before = CpuTimes {
            busy: 500,
            total: 1_000,
        };
        let after = CpuTimes {
            busy: 499,
            total: 1_100,
        };
        assert_eq!(after.busy_permille_since(&before), Some(0));
    }

    #[test]
    fn texts_of_another_form_are_not_guessed_at() {
        for text in [
            "",
            "cpu",
            "cpu 1 2",
            "cpu a b c d e",
            "cpux 1 2 3 4 5",
            "cpu0 1 2 3 4 5",
        ] {
            assert_eq!(CpuTimes::parse(text), None, "{text:?}");
        }
        assert!(CpuTimes::parse("cpu 1 2 3 4").is_some());
        assert_eq!(memory_permille("MemTotal: many kB"), None);
        assert_eq!(memory_permille("MemTotal: 0 kB\nMemAvailable: 0 kB"), None);
        assert_eq!(memory_permille(""), None);
    }

    #[test]
    fn memory_is_what_a_new_program_could_not_have() {
        let text = "MemTotal:       1000 kB\nMemFree: 100 kB\nMemAvailable:    700 kB\n";
        assert_eq!(memory_permille(text), Some(300));
        let old = "MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 50 kB\nCached: 250 kB\n";
        assert_eq!(memory_permille(old), Some(600));
    }

    #[test]
    fn the_busiest_disk_counts() {
        let before = DiskTimes::parse(
            "   7       0 loop0 1 0 1 0 0 0 0 0 0 900 0\n\
             8       0 sda 10 0 80 5 10 0 80 5 0 1000 10\n\
             8       1 sda1 10 0 80 5 10 0 80 5 0 900 10\n\
             259     0 nvme0n1 10 0 80 5 10 0 80 5 0 50 10 0 0 0 0\n",
        );
        let after = DiskTimes::parse(
            "   7       0 loop0 1 0 1 0 0 0 0 0 0 9900 0\n\
             8       0 sda 20 0 80 5 10 0 80 5 0 1250 10\n\
             8       1 sda1 20 0 80 5 10 0 80 5 0 1100 10\n\
             8      16 sdb 20 0 80 5 10 0 80 5 0 99999 10\n\
             259     0 nvme0n1 10 0 80 5 10 0 80 5 0 60 10 0 0 0 0\n\
             short line\n",
        );
        assert_eq!(after.busy_permille_since(&before, 1_000), Some(250));
        assert_eq!(after.busy_permille_since(&before, 100), Some(1_000));
        assert_eq!(after.busy_permille_since(&before, 0), None);
        assert_eq!(
            DiskTimes::default().busy_permille_since(&before, 1_000),
            None
        );
    }

    #[test]
    fn the_texts_of_this_machine_are_understood() {
        let read = |path| std::fs::read_to_string(path).expect("Linux");
        let times = CpuTimes::parse(&read("/proc/stat")).expect("CPU times");
        assert!(times.busy > 0 && times.busy <= times.total);
        let memory = memory_permille(&read("/proc/meminfo")).expect("memory");
        assert!((1..1_000).contains(&memory));
        let disks = DiskTimes::parse(&read("/proc/diskstats"));
        assert!(
            disks
                .busy_permille_since(&disks, 1_000)
                .is_none_or(|busy| busy == 0)
        );
    }
}
