//! The scenarios that come with the program.

use std::fmt::Write as _;

macro_rules! scenarios {
    ($($name:literal)*) => {
        /// Name and text, in the order of reading.
        pub(super) const BUILT_IN: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../scenarios/", $name, ".toml"))),)*];
    };
}

scenarios!(
    "idle" "echo" "fanout" "rooms" "pairs" "whale" "zipf" "chat" "ramp-hold" "spike" "slow-consumer" "reconnect-storm" "lossy" "drain"
    "churn" "siege" "soak"
);

/// The text of a built-in scenario.
pub(super) fn text(name: &str) -> Option<&'static str> {
    BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name)
}

/// Name and first sentence of each, a line each.
pub(crate) fn list() -> String {
    let mut lines = String::new();
    for (name, text) in BUILT_IN {
        writeln!(lines, "{name:<15}  {}", about(text)).unwrap_or_default();
    }
    lines
}

/// The comment at the top, as one line.
fn about(text: &str) -> String {
    let words: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("# ")).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_says_what_it_is() {
        assert!(BUILT_IN.iter().all(|(_, text)| about(text).len() > 20));
        assert_eq!(list().lines().count(), BUILT_IN.len());
    }
}
