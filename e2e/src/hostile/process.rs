//! What a process and its children hold and use, as the kernel counts it.

use std::fs;

use anyhow::{Context as _, Result};

/// A process that is watched.
pub(super) struct Process {
    pid: u32,
}

/// Clock ticks of a second, as Linux tells them to every program.
const TICKS: f64 = 100.0;

impl Process {
    pub(super) fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// Resident bytes.
    pub(super) fn memory(&self) -> Result<u64> {
        let mut sum = 0;
        for pid in self.family()? {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
            sum += line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024;
        }
        Ok(sum)
    }

    /// Seconds of processor time.
    pub(super) fn cpu(&self) -> Result<f64> {
        let mut sum = 0.0;
        for pid in self.family()? {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
            // The name may hold blanks; what follows it does not.
            let (_, rest) = stat.rsplit_once(')').context("no name")?;
            let fields: Vec<_> = rest.split_ascii_whitespace().collect();
            for at in [11, 12] {
                sum += fields.get(at).context("too few fields")?.parse::<f64>()? / TICKS;
            }
        }
        Ok(sum)
    }

    fn family(&self) -> Result<Vec<u32>> {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid))?;
        let children = children.split_ascii_whitespace().map(str::parse);
        Ok(std::iter::once(Ok(self.pid)).chain(children).collect::<Result<_, _>>()?)
    }
}
