//! A changed configuration, taken in while the server runs.
//!
//! Promises: everything is read and checked before anything changes; with anything wrong in it nothing changes, an error
//! says why and a counter counts it. Nobody is sent away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use throng::config::Settled;
use throng::control::{ApiKey, Desk, Family, Kind};
use throng::runtime::Places;

use super::Failure;
use super::log::Level;
use super::rulebook::Rulebook;
use super::serve::ServeConfig;
use super::settings::Inputs;

/// What a reload reads, and where it puts what it read.
pub(crate) struct Reload {
    pub(crate) inputs: Inputs,
    /// What holds now.
    pub(crate) running: Settled,
    pub(crate) rulebook: Arc<Rulebook>,
    pub(crate) level: Level,
    pub(crate) places: Places,
    /// Connections this host could hold at the start.
    pub(crate) host_holds: u64,
    pub(crate) desk: Desk,
    /// `--dev`: the key of the API for this run.
    pub(crate) dev_key: Option<ApiKey>,
    pub(crate) counts: Arc<ReloadCounts>,
}

/// How reloads ended.
#[derive(Debug, Default)]
pub(crate) struct ReloadCounts {
    taken: AtomicU64,
    refused: AtomicU64,
}

impl ReloadCounts {
    pub(crate) fn families(&self) -> [Family; 2] {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            Family::single(
                "throng_config_reloads",
                "Configurations taken in by SIGHUP",
                Kind::Counter,
                of(&self.taken),
            ),
            Family::single(
                "throng_config_reloads_refused",
                "Configurations refused at SIGHUP: the old one holds",
                Kind::Counter,
                of(&self.refused),
            ),
        ]
    }
}

impl Reload {
    /// Reads everything again.
    pub(crate) fn now(&mut self) {
        match self.take_in() {
            Ok(restart) => {
                self.counts.taken.fetch_add(1, Ordering::Relaxed);
                for setting in restart {
                    tracing::warn!(setting, "changed, but only a restart changes it: the old value stays");
                }
                tracing::info!("the configuration was read again and holds from now on");
            }
            Err(failure) => {
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
                let why = failure.sentence();
                tracing::error!(why, "the configuration was refused: everything stays as it was");
            }
        }
    }

    /// Gives the settings that were changed in vain.
    fn take_in(&mut self) -> Result<Vec<String>, Failure> {
        let mut fresh = self.inputs.read()?;
        let restart = fresh.needs_restart(&self.running);
        fresh.keep_fixed(&self.running);
        let config = ServeConfig::new(&fresh, self.rulebook.secret().as_ref())?;
        for warning in fresh.warnings.iter().chain(&config.warnings) {
            tracing::warn!("{warning}");
        }
        let admin_rules = config.admin_rules(self.dev_key.as_ref());
        let connections_max = config.places_max().min(self.host_holds);
        let prepared = self.rulebook.prepare(config)?;
        // The first change, and the only one that could fail: a level that is not understood was refused above.
        self.level.set(&fresh.config.log.level)?;
        self.rulebook.take(prepared);
        self.desk.set_rules(admin_rules);
        self.places.set_max(connections_max);
        self.running = fresh;
        Ok(restart)
    }
}
