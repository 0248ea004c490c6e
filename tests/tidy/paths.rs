//! The paths that a file of Rust names, however they are written: groups are spread out, and `super` is followed.

use std::fs;
use std::path::Path;

/// A path and the line where it begins.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Named {
    pub(crate) line: usize,
    /// `a::{b, c::*}` is `[a, b]` and `[a, c, *]`.
    pub(crate) parts: Vec<String>,
}

impl Named {
    pub(crate) fn shown(&self) -> String {
        self.parts.join("::")
    }

    /// The path from the root of the crate, named in the module at this place: `None` where it is of another crate, or of
    /// something nearer.
    pub(crate) fn absolute(&self, module: &[String]) -> Option<Vec<String>> {
        let ups = self.parts.iter().take_while(|part| *part == "super").count();
        let rest = || self.parts[ups.max(1)..].iter().cloned();
        match self.parts[0].as_str() {
            "crate" => Some(rest().collect()),
            "self" => Some(module.iter().cloned().chain(rest()).collect()),
            "super" => Some(module[..module.len().saturating_sub(ups)].iter().cloned().chain(rest()).collect()),
            _ => None,
        }
    }
}

/// The module that a file of `src` is.
pub(crate) fn module_of(file: &Path, src: &Path) -> Vec<String> {
    let inside = file.strip_prefix(src).expect("a file of src").with_extension("");
    let parts = inside.iter().map(|part| part.to_string_lossy().into_owned());
    parts.filter(|part| part != "mod" && part != "lib").collect()
}

/// What a file's code is, without its tests: comments and texts are blank, lines are where they were.
pub(crate) fn code_of(file: &Path) -> String {
    if file.file_stem().is_some_and(|stem| stem == "tests" || stem.to_string_lossy().ends_with("_tests")) {
        return String::new();
    }
    let text = fs::read_to_string(file).expect("a file of text");
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.windows(2).position(|two| two[0] == "#[cfg(test)]" && two[1].starts_with("mod tests {"));
    code(&lines[..tests.unwrap_or(lines.len())].join("\n"))
}

/// The same of a text.
fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => until(&chars, at, |rest| rest[0] == '\n'),
            '/' if chars.get(at + 1) == Some(&'*') => until(&chars, at + 2, |rest| rest.starts_with(&['*', '/'])) + 2,
            '"' => text_end(&chars, at),
            'r' if raw_hashes(&chars, at).is_some() => {
                let hashes = raw_hashes(&chars, at).unwrap_or(0);
                let closed = |rest: &[char]| rest[0] == '"' && rest[1..].iter().take(hashes).all(|c| *c == '#');
                until(&chars, at + hashes + 2, closed) + 1 + hashes
            }
            // Not the quote of a lifetime.
            '\'' if chars.get(at + 1) == Some(&'\\') => until(&chars, at + 3, |rest| rest[0] == '\'') + 1,
            '\'' if chars.get(at + 2) == Some(&'\'') => at + 3,
            _ => {
                out.push(chars[at]);
                at += 1;
                continue;
            }
        };
        let end = end.min(chars.len());
        out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    out
}

fn until(chars: &[char], from: usize, is_end: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len()).find(|at| is_end(&chars[*at..])).unwrap_or(chars.len())
}

fn text_end(chars: &[char], from: usize) -> usize {
    let mut at = from + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// How many `#` a raw text has that begins here.
fn raw_hashes(chars: &[char], at: usize) -> Option<usize> {
    if at > 0 && is_word(chars[at - 1]) && chars[at - 1] != 'b' {
        return None;
    }
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    (chars.get(at + 1 + hashes) == Some(&'"')).then_some(hashes)
}

/// All paths in code, single words among them.
pub(crate) fn paths(code: &str) -> Vec<Named> {
    let mut reader = Reader { chars: code.chars().collect(), at: 0, line: 1, found: Vec::new() };
    while let Some(next) = reader.peek() {
        if is_word(next) { reader.path(&[]) } else { reader.step() }
    }
    reader.found
}

struct Reader {
    chars: Vec<char>,
    at: usize,
    line: usize,
    found: Vec<Named>,
}

impl Reader {
    fn path(&mut self, before: &[String]) {
        let (line, mut parts) = (self.line, before.to_vec());
        loop {
            parts.push(self.word());
            if !self.passes_colons() {
                break;
            }
            match self.peek() {
                Some('{') => return self.group(&parts),
                Some('*') => {
                    self.step();
                    parts.push("*".to_owned());
                    break;
                }
                Some(next) if is_word(next) => {}
                // Behind it stand types.
                Some(_) | None => break,
            }
        }
        if parts.len() > 1 && parts.last().is_some_and(|last| last == "self") {
            parts.pop();
        }
        self.found.push(Named { line, parts });
    }

    fn group(&mut self, before: &[String]) {
        self.step();
        loop {
            self.passes_blanks();
            match self.peek() {
                Some('}') | None => return self.step(),
                Some('*') => {
                    let parts = before.iter().cloned().chain(["*".to_owned()]).collect();
                    self.found.push(Named { line: self.line, parts });
                    self.step();
                }
                Some(next) if is_word(next) => {
                    self.path(before);
                    // Past ` as another`.
                    while self.peek().is_some_and(|next| next != ',' && next != '}') {
                        self.step();
                    }
                }
                Some(_) => self.step(),
            }
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(next) = self.peek().filter(|next| is_word(*next)) {
            word.push(next);
            self.step();
        }
        word
    }

    fn passes_colons(&mut self) -> bool {
        let here = (self.at, self.line);
        self.passes_blanks();
        if self.chars[self.at..].starts_with(&[':', ':']) {
            self.step();
            self.step();
            self.passes_blanks();
            return true;
        }
        (self.at, self.line) = here;
        false
    }

    fn passes_blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.step();
        }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn step(&mut self) {
        self.line += usize::from(self.peek() == Some('\n'));
        self.at += 1;
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[test]
fn a_path_is_found_however_it_is_written() {
    let written = "use std::{\n    sync::{Arc, atomic as a},\n    io::*, fs::{self}\n};\n\
        // std::env\nlet x: super :: super::shard::Row<'a> = \"crate::no\"; let y = '\"'; crate::wire::decode::<u8>(r#\"\"std::net\"#);";
    let found: Vec<(usize, String)> = paths(&code(written)).iter().map(|named| (named.line, named.shown())).collect();
    let of_interest = |(_, path): &&(usize, String)| path.contains("::");
    let found: Vec<(usize, &str)> = found.iter().filter(of_interest).map(|(line, path)| (*line, &**path)).collect();
    let expected = [
        (2, "std::sync::Arc"),
        (2, "std::sync::atomic"),
        (3, "std::io::*"),
        (3, "std::fs"),
        (6, "super::super::shard::Row"),
        (6, "crate::wire::decode"),
    ];
    assert_eq!(found, expected);
    let module = ["room".to_owned(), "log".to_owned()];
    let up = Named { line: 1, parts: ["super", "super", "shard"].map(str::to_owned).into() };
    assert_eq!(up.absolute(&module), Some(vec!["shard".to_owned()]));
    let near = Named { line: 1, parts: ["super", "shard"].map(str::to_owned).into() };
    assert_eq!(near.absolute(&module), Some(vec!["room".to_owned(), "shard".to_owned()]));
}
