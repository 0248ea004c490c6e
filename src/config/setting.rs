//! One setting: where it stands, what it is called elsewhere, what it means, and how it is read and shown.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;

use toml::de::DeValue;

use super::Config;
use super::value::Value;

type Set = Box<dyn Fn(&mut Config, &Given<'_>) -> Result<(), String> + Send + Sync>;
type Copy = Box<dyn Fn(&mut Config, &mut Config) + Send + Sync>;
type Count = Box<dyn Fn(&mut Config) -> Option<u64> + Send + Sync>;
type Show = Box<dyn Fn(&mut Config) -> Option<String> + Send + Sync>;

/// One setting of the server.
pub struct Setting {
    pub section: &'static str,
    pub key: &'static str,
    /// What it means to an operator, in whole sentences.
    pub words: &'static str,
    /// Variables it is read from; the first that is set counts. The first is the one to be told of.
    pub variables: Vec<String>,
    /// The flag of `throng serve`, without its dashes.
    pub flag: Option<&'static str>,
    /// What a value is called in the flag's help.
    pub value_name: &'static str,
    /// The flag can be given again: all its values make one list.
    pub repeats: bool,
    /// Whether a reload changes it. What cannot change was given out at the start: sockets, rings, threads.
    pub live: bool,
    /// Not told of: neither in help nor in the reference.
    pub hidden: bool,
    /// What holds where there is no value to show, for the reference.
    pub unset: &'static str,
    /// A value as it could stand in the file, where the default is none.
    pub example: &'static str,
    /// `false`: never in the file.
    pub(super) in_file: bool,
    bounds: Option<RangeInclusive<u64>>,
    set: Set,
    show: Show,
    number: Count,
    copy: Copy,
}

/// A value somebody gave.
pub(super) enum Given<'a> {
    /// In the file, which lies in this folder.
    Toml(&'a DeValue<'a>, &'a Path),
    /// In a variable or a flag.
    Text(&'a str),
}

/// `path` is section and key; `place` is where the value lies.
pub(super) fn setting<T: Value + Clone + 'static>(
    path: &'static str,
    place: fn(&mut Config) -> &mut T,
    words: &'static str,
) -> Setting {
    let (section, key) = path.split_once('.').expect("each path in the list is `section.key`");
    Setting {
        section,
        key,
        words,
        variables: vec![variable(section, key)],
        flag: None,
        value_name: "VALUE",
        repeats: false,
        live: false,
        hidden: false,
        unset: "",
        example: "",
        in_file: true,
        bounds: None,
        set: Box::new(move |config, given| {
            *place(config) = match given {
                Given::Toml(value, folder) => T::from_toml(value)?.seen_from(folder),
                Given::Text(text) => T::from_text(text)?,
            };
            Ok(())
        }),
        show: Box::new(move |config| place(config).to_toml()),
        number: Box::new(move |config| place(config).number()),
        copy: Box::new(move |from, to| *place(to) = place(from).clone()),
    }
}

impl Setting {
    /// The flag of `throng serve`, and what its value is called there.
    pub(super) fn flag(mut self, flag: &'static str, value_name: &'static str) -> Self {
        (self.flag, self.value_name) = (Some(flag), value_name);
        self
    }

    /// A list whose flag can be given again.
    pub(super) fn repeats(mut self) -> Self {
        self.repeats = true;
        self
    }

    /// Other names in the environment than `THRONG_SECTION_KEY`, for the habits of others; the first that is set counts.
    pub(super) fn variables(mut self, variables: &[&str]) -> Self {
        self.variables = variables.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    pub(super) fn live(mut self) -> Self {
        self.live = true;
        self
    }

    pub(super) fn not_in_file(mut self) -> Self {
        (self.in_file, self.hidden) = (false, true);
        self
    }

    pub(super) fn within(mut self, bounds: RangeInclusive<u64>) -> Self {
        self.bounds = Some(bounds);
        self
    }

    /// What holds without a value, and a value to begin with.
    pub(super) fn unset(mut self, unset: &'static str, example: &'static str) -> Self {
        (self.unset, self.example) = (unset, example);
        self
    }

    /// `section.key`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    /// The value as it would stand in the file; `None`: not set.
    pub fn show(&self, config: &Config) -> Option<String> {
        (self.show)(&mut config.clone())
    }

    /// Takes the value of another configuration.
    pub(super) fn copy(&self, from: &mut Config, to: &mut Config) {
        (self.copy)(from, to);
    }

    /// Puts a value in; the error is the second half of a sentence.
    pub(super) fn set(&self, config: &mut Config, given: &Given<'_>) -> Result<(), String> {
        (self.set)(config, given)?;
        match (&self.bounds, (self.number)(config)) {
            (Some(bounds), Some(number)) if !bounds.contains(&number) => Err(match *bounds.end() {
                u64::MAX => format!("is {number} and must be at least {}", bounds.start()),
                end => format!("is {number} and must be between {} and {end}", bounds.start()),
            }),
            _ => Ok(()),
        }
    }

    /// Bounds in words, for the reference.
    pub fn bounds(&self) -> Option<String> {
        self.bounds.as_ref().map(|bounds| match *bounds.end() {
            u64::MAX => format!("at least {}", bounds.start()),
            end => format!("{} to {end}", bounds.start()),
        })
    }
}

/// `THRONG_KEY` for the server's own, `THRONG_SECTION_KEY` for the others.
fn variable(section: &str, key: &str) -> String {
    match section {
        "server" => format!("THRONG_{}", key.to_uppercase()),
        _ => format!("THRONG_{}_{}", section.to_uppercase(), key.to_uppercase()),
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting").field("path", &self.path()).finish_non_exhaustive()
    }
}
