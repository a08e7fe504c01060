//! Walks a parsed TOML document, takes typed values out of it, and collects
//! every mistake on the way instead of stopping at the first.
//!
//! Each question asked of a [`Section`] also records the key with its default
//! and its allowed values; a test compares that list with
//! `docs/configuration.md`, so the code is the only list of keys there is.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::{Fault, Mistake};

/// A key that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownKey {
    /// The key with its section, as in `edge.timers.t1_ms`.
    pub(crate) path: String,
    /// The default as one writes it; empty where there is none.
    pub(crate) default: String,
    /// The allowed values in words or as a range; empty for any.
    pub(crate) allowed: String,
}

/// What a value may be: a message's worth of "write ...".
pub(crate) type Wanted = String;

/// Mistakes and keys gathered from all sections of one file.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    mistakes: RefCell<Vec<Mistake>>,
    known: RefCell<Vec<KnownKey>>,
    unknown: RefCell<Vec<(String, Range<usize>)>>,
    sections: RefCell<Vec<String>>,
}

impl Findings {
    /// Adds a mistake.
    pub(crate) fn add(&self, span: Range<usize>, fault: Fault) {
        self.mistakes.borrow_mut().push(Mistake { span, fault });
    }

    /// Judges the keys nobody asked for and hands over all mistakes in the
    /// order of the file, with the keys that exist.
    pub(crate) fn finish(
        self,
        later: &[(&'static str, &'static str)],
    ) -> (Vec<Mistake>, Vec<KnownKey>) {
        let mut mistakes = self.mistakes.into_inner();
        let known = self.known.into_inner();
        let sections = self.sections.into_inner();
        for (path, span) in self.unknown.into_inner() {
            let fault = match later.iter().find(|(name, _)| *name == path) {
                Some((_, instead)) => Fault::NotInThisVersion { path, instead },
                None => {
                    let names = known.iter().map(|key| key.path.as_str());
                    let nearest = nearest(&path, names.chain(sections.iter().map(String::as_str)));
                    Fault::UnknownKey { path, nearest }
                }
            };
            mistakes.push(Mistake { span, fault });
        }
        mistakes.sort_by_key(|mistake| mistake.span.start);
        (mistakes, known)
    }
}

/// The known name most like `path`: the same key in another section, or a key
/// of the same section with a few letters changed.
fn nearest<'n>(path: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
    let (section, key) = split(path);
    let mut best: Option<(usize, &str)> = None;
    for name in names {
        let (name_section, name_key) = split(name);
        // A forgotten unit (`t1` for `t1_ms`) is one slip, however long it is.
        let forgotten = name_key
            .strip_prefix(key)
            .is_some_and(|rest| rest.starts_with('_'));
        let letters = if forgotten {
            1
        } else {
            strsim::osa_distance(key, name_key)
        };
        let distance = if name_section == section {
            letters
        } else {
            letters * 2 + 1
        };
        let bound = (key.len() / 3).max(2);
        if distance <= bound && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, name));
        }
    }
    best.map(|(_, name)| name.to_owned())
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

/// A value with the place it stands at, or the default with the place of its
/// section.
#[derive(Debug, Clone)]
pub(crate) struct Placed<T> {
    /// The value.
    pub(crate) value: T,
    /// Where it stands, for mistakes found later.
    pub(crate) span: Range<usize>,
    /// Whether the file names it.
    pub(crate) written: bool,
}

/// One table of the document; an absent one answers with defaults.
pub(crate) struct Section<'d> {
    path: String,
    table: Option<&'d DeTable<'d>>,
    span: Range<usize>,
    asked: Vec<&'static str>,
    findings: &'d Findings,
}

impl<'d> Section<'d> {
    /// The document's root.
    pub(crate) fn root(document: &'d Spanned<DeTable<'d>>, findings: &'d Findings) -> Self {
        Section {
            path: String::new(),
            table: Some(document.get_ref()),
            span: 0..0,
            asked: Vec::new(),
            findings,
        }
    }

    /// The table `key` of this one.
    pub(crate) fn section(&mut self, key: &'static str) -> Section<'d> {
        let path = self.path_of(key);
        self.findings.sections.borrow_mut().push(path.clone());
        let found = self.take(key);
        let (table, span) = match found {
            Some(value) => match value.get_ref() {
                DeValue::Table(table) => (Some(table), value.span()),
                other => {
                    let want = format!("a section: a line `[{path}]` with its keys below");
                    self.wrong_type(value.span(), path.clone(), other, want);
                    (None, value.span())
                }
            },
            None => (None, self.span.clone()),
        };
        Section {
            path,
            table,
            span,
            asked: Vec::new(),
            findings: self.findings,
        }
    }

    /// A whole number with a default within `range`.
    pub(crate) fn integer(
        &mut self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Placed<u64> {
        let (min, max) = (*range.start(), *range.end());
        self.know(key, default.to_string(), format!("{min} to {max}"));
        let path = self.path_of(key);
        let Some(value) = self.take(key) else {
            return self.absent(default);
        };
        let span = value.span();
        let DeValue::Integer(number) = value.get_ref() else {
            self.wrong_type(
                span,
                path,
                value.get_ref(),
                format!("a number from {min} to {max}"),
            );
            return self.absent(default);
        };
        match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(n) if u64::try_from(n).is_ok_and(|n| range.contains(&n)) => Placed {
                value: n as u64,
                span,
                written: true,
            },
            _ => {
                let found = number.as_str().to_owned();
                self.findings.add(
                    span,
                    Fault::OutOfRange {
                        path,
                        found,
                        min,
                        max,
                    },
                );
                self.absent(default)
            }
        }
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        self.know(key, default.to_string(), "true, false".to_owned());
        let path = self.path_of(key);
        match self.take(key) {
            None => default,
            Some(value) => match value.get_ref() {
                DeValue::Boolean(flag) => *flag,
                other => {
                    self.wrong_type(value.span(), path, other, "true or false".to_owned());
                    default
                }
            },
        }
    }

    /// A text that `parse` understands; `default` is what is written in the
    /// documents and is parsed too, where there is one.
    pub(crate) fn text<T>(
        &mut self,
        key: &'static str,
        default: &str,
        allowed: &str,
        parse: impl Fn(&str) -> Result<T, Wanted>,
    ) -> Option<Placed<T>> {
        let shown = if default.is_empty() {
            String::new()
        } else {
            format!("\"{default}\"")
        };
        self.know(key, shown, allowed.to_owned());
        let path = self.path_of(key);
        if let Some(value) = self.take(key)
            && let Some(placed) = self.parse_text(value, &path, allowed, &parse)
        {
            return Some(placed);
        }
        parse(default).ok().map(|value| self.absent(value))
    }

    /// A list of texts, or of values that `parse` takes in another form.
    pub(crate) fn list<T>(
        &mut self,
        key: &'static str,
        default: &[&str],
        allowed: &str,
        parse: impl Fn(&str) -> Result<T, Wanted>,
    ) -> Vec<Placed<T>> {
        let values = self.values(key, default, allowed);
        let path = self.path_of(key);
        match values {
            Some(values) => values
                .iter()
                .filter_map(|value| self.parse_text(value, &path, allowed, &parse))
                .collect(),
            None => default
                .iter()
                .filter_map(|text| parse(text).ok())
                .map(|value| self.absent(value))
                .collect(),
        }
    }

    /// The values of a list, each to be read by the caller; none where the
    /// file does not write it as a list.
    pub(crate) fn values(
        &mut self,
        key: &'static str,
        default: &[&str],
        allowed: &str,
    ) -> Option<Vec<&'d Spanned<DeValue<'d>>>> {
        let quoted: Vec<String> = default.iter().map(|text| format!("\"{text}\"")).collect();
        self.know(key, format!("[{}]", quoted.join(", ")), allowed.to_owned());
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::Array(items) => Some(items.iter().collect()),
            other => {
                let want = format!("a list: {key} = [\"...\"], each {allowed}");
                self.wrong_type(value.span(), self.path_of(key), other, want);
                None
            }
        }
    }

    /// The values of a list that has no default, each to be read by the
    /// caller, and the list's place.
    pub(crate) fn bare_values(
        &mut self,
        key: &'static str,
        allowed: &str,
    ) -> Option<(Vec<&'d Spanned<DeValue<'d>>>, Range<usize>)> {
        self.know(key, String::new(), allowed.to_owned());
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::Array(items) => Some((items.iter().collect(), value.span())),
            other => {
                self.wrong_type(value.span(), self.path_of(key), other, allowed.to_owned());
                None
            }
        }
    }

    /// A table whose keys are names of the operator's, such as domains, each
    /// with a text. `parse` gets both.
    pub(crate) fn entries<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl Fn(&str, &str) -> Result<T, Wanted>,
    ) -> Vec<Placed<T>> {
        self.know(key, String::new(), allowed.to_owned());
        let path = self.path_of(key);
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let DeValue::Table(table) = value.get_ref() else {
            let want = format!("a section: a line `[{path}]` with lines \"NAME\" = {allowed}");
            self.wrong_type(value.span(), path, value.get_ref(), want);
            return Vec::new();
        };
        let entry = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let name: &std::borrow::Cow<'_, str> = name.get_ref();
            let path = format!("{path}.\"{name}\"");
            if let DeValue::Table(_) = value.get_ref() {
                // A name with dots and without quotes is several keys.
                let want = format!("the name in quotes: \"example.org\" = {allowed}");
                self.wrong_type(value.span(), path, value.get_ref(), want);
                return None;
            }
            self.parse_text(value, &path, allowed, &|text: &str| parse(name, text))
        };
        table.iter().filter_map(entry).collect()
    }

    /// Reads one value as a text and parses it, noting what is wrong.
    pub(crate) fn parse_text<T>(
        &self,
        value: &Spanned<DeValue<'_>>,
        path: &str,
        allowed: &str,
        parse: &impl Fn(&str) -> Result<T, Wanted>,
    ) -> Option<Placed<T>> {
        let span = value.span();
        let DeValue::String(text) = value.get_ref() else {
            let want = format!("a text in quotes: {allowed}");
            self.wrong_type(span, path.to_owned(), value.get_ref(), want);
            return None;
        };
        match parse(text) {
            Ok(value) => Some(Placed {
                value,
                span,
                written: true,
            }),
            Err(want) => {
                let secret = path.ends_with("token");
                let found = if secret {
                    String::new()
                } else {
                    text.to_string()
                };
                self.findings.add(
                    span,
                    Fault::Malformed {
                        path: path.to_owned(),
                        found,
                        want,
                    },
                );
                None
            }
        }
    }

    /// A table standing as a value (an inline table of a list), read as a
    /// section of its own.
    pub(crate) fn inline(
        &self,
        key: &'static str,
        table: &'d DeTable<'d>,
        span: Range<usize>,
    ) -> Section<'d> {
        let path = self.path_of(key);
        Section {
            path,
            table: Some(table),
            span,
            asked: Vec::new(),
            findings: self.findings,
        }
    }

    /// Sections that may stand several times, `[[key]]`.
    pub(crate) fn tables(&mut self, key: &'static str) -> Vec<Section<'d>> {
        let path = self.path_of(key);
        self.findings.sections.borrow_mut().push(path.clone());
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let want = format!("sections: a line `[[{path}]]` before the keys of each");
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(value.span(), path, value.get_ref(), want);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in items {
            match item.get_ref() {
                DeValue::Table(table) => sections.push(self.inline(key, table, item.span())),
                other => self.wrong_type(item.span(), path.clone(), other, want.clone()),
            }
        }
        sections
    }

    /// Leaves keys to another reader of the same file.
    pub(crate) fn pass_over(&mut self, keys: &[&'static str]) {
        self.asked.extend_from_slice(keys);
    }

    /// Whether the file names the key.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// The place of the section, for mistakes about what it lacks.
    pub(crate) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The key with this section's name before it.
    pub(crate) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Notes two values that cannot both hold.
    pub(crate) fn contradiction(
        &self,
        key: &str,
        span: Range<usize>,
        what: impl Into<String>,
        want: impl Into<String>,
    ) {
        let path = self.path_of(key);
        let fault = Fault::Contradiction {
            path,
            what: what.into(),
            want: want.into(),
        };
        self.findings.add(span, fault);
    }

    /// Notes a mistake that the reader of the dialplan found.
    pub(crate) fn dialplan(&self, span: Range<usize>, message: String) {
        self.findings.add(span, Fault::Dialplan { message });
    }

    /// Hands every key nobody asked for to the findings.
    pub(crate) fn finish(self) {
        let Some(table) = self.table else { return };
        for (key, _) in table {
            if !self.asked.iter().any(|asked| *asked == key.get_ref()) {
                let path = self.path_of(key.get_ref());
                self.findings.unknown.borrow_mut().push((path, key.span()));
            }
        }
    }

    fn take(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.asked.push(key);
        let table: &'d DeTable<'d> = self.table?;
        table.get(key)
    }

    fn know(&self, key: &str, default: String, allowed: String) {
        let path = self.path_of(key);
        let mut known = self.findings.known.borrow_mut();
        if known.iter().all(|key| key.path != path) {
            known.push(KnownKey {
                path,
                default,
                allowed,
            });
        }
    }

    fn absent<T>(&self, value: T) -> Placed<T> {
        Placed {
            value,
            span: self.span.clone(),
            written: false,
        }
    }

    fn wrong_type(&self, span: Range<usize>, path: String, found: &DeValue<'_>, want: Wanted) {
        self.findings.add(
            span,
            Fault::WrongType {
                path,
                found: kind(found),
                want,
            },
        );
    }
}

/// A TOML type in words.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}
