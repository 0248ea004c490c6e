//! Where and with what a run was made: what must stand in a report's header.

use std::fs;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::sys;

/// The circumstances of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct About {
    /// `throng-load` and its version.
    pub(crate) program: String,
    /// What was tested, as far as is known.
    pub(crate) commit: Option<String>,
    /// Words of the command line; secrets are left out.
    pub(crate) command: String,
    pub(crate) began_unix_s: u64,
    pub(crate) host: String,
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
}

impl About {
    /// `commit` where it was given; else that of the checkout this runs in.
    pub(crate) fn now(commit: Option<&str>) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let field = |text: &str, name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
            value.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kib: u64 = memory.trim_end_matches(" kB").parse().unwrap_or(0);
        Self {
            program: concat!("throng-load ", env!("CARGO_PKG_VERSION")).to_owned(),
            commit: commit.map(str::to_owned).or_else(commit_here),
            command: command(std::env::args()),
            began_unix_s: sys::unix_s(),
            host: read("/proc/sys/kernel/hostname"),
            kernel: read("/proc/sys/kernel/osrelease"),
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_bytes: kib << 10,
        }
    }
}

/// The command line without what nobody else should read.
fn command(words: impl Iterator<Item = String>) -> String {
    let mut hidden = false;
    let shown = words.map(|word| {
        let hide = std::mem::replace(&mut hidden, word == "--secret");
        match word.strip_prefix("--secret=") {
            Some(_) => "--secret=…".to_owned(),
            None if hide => "…".to_owned(),
            None if word.contains([' ', '\'', '"', '<', '>', ';', '&', '|', '$']) => {
                format!("'{}'", word.replace('\'', r"'\''"))
            }
            None => word,
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn commit_here() -> Option<String> {
    let told = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let commit = String::from_utf8(told.stdout).ok()?.trim().to_owned();
    (told.status.success() && !commit.is_empty()).then_some(commit)
}

/// `2026-11-22 14:05:09 UTC`.
pub(crate) fn date(unix_s: u64) -> String {
    let (days, s) = (unix_s / 86_400, unix_s % 86_400);
    // Civil date from days, counted in eras of 400 years that begin in March (H. Hinnant, "chrono-compatible dates").
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", s / 3_600, s / 60 % 60, s % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_s, said) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_795_356_309, "2026-11-22 14:05:09 UTC"),
            (4_102_444_799, "2099-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(date(unix_s), said);
        }
    }

    #[test]
    fn a_command_shows_everything_but_the_secret() {
        let of = |line: &[&str]| command(line.iter().map(|word| (*word).to_owned()));
        assert_eq!(of(&["load", "--secret", "abc", "--slo", "p99<1s"]), "load --secret … --slo 'p99<1s'");
        assert_eq!(of(&["load", "--secret=abc", "--secret-file", "x"]), "load --secret=… --secret-file x");
    }

    #[test]
    fn this_host_has_a_name_and_cores() {
        let about = About::now(Some("abc"));
        assert!(!about.kernel.is_empty() && about.cores > 0 && about.memory_bytes > 0);
        assert_eq!(about.commit.as_deref(), Some("abc"));
    }
}
