//! The lint of the house: what `docs/architecture.md` promises about the code and no compiler
//! checks. Tiers and purity of the crates, lengths of files and functions, words, names, and the
//! documents that must name every crate and every dependency.

mod code;
mod docs;
mod lex;
mod manifest;
mod tiers;

use code::Rules;
use manifest::Manifest;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Folders that hold nothing written by hand.
const SKIPPED: &[&str] = &["target", "artifacts", "corpus", "coverage", ".git"];
/// The clippy rules of the pure crates: each of them has its own copy or link.
const PURE_CLIPPY: &str = "clippy-pure.toml";

/// Something to put right, or, as a note, to know.
#[derive(Debug)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    what: String,
    is_error: bool,
}

impl Finding {
    fn error(path: &str, line: usize, what: String) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what,
            is_error: true,
        }
    }

    fn note(path: &str, line: usize, what: String) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what,
            is_error: false,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_error { "error" } else { "note" };
        write!(f, "{}:{}: {kind}: {}", self.path, self.line, self.what)
    }
}

/// Checks the workspace at `root` and prints what it finds. True when there is no error.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn run(root: &Path) -> io::Result<bool> {
    let tree = Tree::read(root)?;
    let findings = tree.check();
    for finding in &findings {
        println!("{finding}");
    }
    let errors = findings.iter().filter(|finding| finding.is_error).count();
    println!(
        "tidy: {} files, {errors} errors, {} notes",
        tree.files.len(),
        findings.len() - errors
    );
    Ok(errors == 0)
}

/// The workspace's text files, by their path from its root.
#[derive(Debug, Default)]
struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    fn read(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(root.join(&folder))? {
                let entry = entry?;
                let name = entry.file_name();
                let path = folder.join(&name);
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    if !SKIPPED.iter().any(|skipped| name == *skipped) {
                        folders.push(path);
                    }
                } else if let Ok(text) = fs::read_to_string(entry.path()) {
                    // What is no UTF-8 is data.
                    tree.files.insert(path.to_string_lossy().into_owned(), text);
                }
            }
        }
        Ok(tree)
    }

    fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let crates = self.crates(&mut findings);
        self.check_dependencies(&crates, &mut findings);
        for (folder, manifest) in &crates {
            self.check_crate(folder, manifest, &mut findings);
        }
        self.check_decisions(&mut findings);
        for (path, text) in &self.files {
            findings.extend(docs::foreign_paths(path, text));
        }
        findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
        findings
    }

    /// The manifests under `crates/`, by folder.
    fn crates(&self, findings: &mut Vec<Finding>) -> Vec<(String, Manifest)> {
        let mut crates = Vec::new();
        for (path, text) in &self.files {
            let Some(folder) = path.strip_suffix("/Cargo.toml") else {
                continue;
            };
            let Some(name) = folder.strip_prefix("crates/") else {
                continue;
            };
            match Manifest::parse(text) {
                Ok(manifest) => {
                    if manifest.name != name {
                        let what =
                            format!("the crate `{}` lies in `{folder}`: one name", manifest.name);
                        findings.push(Finding::error(path, 1, what));
                    }
                    crates.push((folder.to_owned(), manifest));
                }
                Err(what) => findings.push(Finding::error(path, 1, what)),
            }
        }
        crates
    }

    /// Tiers, and a line in the documents for each crate and each third-party dependency.
    fn check_dependencies(&self, crates: &[(String, Manifest)], findings: &mut Vec<Finding>) {
        let mut third_party = BTreeMap::new();
        let root = self.files.get("Cargo.toml").map_or("", String::as_str);
        match Manifest::parse(root) {
            Ok(root) => {
                third_party.extend(ours_left_out(&root.workspace_dependencies, "Cargo.toml"))
            }
            Err(what) => findings.push(Finding::error("Cargo.toml", 1, what)),
        }
        for (folder, manifest) in crates {
            let path = format!("{folder}/Cargo.toml");
            findings.extend(manifest.check(&path, manifest.name != "fuzz"));
            third_party.extend(ours_left_out(&manifest.dependencies, &path));
        }
        let third_party: Vec<_> = third_party.into_iter().collect();
        self.document(
            "docs/dependencies.md",
            &third_party,
            "what for, why this one, what was passed over",
            findings,
        );
        let crates: Vec<_> = crates
            .iter()
            .map(|(folder, manifest)| (manifest.name.clone(), folder.clone()))
            .collect();
        self.document(
            "docs/architecture.md",
            &crates,
            "what it is for and its invariant",
            findings,
        );
    }

    fn document(
        &self,
        path: &str,
        names: &[(String, String)],
        what: &str,
        findings: &mut Vec<Finding>,
    ) {
        match self.files.get(path) {
            Some(text) => findings.extend(docs::names_all(path, text, names, what)),
            None if names.is_empty() => {}
            None => findings.push(Finding::error(path, 1, format!("is missing: {what}"))),
        }
    }

    fn check_crate(&self, folder: &str, manifest: &Manifest, findings: &mut Vec<Finding>) {
        let pure = tiers::find(&manifest.name).is_some_and(tiers::Place::is_pure);
        let under = format!("{folder}/");
        let sources: Vec<_> = self
            .files
            .range(under.clone()..)
            .take_while(|(path, _)| path.starts_with(&under))
            .filter(|(path, _)| path.ends_with(".rs"))
            .collect();
        let test_files: BTreeSet<String> = sources
            .iter()
            .flat_map(|(path, text)| test_files(path, text))
            .collect();
        for (path, text) in sources {
            let inside = &path[under.len()..];
            let beside_src = inside.starts_with("tests/") || inside.starts_with("benches/");
            let is_test = beside_src || is_test_file(inside, path, &test_files);
            let rules = Rules {
                pure,
                may_be_unsafe: manifest.name == "net",
                is_test,
                beside_src,
            };
            findings.extend(code::check(path, text, rules));
            if inside == "src/lib.rs" && !text.starts_with("//!") {
                let what = "begins with `//!`: the problem, the approach, what is not attempted";
                findings.push(Finding::error(path, 1, what.to_owned()));
            }
        }
        if pure {
            let path = format!("{folder}/clippy.toml");
            let same = self
                .files
                .get(&path)
                .is_some_and(|own| Some(own) == self.files.get(PURE_CLIPPY));
            if !same {
                let what =
                    format!("is not the same as {PURE_CLIPPY}: `ln -s ../../{PURE_CLIPPY} {path}`");
                findings.push(Finding::error(&path, 1, what));
            }
        }
    }

    fn check_decisions(&self, findings: &mut Vec<Finding>) {
        let mut numbers = BTreeSet::new();
        for (path, text) in &self.files {
            let Some(file) = path.strip_prefix("docs/decisions/") else {
                continue;
            };
            findings.extend(docs::decision(path, text));
            if let Some(number) = docs::number(file)
                && !numbers.insert(number)
            {
                findings.push(Finding::error(
                    path,
                    1,
                    format!("the number {number} is taken"),
                ));
            }
        }
    }
}

/// The third-party ones of `dependencies`, each with where it is asked for.
fn ours_left_out<'a>(
    dependencies: &'a [manifest::Dependency],
    path: &'a str,
) -> impl Iterator<Item = (String, String)> + 'a {
    let third_party = dependencies
        .iter()
        .filter(|dependency| !dependency.is_path && tiers::find(&dependency.name).is_none());
    third_party.map(move |dependency| {
        (
            dependency.name.clone(),
            format!("{path}:{}", dependency.line),
        )
    })
}

/// The files and folders that hold the modules which `path` declares for tests.
fn test_files(path: &str, text: &str) -> Vec<String> {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let home = match file {
        "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    };
    code::test_modules(text)
        .iter()
        .map(|module| format!("{home}/{module}"))
        .collect()
}

fn is_test_file(inside: &str, path: &str, test_files: &BTreeSet<String>) -> bool {
    let stem = path.trim_end_matches(".rs");
    let declared = stem
        .match_indices('/')
        .map(|(at, _)| &stem[..at])
        .chain([stem])
        .any(|part| test_files.contains(part));
    declared || inside.ends_with("/tests.rs") || inside.contains("/tests/")
}

#[cfg(test)]
mod tests;
