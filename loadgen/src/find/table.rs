//! What was found, for people.

use std::fmt::{self, Display, Formatter};

use super::{Found, Probe};

impl Probe {
    pub(super) fn line(&self) -> String {
        let Some(verdict) = self.verdict else {
            return format!("{:>12.1}  {}", self.value, self.why.join("; "));
        };
        let cores = self.server_cores_busy.map_or_else(|| "-".to_owned(), |cores| format!("{cores:.2}"));
        format!(
            "{:>12.1}{}  {:>10.0} deliveries/s  p50 {:>8.2} ms  p99 {:>8.2} ms  open p99 {:>8.2} ms  server {cores} cores  generator {:.0} %  {}",
            self.value,
            if self.confirms { " again" } else { "      " },
            self.deliveries_per_s,
            self.p50_ms,
            self.p99_ms,
            self.open_p99_ms,
            self.generator_busiest_worker * 100.0,
            verdict.words()
        )
    }
}

impl Display for Found {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nprobes")?;
        self.probes.iter().try_for_each(|probe| writeln!(f, "  {}", probe.line()))?;
        match self.value {
            Some(value) => {
                let repeats = self.probes.iter().filter(|probe| probe.confirms && probe.value == value).count();
                writeln!(
                    f,
                    "\nFOUND      {} {value:.1}, held with {} ({repeats} times more)",
                    self.what.words(),
                    self.slo
                )?;
                for spread in &self.measured {
                    writeln!(
                        f,
                        "           {:<26} median {:>10.2}, {:.2} to {:.2}",
                        spread.name, spread.median, spread.min, spread.max
                    )?;
                }
            }
            None => writeln!(f, "\nNOT FOUND  {}: nothing tried held with {}", self.what.words(), self.slo)?,
        }
        write!(f, "LIMIT      {}\n(exit {})", self.limit, self.exit_code)
    }
}
