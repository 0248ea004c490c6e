//! The file: TOML, each value with the line it stands on.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Config;
use super::list::{SECTIONS, settings};
use super::nearest::nearest;
use super::read::{Problem, Whence};
use super::setting::{Given, Setting};
use super::value::{must_be, to_json};

/// A file and its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct File<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl File<'_> {
    /// Puts everything into `config`, notes where it came from, and everything that is wrong.
    pub(super) fn read(&self, config: &mut Config, whence: &mut [Whence], problems: &mut Vec<Problem>) {
        let table = match DeTable::parse(self.text) {
            Ok(table) => table,
            Err(error) => {
                let line = error.span().map(|span| self.line(span.start));
                let message = error.message().trim().replace('\n', ", ");
                problems.push(self.problem(line, format!("this is not TOML: {message}")));
                return;
            }
        };
        for (name, section) in table.get_ref() {
            let line = self.line(name.span().start);
            let is_known = SECTIONS.iter().any(|(known, _)| known == name.get_ref());
            if let (DeValue::Table(patterns), "rooms") = (section.get_ref(), name.get_ref().as_ref()) {
                self.read_rooms(line, patterns, config, whence, problems);
            } else if let (DeValue::Table(entries), true) = (section.get_ref(), is_known) {
                self.read_section(name.get_ref(), entries, config, whence, problems);
            } else {
                problems.push(self.problem(Some(line), stray(name.get_ref(), section.get_ref())));
            }
        }
    }

    fn read_section(
        &self,
        section: &str,
        entries: &DeTable<'_>,
        config: &mut Config,
        whence: &mut [Whence],
        problems: &mut Vec<Problem>,
    ) {
        let folder = self.path.parent().unwrap_or_else(|| Path::new(""));
        for (key, value) in entries {
            let line = self.line(key.span().start);
            let known = settings().iter().zip(whence.iter_mut());
            let mut known = known.filter(|(setting, _)| setting.section == section && setting.in_file);
            let Some((setting, whence)) = known.find(|(setting, _)| setting.key == key.get_ref().as_ref()) else {
                problems.push(self.problem(Some(line), unknown(section, key)));
                continue;
            };
            match setting.set(config, &Given::Toml(value.get_ref(), folder)) {
                Ok(()) => *whence = Whence::File { path: self.path.to_owned(), line },
                Err(why) => {
                    problems.push(self.problem(Some(line), format!("`{}` in [{section}] {why}", setting.key)));
                }
            }
        }
    }

    /// A table of tables, by pattern.
    fn read_rooms(
        &self,
        line: usize,
        patterns: &DeTable<'_>,
        config: &mut Config,
        whence: &mut [Whence],
        problems: &mut Vec<Problem>,
    ) {
        for (pattern, fields) in patterns {
            let (at, name) = (self.line(pattern.span().start), short(pattern.get_ref()));
            let DeValue::Table(fields) = fields.get_ref() else {
                let sentence = must_be("a table, because it is a pattern of room names", fields.get_ref());
                let sentence = format!("`{name}` in [rooms] {sentence}");
                problems.push(self.problem(Some(at), sentence));
                continue;
            };
            if let Err(why) = config.rooms.open(pattern.get_ref()) {
                problems.push(self.problem(Some(at), format!("[rooms.\"{name}\"] {why}")));
                continue;
            }
            for (key, value) in fields {
                if let Err(why) = config.rooms.put(key.get_ref(), to_json(value.get_ref())) {
                    let sentence = format!("`{}` in [rooms.\"{name}\"] {why}", short(key.get_ref()));
                    problems.push(self.problem(Some(self.line(key.span().start)), sentence));
                }
            }
        }
        let mut known = settings().iter().zip(whence.iter_mut());
        let said = known.find(|(setting, _)| setting.section == "rooms").filter(|_| !patterns.is_empty());
        if let Some((_, whence)) = said {
            *whence = Whence::File { path: self.path.to_owned(), line };
        }
    }

    fn problem(&self, line: Option<usize>, sentence: String) -> Problem {
        let place = match line {
            Some(line) => format!("{}:{line}", self.path.display()),
            None => self.path.display().to_string(),
        };
        Problem { line: line.unwrap_or(0), sentence: format!("{place}: {sentence}") }
    }

    /// Counted from 1.
    fn line(&self, byte: usize) -> usize {
        1 + self.text.as_bytes().iter().take(byte).filter(|byte| **byte == b'\n').count()
    }
}

fn unknown(section: &str, key: &Spanned<std::borrow::Cow<'_, str>>) -> String {
    let written: &str = key.get_ref();
    let here = || settings().iter().filter(move |setting| setting.section == section);
    if let Some(secret) = here().find(|setting| !setting.in_file && setting.key == written) {
        return format!(
            "`{written}` in [{section}] is a secret and does not belong into a file that many can read: use \
             `{written}_file`, or the variable {}",
            secret.variables[0]
        );
    }
    let known = here().filter(|setting| setting.in_file).map(|setting| setting.key);
    let said = format!("unknown key `{}` in [{section}]", short(written));
    if let Some(elsewhere) = elsewhere(written) {
        return format!("{said}: it belongs into [{}]", elsewhere.section);
    }
    match nearest(written, known) {
        Some(meant) => format!("{said}: did you mean `{meant}`?"),
        None => format!("{said}: `throng default-config` shows all there are"),
    }
}

/// What stands at the top and is no section of ours.
fn stray(name: &str, value: &DeValue<'_>) -> String {
    let is_table = matches!(value, DeValue::Table(_));
    if SECTIONS.iter().any(|(known, _)| *known == name) {
        return format!("[{name}] {}", must_be("one table, written once", value));
    }
    if let Some(elsewhere) = elsewhere(name).filter(|_| !is_table) {
        return format!("`{name}` stands in no section: it belongs into [{}]", elsewhere.section);
    }
    let (what, shown) =
        if is_table { ("section", format!("[{}]", short(name))) } else { ("key", format!("`{}`", short(name))) };
    match nearest(name, SECTIONS.iter().map(|(known, _)| *known)) {
        Some(meant) => format!("unknown {what} {shown}: did you mean [{meant}]?"),
        None => {
            let all: Vec<String> = SECTIONS.iter().map(|(known, _)| format!("[{known}]")).collect();
            format!("unknown {what} {shown}: there are {}", all.join(", "))
        }
    }
}

fn elsewhere(key: &str) -> Option<&'static Setting> {
    settings().iter().find(|setting| setting.in_file && setting.key == key)
}

/// A name as it was written, not more of it than a line takes, and nothing a terminal would obey.
fn short(name: &str) -> String {
    name.chars().take(60).flat_map(char::escape_debug).collect()
}
