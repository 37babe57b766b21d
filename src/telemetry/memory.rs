//! How much memory the process takes, as the kernel tells it.

/// Resident memory in bytes; `None` where the kernel does not tell it as Linux does.
pub fn resident_bytes() -> Option<u64> {
    // The line `VmRSS:  1234 kB`; unlike statm it does not count in pages.
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read() {
        assert!(resident_bytes().unwrap() > 1_000_000);
    }
}
