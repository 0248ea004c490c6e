//! The pages for people name files, tests and properties: what they name is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::{root, rust_files, show};

fn pages() -> Vec<PathBuf> {
    files(&root(), "md")
}

/// All files of this kind, but for what is built, fetched or kept by tools.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            let foreign = ["target", "node_modules", "results"].contains(&name.as_str()) || name.starts_with('.');
            found.extend(if foreign { Vec::new() } else { files(&path, extension) });
        } else if path.extension().is_some_and(|of| of == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A word in back quotes is a path where it begins with a folder of ours: one of the root, or a floor of `src`.
fn names_a_path(word: &str) -> bool {
    let Some((first, rest)) = word.trim_start_matches("./").split_once('/') else { return false };
    let ours = !first.is_empty() && first != "target" && !rest.starts_with('*');
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    ours && plain && (root().join(first).is_dir() || root().join("src").join(first).is_dir())
}

fn is_there(path: &str) -> bool {
    let path = path.trim_start_matches("./");
    let (here, in_src) = (root().join(path), root().join("src").join(path));
    here.exists() || in_src.exists() || root().join("src").join(format!("{path}.rs")).exists()
}

#[test]
fn every_link_and_every_path_on_a_page_leads_somewhere() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for page in pages() {
        let folder = page.parent().expect("a page lies in a folder");
        for (number, line) in fs::read_to_string(&page).expect("a page is text").lines().enumerate() {
            let at = format!("{}:{}", show(&page), number + 1);
            for target in line.split("](").skip(1) {
                let target = target.split([')', '#', ' ']).next().unwrap_or_default();
                let foreign = target.is_empty() || target.contains("://");
                seen += usize::from(!foreign);
                if !foreign && !folder.join(target).exists() {
                    wrong.push(format!("{at}: links to {target}, which is not there"));
                }
            }
            for word in line.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.split("::").next()) {
                if names_a_path(word) {
                    seen += 1;
                    if !is_there(word) {
                        wrong.push(format!("{at}: names {word}, which is not there"));
                    }
                }
            }
        }
    }
    assert!(seen > 150, "{seen} links and paths");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_decision_has_a_number_of_its_own_and_every_citation_is_of_one() {
    let (mut numbers, mut wrong) = (BTreeMap::new(), Vec::new());
    for page in files(&root().join("docs/decisions"), "md") {
        let name = show(&page);
        let number = name.rsplit('/').next().and_then(|name| name.split('-').next()).unwrap_or_default().to_owned();
        if let Some(other) = numbers.insert(number, name.clone()) {
            wrong.push(format!("{name} has the number of {other}"));
        }
    }
    let sources = ["src", "loadgen", "tests", "benches"].into_iter().flat_map(|of| rust_files(&root().join(of)));
    for file in sources.chain(pages()) {
        for (line, text) in fs::read_to_string(&file).expect("a file of text").lines().enumerate() {
            // In two pieces, so that this line is no citation.
            for cited in text.split(concat!("decision", "s/")).chain(text.split("decision ")).skip(1) {
                // There are other numbers that something is decided by.
                let number = cited.get(..4).filter(|number| number.starts_with("00"));
                if let Some(number) = number.filter(|number| !numbers.contains_key(*number)) {
                    wrong.push(format!("{}:{}: there is no decision {number}", show(&file), line + 1));
                }
            }
        }
    }
    assert!(numbers.len() > 15, "{numbers:?}");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// `docs/promises.md` names tests as `file::function`, and properties by letter and number before the file that checks
/// them.
#[test]
fn every_promise_is_shown_by_tests_that_exist() {
    let page = fs::read_to_string(root().join("docs/promises.md")).expect("the page is there");
    let (mut wrong, mut seen) = (Vec::new(), 0);
    let names = page.split('`').skip(1).step_by(2).filter_map(|name| Some((name, name.split_once("::")?)));
    for (name, (file, function)) in names {
        seen += 1;
        let text = fs::read_to_string(root().join(file)).unwrap_or_default();
        let Some((before, _)) = text.split_once(&format!("fn {function}(")) else {
            wrong.push(format!("docs/promises.md names {name}, which is not there"));
            continue;
        };
        let attributes = before.trim_end_matches("pub(crate) ").trim_end().rsplit("\n\n").next().unwrap_or_default();
        let on_sockets = !file.starts_with("tests/simulation") && file.starts_with("tests/");
        if on_sockets && !attributes.contains("#[test]") || attributes.contains("#[ignore") {
            wrong.push(format!("docs/promises.md names {name}, which no run of the tests runs"));
        }
    }
    let mut properties_seen = 0;
    // All rows of all tables; their heads and lines have no back quotes.
    for row in page.lines().filter(|line| line.starts_with("| ") && line.contains('`')) {
        assert_eq!(row.matches('|').count(), 4, "a row of docs/promises.md has three cells: {row}");
        // A cell of properties: `R1, R2 file::function …; V3–V5 file::function`.
        let cell = row.split('|').nth(2).unwrap_or_default();
        for part in cell.split(';') {
            let words = part.split('`').next().unwrap_or_default().split([' ', ',']);
            let properties: Vec<String> = words.flat_map(properties_of).collect();
            properties_seen += properties.len();
            let files = part.split('`').skip(1).step_by(2).filter_map(|name| name.split("::").next());
            let texts: Vec<String> =
                files.map(|file| fs::read_to_string(root().join(file)).unwrap_or_default()).collect();
            let checks = |property: &String| texts.iter().any(|text| text.contains(&format!("\"{property} ")));
            for property in properties.iter().filter(|property| !checks(property)) {
                wrong.push(format!("docs/promises.md says that {} checks {property}, which it does not", part.trim()));
            }
        }
    }
    assert!(seen > 30 && properties_seen > 30, "docs/promises.md names {seen} tests and {properties_seen} properties");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// `R1`, or all of `F1–F6`.
fn properties_of(word: &str) -> Vec<String> {
    let one = |word: &str| -> Option<(char, u32)> {
        let letter = word.chars().next().filter(char::is_ascii_uppercase)?;
        Some((letter, word[1..].parse().ok()?))
    };
    let (from, to) = word.split_once('–').unwrap_or((word, word));
    match (one(from), one(to)) {
        (Some((letter, from)), Some((same, to))) if letter == same => {
            (from..=to).map(|number| format!("{letter}{number}")).collect()
        }
        _ => Vec::new(),
    }
}

/// A seed that breaks a property says its letter and number, and that must lead to one sentence.
#[test]
fn a_property_of_the_simulation_is_one_thing() {
    let (mut nouns, mut sentences): (BTreeMap<String, BTreeSet<String>>, BTreeMap<String, usize>) = Default::default();
    let folder = root().join("tests/simulation");
    for file in rust_files(&folder) {
        let inside = file.strip_prefix(&folder).expect("it lies there").with_extension("");
        let noun = inside.iter().next().unwrap_or_default().to_string_lossy().into_owned();
        for line in fs::read_to_string(&file).expect("a file of text").lines() {
            let line = line.trim_start();
            if let Some(said) = line.strip_prefix("//").map(|said| said.trim_start_matches('/')) {
                for word in said.split_whitespace().filter_map(|word| word.strip_suffix(':')) {
                    properties_of(word).into_iter().for_each(|property| *sentences.entry(property).or_default() += 1);
                }
                continue;
            }
            for told in line.split('"').skip(1) {
                for property in told.split_once(' ').map(|(word, _)| properties_of(word)).unwrap_or_default() {
                    nouns.entry(property).or_default().insert(noun.clone());
                }
            }
        }
    }
    let torn = nouns.iter().filter(|(_, nouns)| nouns.len() > 1);
    let wrong: Vec<String> = torn
        .map(|(property, nouns)| format!("{property} is a property of {nouns:?}: give one of them another number"))
        .chain(sentences.iter().filter(|(_, n)| **n > 1).map(|(property, n)| format!("{property} is said {n} times")))
        .collect();
    assert!(nouns.len() > 50, "{} properties", nouns.len());
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
