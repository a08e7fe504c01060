//! Takes typed values out of one table of a text, and notes every mistake.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::{Fault, Mistake};
use super::parts::PinRule;
use super::step::{Piece, Step, is_name};

/// Steps with their places.
pub(super) type Placed = Vec<(Step, Range<usize>)>;

/// A table that is being read.
pub(super) struct Section<'d> {
    path: String,
    table: &'d DeTable<'d>,
    pub(super) span: Range<usize>,
    asked: Vec<&'static str>,
    source: usize,
    pub(super) mistakes: Vec<Mistake>,
}

impl<'d> Section<'d> {
    pub(super) fn new(
        path: &str,
        table: &'d DeTable<'d>,
        span: Range<usize>,
        source: usize,
    ) -> Section<'d> {
        Section {
            path: path.to_owned(),
            table,
            span,
            asked: Vec::new(),
            source,
            mistakes: Vec::new(),
        }
    }

    pub(super) fn mistake(&mut self, span: Range<usize>, fault: Fault) {
        self.mistakes.push(Mistake {
            source: self.source,
            span,
            fault,
        });
    }

    fn malformed(&mut self, key: &str, span: Range<usize>, found: &str, want: &str) {
        let path = format!("{}.{key}", self.path);
        let (found, want) = (found.to_owned(), want.to_owned());
        self.mistake(span, Fault::Malformed { path, found, want });
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn take(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.asked.push(key);
        self.table.get(key)
    }

    /// Notes the keys that nobody asked for.
    pub(super) fn finish(mut self) -> Vec<Mistake> {
        let mut known: Vec<&str> = self.asked.clone();
        known.sort_unstable();
        let known = known.join(", ");
        for (key, value) in self.table.iter() {
            if !self.asked.contains(&key.get_ref().as_ref()) {
                let path = format!("{}.{}", self.path, key.get_ref());
                let known = known.clone();
                let _ = value;
                self.mistake(key.span(), Fault::UnknownKey { path, known });
            }
        }
        self.mistakes
    }

    /// A text that `parse` understands.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, &'static str>,
    ) -> Option<T> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::String(text) => match parse(text) {
                Ok(parsed) => return Some(parsed),
                Err(want) => self.malformed(key, value.span(), text, want),
            },
            other => {
                let want = parse("").err().unwrap_or("a text");
                self.malformed(key, value.span(), kind(other), want);
            }
        }
        None
    }

    /// A name; a mistake if it is absent.
    pub(super) fn name(&mut self, key: &'static str) -> Option<String> {
        if !self.table.contains_key(key) {
            self.asked.push(key);
            let path = self.path.clone();
            self.mistake(self.span.clone(), Fault::Missing { path, key });
            return None;
        }
        self.parsed(key, named)
    }

    /// A name that may be absent.
    pub(super) fn some_name(&mut self, key: &'static str) -> Option<String> {
        self.parsed(key, named)
    }

    /// A text for displays.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        self.parsed(key, |text| {
            let ok = text.len() <= 128 && !text.chars().any(char::is_control);
            ok.then(|| text.to_owned())
                .ok_or("a text of at most 128 characters")
        })
    }

    /// A whole number.
    pub(super) fn number(&mut self, key: &'static str, default: u32, min: u32, max: u32) -> u32 {
        let Some(value) = self.take(key) else {
            return default;
        };
        let span = value.span();
        let found = match value.get_ref() {
            DeValue::Integer(number) => {
                let parsed = u32::from_str_radix(number.as_str(), number.radix());
                match parsed {
                    Ok(number) if (min..=max).contains(&number) => return number,
                    _ => number.as_str().to_owned(),
                }
            }
            other => kind(other).to_owned(),
        };
        self.malformed(key, span, &found, &format!("a number from {min} to {max}"));
        default
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        let Some(value) = self.take(key) else {
            return default;
        };
        if let DeValue::Boolean(flag) = value.get_ref() {
            return *flag;
        }
        self.malformed(key, value.span(), kind(value.get_ref()), "true or false");
        default
    }

    /// A list of texts, or one text.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, &'static str>,
    ) -> Option<Vec<T>> {
        let texts = self.texts(key)?;
        let mut list = Vec::new();
        for (text, span) in texts {
            match parse(text) {
                Ok(item) => list.push(item),
                Err(want) => self.malformed(key, span, text, want),
            }
        }
        Some(list)
    }

    fn texts(&mut self, key: &'static str) -> Option<Vec<(&'d str, Range<usize>)>> {
        let value = self.take(key)?;
        self.texts_of(key, value)
    }

    fn texts_of(
        &mut self,
        key: &str,
        value: &'d Spanned<DeValue<'d>>,
    ) -> Option<Vec<(&'d str, Range<usize>)>> {
        let one = std::slice::from_ref(value);
        let items: Vec<&'d Spanned<DeValue<'d>>> = match value.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            _ => one.iter().collect(),
        };
        let mut texts = Vec::new();
        for item in items {
            match item.get_ref() {
                DeValue::String(text) => texts.push((text.as_ref(), item.span())),
                other => {
                    self.malformed(key, item.span(), kind(other), "a text, or a list of texts")
                }
            }
        }
        Some(texts)
    }

    /// Steps: a list, or one.
    pub(super) fn steps(&mut self, key: &'static str) -> Option<Placed> {
        let value = self.take(key)?;
        Some(self.steps_of(key, value))
    }

    fn steps_of(&mut self, key: &str, value: &'d Spanned<DeValue<'d>>) -> Placed {
        let mut steps = Vec::new();
        for (text, span) in self.texts_of(key, value).unwrap_or_default() {
            match Step::parse(text) {
                Ok(Step::Forwards(_) | Step::Diverted(..)) => {
                    self.malformed(
                        key,
                        span,
                        text,
                        "another step; this one is the program's own",
                    );
                }
                Ok(step) => steps.push((step, span)),
                Err(wrong) => self.malformed(key, span, text, &wrong.0),
            }
        }
        if steps.len() > super::STEPS_MAX {
            self.mistake(
                value.span(),
                Fault::TooMany {
                    what: "steps",
                    max: super::STEPS_MAX,
                },
            );
        }
        steps
    }

    /// Sounds with the places of those that are prompts.
    pub(super) fn pieces(
        &mut self,
        key: &'static str,
        prompts: &mut Vec<(String, Range<usize>)>,
    ) -> Option<Vec<Piece>> {
        let texts = self.texts(key)?;
        let mut pieces = Vec::new();
        for (text, span) in texts {
            for word in text.split_whitespace() {
                match Piece::parse(word) {
                    Ok(piece) => {
                        if let Piece::Prompt(name) = &piece {
                            prompts.push((name.clone(), span.clone()));
                        }
                        pieces.push(piece);
                    }
                    Err(want) => self.malformed(key, span.clone(), word, want),
                }
            }
        }
        Some(pieces)
    }

    /// A table of keys of a telephone with steps.
    pub(super) fn keys(&mut self, key: &'static str) -> Vec<(String, Placed)> {
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let DeValue::Table(table) = value.get_ref() else {
            let want = "keys and steps, as { 1 = \"goto 101\" }";
            self.malformed(key, value.span(), kind(value.get_ref()), want);
            return Vec::new();
        };
        let mut keys = Vec::new();
        for (pressed, value) in table.iter() {
            let text: &str = pressed.get_ref();
            let is_keys = (1..=8).contains(&text.len())
                && text
                    .bytes()
                    .all(|b| b.is_ascii_digit() || b"*#".contains(&b));
            if is_keys {
                keys.push((text.to_owned(), self.steps_of(key, value)));
            } else {
                self.malformed(key, pressed.span(), text, "one to eight of 0 to 9, * and #");
            }
        }
        keys
    }

    /// A PIN: digits, or `true` for one that the store knows.
    pub(super) fn pin(&mut self, default: PinRule) -> PinRule {
        let Some(value) = self.take("pin") else {
            return default;
        };
        match value.get_ref() {
            DeValue::Boolean(true) => PinRule::Stored,
            DeValue::Boolean(false) => PinRule::None,
            DeValue::String(text)
                if (3..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) =>
            {
                PinRule::Fixed(text.to_string())
            }
            // What was written is not repeated: it may be nearly right.
            _ => {
                let want = "3 to 16 digits in quotes, true for a PIN of the store, or false";
                self.malformed("pin", value.span(), "...", want);
                default
            }
        }
    }
}

fn named(text: &str) -> Result<String, &'static str> {
    if is_name(text) {
        Ok(text.to_owned())
    } else {
        Err("1 to 64 letters, digits, - and _")
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
