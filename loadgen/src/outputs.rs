//! Where a result goes: a table or JSON on standard output, a file of JSON, a page.
//!
//! Promises: a place that cannot be written to is refused before anything is measured; files are written before anybody is told,
//! JSON before the page, and one that fails keeps the others from nothing.

use std::fmt::Display;
use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::report::{self, Report};
use crate::say::{answer, tell};

/// The places somebody asked for.
pub(crate) struct Outputs {
    json: Option<PathBuf>,
    html: Option<PathBuf>,
}

impl Outputs {
    /// Errors: one of them cannot be written to.
    pub(crate) fn checked(json: Option<&Path>, html: Option<&Path>) -> Result<Self> {
        for (option, path) in [("--json", json.filter(|path| !is_stdout(path))), ("--html", html)] {
            if let Some(path) = path {
                check(path).with_context(|| format!("{option} {}", path.display()))?;
            }
        }
        Ok(Self { json: json.map(Path::to_owned), html: html.map(Path::to_owned) })
    }

    /// Files first, then the table, or JSON where it was asked for on standard output. `page` is what a page is made of; none:
    /// nothing was measured.
    pub(crate) fn publish(&self, result: &(impl Serialize + Display), page: Option<&Report>) -> Result<()> {
        let json = || serde_json::to_string_pretty(result).context("writing JSON");
        let (to_stdout, to_file) = match &self.json {
            Some(path) if is_stdout(path) => (true, Ok(())),
            Some(path) => {
                let written = json().and_then(|text| fs::write(path, text + "\n").map_err(anyhow::Error::new));
                (false, written.with_context(|| format!("--json {}", path.display())))
            }
            None => (false, Ok(())),
        };
        let to_page = match (&self.html, page) {
            (Some(path), Some(report)) => report::write_html(path, &[report]),
            (Some(path), None) => {
                tell!("--html {}: no page, since nothing was measured", path.display());
                Ok(())
            }
            (None, _) => Ok(()),
        };
        match to_stdout {
            true => answer!("{}", json()?),
            false => answer!("{result}"),
        }
        to_file.and(to_page)
    }
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// Whether a file could be written there; leaves none behind, and one that is there as it is.
fn check(path: &Path) -> Result<()> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(_) => Ok(fs::remove_file(path)?),
        // A pipe may wait for its reader: it is not asked.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let there = fs::metadata(path)?;
            if there.is_file() || there.is_dir() {
                OpenOptions::new().append(true).open(path)?;
            }
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_tried_and_left_as_it_was() {
        let path = std::env::temp_dir().join(format!("throng-load-outputs-{}", std::process::id()));
        assert!(check(&path).is_ok() && !path.exists());
        fs::write(&path, "kept").expect("writes");
        assert!(check(&path).is_ok());
        assert_eq!(fs::read_to_string(&path).expect("reads"), "kept");
        let refused = Outputs::checked(Some(Path::new("-")), Some(&path.join("inside.html")));
        assert!(refused.is_err_and(|error| error.to_string().starts_with("--html ")));
        assert!(Outputs::checked(Some(&std::env::temp_dir()), None).is_err(), "a folder is no file");
        assert!(Outputs::checked(Some(Path::new("/dev/null")), None).is_ok());
        fs::remove_file(&path).expect("it is ours");
    }
}
