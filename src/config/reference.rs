//! The reference: all settings with their words, as a file to begin with and as a page to read.

use std::fmt::Write;

use super::Config;
use super::list::{SECTIONS, settings};
use super::rooms;
use super::setting::Setting;
use crate::base::RoomClass;

/// What `throng default-config` prints: a file in which every setting stands behind a `#`, with its default, or with an
/// example where there is none. Without those `#` it is a file that says what holds anyway.
pub fn default_file() -> String {
    let defaults = Config::default();
    let mut file = String::from(FILE_HEAD);
    for (section, about) in SECTIONS {
        let _infallible = write!(file, "\n{}[{section}]\n", comment(about));
        if *section == "rooms" {
            file.push_str(&rooms_to_begin_with());
            continue;
        }
        for setting in shown(section) {
            let mut words = setting.words.to_owned();
            if let Some(bounds) = setting.bounds() {
                let _infallible = write!(words, " Bounds: {bounds}.");
            }
            let (value, kind) = match setting.show(&defaults) {
                Some(value) => (value, ""),
                None => {
                    let _infallible = write!(words, " Default: {}.", setting.unset);
                    (setting.example.to_owned(), EXAMPLE)
                }
            };
            let _infallible = write!(file, "\n{}#{} = {value}{kind}\n", comment(&words), setting.key);
        }
    }
    file
}

/// What `docs/config.md` holds.
pub fn reference_page() -> String {
    let defaults = Config::default();
    let mut page = String::from(PAGE_HEAD);
    for (section, about) in SECTIONS {
        let _infallible = write!(page, "\n## `[{section}]`\n\n{about}\n\n{TABLE_HEAD}");
        for setting in shown(section) {
            let default = match setting.show(&defaults) {
                Some(value) => code(&value),
                None => setting.unset.to_owned(),
            };
            let variables: Vec<String> = setting.variables.iter().map(|name| code(name)).collect();
            let flag = setting.flag.map_or_else(String::new, |flag| code(&format!("--{flag}")));
            let live = if setting.live { "yes" } else { "" };
            let bounds = setting.bounds().map_or_else(String::new, |bounds| format!(" ({bounds})"));
            let _infallible = writeln!(
                page,
                "| {} | {default} | {} | {flag} | {live} | {}{bounds} |",
                code(setting.key),
                variables.join(", "),
                setting.words.replace('|', "\\|"),
            );
        }
        if *section == "rooms" {
            page.push_str(&rooms_fields());
        }
    }
    page
}

/// An example, and every key of a pattern with what holds where nothing is said.
fn rooms_to_begin_with() -> String {
    let usual = RoomClass::default();
    let mut text = String::from("#\n# Each key of a pattern, with its default:\n");
    for field in rooms::FIELDS {
        let mut words = format!("{} = {}: {}", field.key, field.show(&usual), field.words);
        if let Some(bounds) = field.bounds() {
            let _infallible = write!(words, " Bounds: {bounds}.");
        }
        text.push_str(&comment(&words));
    }
    let _infallible = write!(text, "\n#\"chat:*\" = {{ log_messages_max = 500, presence = \"counted\" }}{EXAMPLE}\n");
    text
}

fn rooms_fields() -> String {
    let (usual, mut text) = (RoomClass::default(), String::from(ROOMS_HEAD));
    for field in rooms::FIELDS {
        let bounds = field.bounds().map_or_else(String::new, |bounds| format!(" ({bounds})"));
        let (key, value) = (code(field.key), code(&field.show(&usual)));
        let _infallible = writeln!(text, "| {key} | {value} | {}{bounds} |", field.words.replace('|', "\\|"));
    }
    text
}

fn shown(section: &str) -> impl Iterator<Item = &'static Setting> {
    settings().iter().filter(move |setting| setting.section == section && !setting.hidden)
}

/// Comment lines of a width that fits a terminal.
fn comment(words: &str) -> String {
    let (mut text, mut line) = (String::new(), String::new());
    for word in words.split(' ') {
        if !line.is_empty() && line.len() + 1 + word.len() > COMMENT_WIDTH {
            let _infallible = writeln!(text, "#{line}");
            line.clear();
        }
        line.push(' ');
        line.push_str(word);
    }
    let _infallible = writeln!(text, "#{line}");
    text
}

fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}

const COMMENT_WIDTH: usize = 100;
/// Behind a value that is none of ours.
pub(super) const EXAMPLE: &str = "  # an example";

const FILE_HEAD: &str = "\
# The configuration of throng. Every setting is shown with its default, behind a `#`.
#
# One precedence: a flag beats the environment, the environment beats this file, this file beats the
# default. `throng check-config FILE` says what a file comes to and where each value came from.
# What is not known is refused. Paths are seen from the folder of this file.
";

const PAGE_HEAD: &str = "\
<!-- Made of src/config/list.rs: THRONG_BLESS=1 cargo test --lib config -->
# Configuration

`throng serve --config FILE` (or `THRONG_CONFIG`) reads a TOML file. Every setting can stand in it, in the environment, and the common ones can be given as flags. There is **one precedence**: a flag beats the environment, the environment beats the file, the file beats the default, for each setting on its own. An empty variable counts as not set. Secrets never stand in the file: it names files that hold them. Paths in the file are seen from the file's folder, those in variables and flags from the working directory.

What is not understood is refused, all of it at once, with the line and what may have been meant:

```text
throng: throng.toml:2: unknown key `lisen` in [server]: did you mean `listen`?
throng.toml:3: `shards` in [server] is 0 and must be between 1 and 1024
```

Variables that begin with `THRONG_` and are read by nobody are warned of, not refused: Kubernetes makes some of its own for a service called throng.

- `throng default-config` prints all settings with their words, ready to be edited.
- `throng check-config [FILE]` takes the same file, variables and flags as `throng serve`, starts nothing, and prints the value of every setting and where it came from, never a secret; with `--room NAME [--user NAME]` also what that room gets. Exit code 2 where `throng serve` would refuse to start.

## While it runs

SIGHUP reads the file and the secret files again. What has a *yes* under **reload** holds from then on; nobody is disconnected by it: a new key is asked of those who come, new default grants, and what the class of a room lets people do (`can`), are asked at the next command, and who sits in a room they do not grant any more is told `removed`, a lower limit takes nothing away and admits no more. Of other settings that were changed a log line says that they need a restart; their old values stay. A file, or a secret, with anything wrong in it is refused whole: an error is logged, `throng_config_reloads_refused_total` counts it, and everything stays as it was. The environment and the flags are those of the start.
";

const ROOMS_HEAD: &str = "
```toml
[rooms.\"chat:*\"]
log_messages_max = 500

[rooms.\"ticker:*\"]
delivery = \"latest\"
can = [\"join\"]
```

| key of a pattern | default | |
|---|---|---|
";

const TABLE_HEAD: &str = "| key | default | variable | flag | reload | |\n|---|---|---|---|---|---|\n";
