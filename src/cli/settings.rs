//! Settings as the command line takes them: the file's name, a flag for those that have one, and the environment.
//!
//! Promises: the flags, their help and their variables are made of the one list of settings. The environment and the
//! flags are looked at once, so that a reload sees the same; the file is read each time.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::parser::ValuesRef;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, value_parser};
use throng::config::{self, Config, Setting, Settled, Sources, settings};

use super::Failure;

/// What a command was given to make a configuration of.
#[derive(Clone, Default)]
pub(crate) struct SettingArgs {
    pub(crate) file: Option<PathBuf>,
    flags: Vec<(&'static str, String)>,
}

/// All that a configuration can be read from, again and again. Not for `Debug`: a secret may be among it.
pub(crate) struct Inputs {
    file: Option<PathBuf>,
    environment: BTreeMap<String, String>,
    /// Variables of settings whose value is no text.
    unreadable: Vec<String>,
    flags: Vec<(&'static str, String)>,
}

impl Inputs {
    /// Looks at the environment as it is now.
    pub(crate) fn look(args: SettingArgs) -> Self {
        Self::of(args, std::env::vars_os())
    }

    /// Only the flags, in a world without variables.
    #[cfg(test)]
    pub(crate) fn flags_only(args: SettingArgs) -> Self {
        Self::of(args, std::iter::empty())
    }

    /// What is not ours is nobody's business here.
    fn of(args: SettingArgs, variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let named = |name: &str| settings().iter().any(|setting| setting.variables.iter().any(|known| known == name));
        let (mut environment, mut unreadable) = (BTreeMap::new(), Vec::new());
        for (name, value) in variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value))) {
            match value.into_string() {
                Ok(value) if name.starts_with("THRONG_") || named(&name) => drop(environment.insert(name, value)),
                // The others of ours are read elsewhere: a file's name may be any bytes.
                Err(_) if named(&name) => unreadable.push(name),
                Ok(_) | Err(_) => {}
            }
        }
        Self { file: args.file, environment, unreadable, flags: args.flags }
    }

    /// Reads the file as it is now and lays the rest over it.
    pub(crate) fn read(&self) -> Result<Settled, Failure> {
        if !self.unreadable.is_empty() {
            // Not what stands there: it may be a secret.
            let names = self.unreadable.join(", ");
            return Err(Failure::Misused(format!("not UTF-8, and all settings are: {names}")));
        }
        let text = self.file.as_deref().map(read_file).transpose()?;
        let file = self.file.as_deref().zip(text.as_deref());
        let sources = Sources { file, environment: &self.environment, flags: &self.flags };
        config::read(&sources).map_err(|problems| Failure::Misused(problems.to_string()))
    }
}

fn read_file(path: &Path) -> Result<String, Failure> {
    let fail =
        |why: &dyn std::fmt::Display| Failure::Misused(format!("the file {} cannot be read: {why}", path.display()));
    let mut text = String::new();
    let file = File::open(path).map_err(|error| fail(&error))?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| fail(&error))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(fail(&format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

impl Args for SettingArgs {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new(FILE)
            .long("config")
            .value_name("FILE")
            .env("THRONG_CONFIG")
            .value_parser(value_parser!(PathBuf))
            .help("The file with the settings; `throng default-config` prints one to begin with");
        command.arg(file).args(settings().iter().filter_map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.file = matches.get_one::<PathBuf>(FILE).cloned();
        let flags = settings().iter().filter_map(|setting| setting.flag);
        let together = |values: ValuesRef<'_, String>| values.map(String::as_str).collect::<Vec<_>>().join(",");
        let given = flags.filter_map(|flag| Some((flag, together(matches.get_many::<String>(flag)?))));
        self.flags = given.collect();
        Ok(())
    }
}

/// The flag of a setting. Values are text here: the configuration reads them, from wherever they come.
fn argument(setting: &'static Setting) -> Option<Arg> {
    let flag = setting.flag?;
    let default = setting.show(&Config::default()).unwrap_or_else(|| setting.unset.to_owned());
    let again = if setting.repeats { " Can be given again." } else { "" };
    let help = format!("{}{again} [default: {default}] [env: {}]", setting.words, setting.variables.join(", "));
    let argument = Arg::new(flag).long(flag).help(help).hide(setting.hidden);
    Some(match setting.value_name {
        "BOOL" => argument.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("BOOL"),
        name if setting.repeats => argument.value_name(name).action(ArgAction::Append),
        // A number below zero is refused in our words.
        name => argument.value_name(name).allow_negative_numbers(true),
    })
}

const FILE: &str = "config";
/// A thousand times what all settings take.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn look(variables: &[(&str, &[u8])]) -> Result<Settled, Failure> {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), OsString::from_vec(value.to_vec())));
        Inputs::of(SettingArgs::default(), variables).read()
    }

    /// Regression: it was passed over, and the default held.
    #[test]
    fn a_variable_of_a_setting_that_is_no_text_is_refused_and_not_shown() {
        let origins: &[u8] = b"https://caf\xe9.example";
        for name in ["ALLOWED_ORIGINS", "THRONG_JWT_HS256_SECRET"] {
            let Err(Failure::Misused(sentence)) = look(&[(name, origins)]) else { panic!("{name} was passed over") };
            assert!(sentence.contains(name) && sentence.contains("UTF-8") && !sentence.contains("caf"), "{sentence}");
        }
        let settled = look(&[("THRONG_CONFIG", origins), ("HOME", origins), ("PORT", b"7")]).unwrap();
        assert_eq!(settled.config.server.port, Some(7));
    }
}
