//! On which engine the tests run, and the kernel's word that a server does run on it.

use std::fs;

/// io_uring, or what `THRONG_ENGINE` says. Servers that tests start as processes read that variable by themselves.
pub(crate) fn asked() -> String {
    let name = std::env::var_os("THRONG_ENGINE").unwrap_or_else(|| "io_uring".into());
    name.into_string().expect("THRONG_ENGINE names an engine")
}

/// That this process (`self`, or a number) has rings if, and only if, they were asked for: whatever it says of itself, it
/// has no other way to io_uring. To be asked while its sockets are there.
pub(crate) fn assert_carried(process: &str) {
    let links = fs::read_dir(format!("/proc/{process}/fd")).expect("a process of this user");
    // One that was closed in the meantime leads nowhere.
    let targets = links.filter_map(|link| fs::read_link(link.ok()?.path()).ok());
    let rings = targets.filter(|target| target.as_os_str() == "anon_inode:[io_uring]").count();
    assert_eq!(rings > 0, asked() == "io_uring", "{} was asked for, and process {process} has {rings} rings", asked());
}
