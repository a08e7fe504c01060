//! Checks of one Rust file: purity, `unsafe`, lengths, words and names.

use super::Finding;
use super::lex::{Comment, Kind, Source, Token};

/// Lines of a file without its tests.
const FILE_LINES_MAX: usize = 800;
/// Lines of a function, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 100;
/// A function longer than this is long: said, but no error.
const FUNCTION_LINES_NOTED: usize = 70;

/// What is asked of a file, by where it lies.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rules {
    /// Tier 1 or 2: no sockets, clock, files, threads, environment, randomness, locks.
    pub(crate) pure: bool,
    /// `unsafe` is allowed in code that is not a test.
    pub(crate) may_be_unsafe: bool,
    /// All of it is test code.
    pub(crate) is_test: bool,
    /// It lies under `tests/` or `benches/`, where a counting allocator may be.
    pub(crate) beside_src: bool,
}

/// Paths that reach outside a pure machine: prefix, what instead.
const OUTSIDE: &[(&str, &str)] = &[
    (
        "std::net::UdpSocket",
        "return a send effect; `driver` and `net` perform it",
    ),
    (
        "std::net::TcpStream",
        "return a send effect; `driver` and `net` perform it",
    ),
    (
        "std::net::TcpListener",
        "return an effect; `driver` and `net` perform it",
    ),
    (
        "std::net::ToSocketAddrs",
        "return a resolve effect; `net` performs it",
    ),
    ("std::fs", "take the bytes as a parameter"),
    ("std::thread", "return an effect; `driver` owns the threads"),
    ("std::env", "take the value as a parameter"),
    (
        "std::process",
        "return an effect; only a program starts or ends processes",
    ),
    ("std::io::stdin", "take the bytes as a parameter"),
    ("std::io::stdout", "return the value; a program prints"),
    ("std::io::stderr", "return the value; a program prints"),
    ("std::sync::Mutex", "give the object one owner"),
    (
        "std::sync::RwLock",
        "give the object one owner, or pass an immutable snapshot",
    ),
    ("std::sync::Condvar", "give the object one owner"),
    ("parking_lot", "give the object one owner"),
    ("tokio", "return an effect; `driver` performs it"),
    ("async_std", "return an effect; `driver` performs it"),
    ("getrandom", "take a seeded source at construction"),
    ("rand::thread_rng", "take a seeded source at construction"),
    ("rand::rng", "take a seeded source at construction"),
    ("rand::random", "take a seeded source at construction"),
    ("rand::rngs::OsRng", "take a seeded source at construction"),
    (
        "rand::rngs::ThreadRng",
        "take a seeded source at construction",
    ),
];

/// Names that are outside whatever path leads to them: the last parts of a path, what instead.
const OUTSIDE_NAMES: &[(&str, &str)] = &[
    ("Instant::now", "take the time as a parameter"),
    ("SystemTime::now", "take the time as a parameter"),
    ("Instant::elapsed", "take the time as a parameter"),
    (
        "UdpSocket::bind",
        "return an effect; `net` owns the sockets",
    ),
    ("Mutex", "give the object one owner"),
    (
        "RwLock",
        "give the object one owner, or pass an immutable snapshot",
    ),
    ("thread_rng", "take a seeded source at construction"),
    ("OsRng", "take a seeded source at construction"),
];

const PRINTING: &[&str] = &["print", "println", "eprint", "eprintln"];
const UNFINISHED_MACROS: &[&str] = &["todo", "unimplemented", "dbg"];
const UNFINISHED_WORDS: &[&str] = &["FIXME", "XXX", "HACK"];
const VAGUE: &[&str] = &[
    "common",
    "helper",
    "helpers",
    "manager",
    "managers",
    "util",
    "utility",
    "utilities",
    "utils",
];
/// Getters by the standard library's own convention, where no shorter word says the same.
const GETTERS: &[&str] = &[
    "get_mut",
    "get_or_insert",
    "get_or_insert_with",
    "get_or_init",
];

/// Checks one file. `path` is as findings show it.
pub(crate) fn check(path: &str, text: &str, rules: Rules) -> Vec<Finding> {
    let source = Source::new(text);
    let tests = test_regions(&source);
    let mut file = File {
        path,
        source: &source,
        tests,
        rules,
        findings: Vec::new(),
    };
    file.lengths();
    file.words();
    file.names();
    file.unsafe_code();
    if rules.pure {
        file.purity();
    }
    file.findings
}

/// The modules that this file declares under `#[cfg(test)]`: files by these names are test code.
pub(crate) fn test_modules(text: &str) -> Vec<String> {
    let source = Source::new(text);
    let declared = |&(begin, end): &(usize, usize)| {
        let tokens = &source.tokens[begin..=end];
        let at = tokens.iter().position(|token| token.is("mod"))?;
        (tokens.len() == at + 3).then(|| tokens[at + 1].text.to_owned())
    };
    test_regions(&source).iter().filter_map(declared).collect()
}

/// The items under `#[cfg(test)]` or `#[test]`, as first and last token.
fn test_regions(source: &Source<'_>) -> Vec<(usize, usize)> {
    let tokens = &source.tokens;
    let mut regions = Vec::new();
    let mut index = 0;
    while index + 2 < tokens.len() {
        let inner = tokens[index + 1].is("!");
        let open = index + 1 + usize::from(inner);
        if !tokens[index].is("#") || !tokens.get(open).is_some_and(|token| token.is("[")) {
            index += 1;
            continue;
        }
        let close = source.closing(open);
        if !is_test_attribute(&tokens[open + 1..close]) {
            index = close + 1;
            continue;
        }
        if inner {
            return vec![(0, tokens.len() - 1)];
        }
        let mut item = close + 1;
        while tokens.get(item).is_some_and(|token| token.is("#")) {
            item = source.closing(item + 1) + 1;
        }
        let end = source.item_end(item);
        regions.push((index, end));
        index = end + 1;
    }
    regions
}

fn is_test_attribute(attribute: &[Token<'_>]) -> bool {
    let has = |word: &str| attribute.iter().any(|token| token.is(word));
    match attribute.first() {
        Some(first) if first.is("cfg") => has("test") && !has("not"),
        Some(first) if first.is("test") => attribute.len() == 1,
        _ => false,
    }
}

struct File<'a> {
    path: &'a str,
    source: &'a Source<'a>,
    tests: Vec<(usize, usize)>,
    rules: Rules,
    findings: Vec<Finding>,
}

impl<'a> File<'a> {
    fn error(&mut self, line: usize, what: String) {
        self.findings.push(Finding::error(self.path, line, what));
    }

    fn in_test(&self, token: usize) -> bool {
        self.rules.is_test
            || self
                .tests
                .iter()
                .any(|&(begin, end)| (begin..=end).contains(&token))
    }

    fn lengths(&mut self) {
        if self.rules.is_test {
            return;
        }
        let tokens = &self.source.tokens;
        let test_lines: usize = self
            .tests
            .iter()
            .map(|&(begin, end)| tokens[end].line - tokens[begin].line + 1)
            .sum();
        let lines = self.source.lines.saturating_sub(test_lines);
        if lines > FILE_LINES_MAX {
            self.error(
                1,
                format!(
                    "{lines} lines without tests, {FILE_LINES_MAX} is the limit: split by thing"
                ),
            );
        }
        for index in 0..tokens.len() {
            let is_function = tokens[index].is("fn")
                && tokens
                    .get(index + 1)
                    .is_some_and(|next| next.kind == Kind::Ident);
            if is_function && !self.in_test(index) {
                self.function_length(index);
            }
        }
    }

    fn function_length(&mut self, index: usize) {
        let tokens = &self.source.tokens;
        let (line, name) = (tokens[index].line, tokens[index + 1].text);
        let lines = tokens[self.source.item_end(index)].line - line + 1;
        let what = format!("`{name}` has {lines} lines");
        if lines > FUNCTION_LINES_MAX {
            self.error(
                line,
                format!("{what}, {FUNCTION_LINES_MAX} is the limit: split it"),
            );
        } else if lines > FUNCTION_LINES_NOTED {
            let what = format!("{what}: {FUNCTION_LINES_NOTED} is long");
            self.findings.push(Finding::note(self.path, line, what));
        }
    }

    fn words(&mut self) {
        let source = self.source;
        for &Comment { text, line } in &source.comments {
            for word in text.split(|c: char| c != '_' && !c.is_alphanumeric()) {
                if UNFINISHED_WORDS.contains(&word) {
                    self.error(line, format!("{word}: finish it, or file it as an issue"));
                }
            }
        }
        for (index, pair) in source.tokens.windows(2).enumerate() {
            let [token, next] = pair else { continue };
            if UNFINISHED_MACROS.contains(&token.text) && next.is("!") && token.kind == Kind::Ident
            {
                self.error(token.line, format!("{}!: finish it", token.text));
            }
            if token.is(".") && next.is("unwrap") && !self.in_test(index) {
                self.error(
                    next.line,
                    "unwrap() outside tests: handle it, or `expect` the invariant".to_owned(),
                );
            }
        }
    }

    fn names(&mut self) {
        let source = self.source;
        for pair in source.tokens.windows(2) {
            let [keyword, name] = pair else { continue };
            if keyword.kind != Kind::Ident || name.kind != Kind::Ident {
                continue;
            }
            match keyword.text {
                "struct" | "enum" | "trait" | "type" | "mod" | "union" => {
                    let vague = words_of(name.text).find(|word| VAGUE.contains(&word.as_str()));
                    if let Some(word) = vague {
                        let what =
                            format!("`{}`: `{word}` says nothing; name what it is", name.text);
                        self.error(name.line, what);
                    }
                }
                "fn" if name.text.starts_with("get_") && !GETTERS.contains(&name.text) => {
                    let short = &name.text["get_".len()..];
                    let what = format!("`{}`: no `get_`, call it `{short}`", name.text);
                    self.error(name.line, what);
                }
                _ => {}
            }
        }
    }

    fn unsafe_code(&mut self) {
        if self.rules.may_be_unsafe || self.rules.beside_src {
            return;
        }
        for token in self.source.tokens.iter().filter(|token| token.is("unsafe")) {
            self.findings.push(Finding::error(
                self.path,
                token.line,
                "`unsafe` outside `net`: only `net` may, and files under tests/ or benches/ for a \
                 counting allocator"
                    .to_owned(),
            ));
        }
    }

    fn purity(&mut self) {
        let source = self.source;
        for (index, path) in paths(source) {
            if !self.in_test(index) {
                self.path_is_pure(source.tokens[index].line, &path);
            }
        }
        for (index, pair) in source.tokens.windows(2).enumerate() {
            let [token, next] = pair else { continue };
            if PRINTING.contains(&token.text) && next.is("!") && !self.in_test(index) {
                let what = format!("{}! in a pure crate: return the value", token.text);
                self.error(token.line, what);
            }
        }
    }

    fn path_is_pure(&mut self, line: usize, path: &str) {
        let path = path.replacen("core::", "std::", 1);
        let prefixed = OUTSIDE.iter().find(|(outside, _)| {
            path.strip_prefix(outside)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        });
        let named = || {
            OUTSIDE_NAMES
                .iter()
                .find(|(outside, _)| format!("::{path}::").contains(&format!("::{outside}::")))
        };
        if let Some((_, instead)) = prefixed.or_else(named) {
            self.error(line, format!("`{path}` in a pure crate: {instead}"));
        }
    }
}

/// Every path in the code: those of `use` trees spread out, the others as written. With the index
/// of the token each begins at.
fn paths(source: &Source<'_>) -> Vec<(usize, String)> {
    let tokens = &source.tokens;
    let mut found = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        if tokens[index].is("use") {
            let end = tokens[index..].iter().position(|token| token.is(";"));
            let end = end.map_or(tokens.len(), |end| index + end);
            use_tree(tokens, index + 1, end, "", &mut found);
            index = end + 1;
        } else if tokens[index].kind == Kind::Ident {
            let begin = index;
            let mut path = tokens[index].text.to_owned();
            index += 1;
            while is_separator(tokens, index)
                && tokens
                    .get(index + 2)
                    .is_some_and(|token| token.kind == Kind::Ident)
            {
                path.push_str("::");
                path.push_str(tokens[index + 2].text);
                index += 3;
            }
            found.push((begin, path));
        } else {
            index += 1;
        }
    }
    found
}

fn is_separator(tokens: &[Token<'_>], index: usize) -> bool {
    tokens.get(index).is_some_and(|token| token.is(":"))
        && tokens.get(index + 1).is_some_and(|token| token.is(":"))
}

/// Spreads out one level of a `use` tree between `begin` and `end`.
fn use_tree(
    tokens: &[Token<'_>],
    begin: usize,
    end: usize,
    prefix: &str,
    found: &mut Vec<(usize, String)>,
) {
    let mut path = prefix.to_owned();
    let mut first = begin;
    let mut index = begin;
    let mut open = false;
    while index < end {
        let token = &tokens[index];
        if token.is("{") {
            let close = matching(tokens, index, end);
            use_tree(tokens, index + 1, close, &path, found);
            path = prefix.to_owned();
            open = false;
            index = close + 1;
        } else if token.is(",") {
            if open {
                found.push((first, std::mem::replace(&mut path, prefix.to_owned())));
            }
            open = false;
            index += 1;
        } else if token.is("as") {
            index += 2;
        } else {
            if token.kind == Kind::Ident && token.text != "self" {
                if !path.is_empty() {
                    path.push_str("::");
                }
                path.push_str(token.text);
            }
            if !open && token.kind == Kind::Ident {
                first = index;
                open = true;
            }
            index += 1;
        }
    }
    if open {
        found.push((first, path));
    }
}

fn matching(tokens: &[Token<'_>], open: usize, end: usize) -> usize {
    let mut depth = 0usize;
    for (index, token) in tokens.iter().enumerate().take(end).skip(open) {
        if token.is("{") {
            depth += 1;
        } else if token.is("}") {
            depth -= 1;
            if depth == 0 {
                return index;
            }
        }
    }
    end
}

/// The words of a `CamelCase` or `snake_case` name, in lower case.
fn words_of(name: &str) -> impl Iterator<Item = String> {
    let mut words = vec![String::new()];
    for letter in name.chars() {
        if letter == '_' || letter.is_uppercase() {
            words.push(String::new());
        }
        if letter != '_' {
            words
                .last_mut()
                .expect("it begins with one")
                .extend(letter.to_lowercase());
        }
    }
    words.into_iter()
}

#[cfg(test)]
mod tests;
