//! Patterns of numbers, in the manner that users of Asterisk know.

use std::cmp::Ordering;

/// Longest number or user part that a dialplan looks at, in characters.
pub const NUMBER_CHARS_MAX: usize = 64;

/// What may follow the places of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tail {
    /// Nothing.
    Nothing,
    /// One character or more (`.`).
    Some,
    /// Any number of characters, none included (`!`).
    Any,
}

/// A pattern of numbers: `X` is a digit, `Z` one from 1, `N` one from 2, `[1-58]` one of those, `.` at the end one
/// character or more, `!` at the end none or more; everything else is itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    /// A set of characters of ASCII for each place.
    places: Vec<u128>,
    tail: Tail,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Pattern, &'static str> {
        const WANTED: &str = "digits, X, Z, N, sets as [1-5] and . or ! at the end";
        let mut places = Vec::new();
        let mut tail = Tail::Nothing;
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            if tail != Tail::Nothing || !c.is_ascii_graphic() {
                return Err(WANTED);
            }
            match c {
                'X' => places.push(range('0', '9')),
                'Z' => places.push(range('1', '9')),
                'N' => places.push(range('2', '9')),
                '.' => tail = Tail::Some,
                '!' => tail = Tail::Any,
                '[' => places.push(set(&mut rest).ok_or(WANTED)?),
                ']' => return Err(WANTED),
                c => places.push(range(c, c)),
            }
        }
        if text.is_empty() || places.len() > NUMBER_CHARS_MAX {
            return Err("1 to 64 places");
        }
        Ok(Pattern {
            text: text.to_owned(),
            places,
            tail,
        })
    }

    /// The pattern as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether `number` fits.
    pub fn matches(&self, number: &str) -> bool {
        let bytes = number.as_bytes();
        let length_fits = match self.tail {
            Tail::Nothing => bytes.len() == self.places.len(),
            Tail::Some => bytes.len() > self.places.len(),
            Tail::Any => bytes.len() >= self.places.len(),
        };
        length_fits
            && bytes.len() <= NUMBER_CHARS_MAX
            && self
                .places
                .iter()
                .zip(bytes)
                .all(|(place, byte)| *byte < 128 && place >> byte & 1 == 1)
    }

    /// What of a number that fits was not written in the pattern: all from the first place that is free.
    pub fn rest<'n>(&self, number: &'n str) -> &'n str {
        let fixed = self
            .places
            .iter()
            .take_while(|place| place.count_ones() == 1)
            .count();
        number.get(fixed..).unwrap_or("")
    }

    /// Whether both fit the same numbers.
    pub fn is_same(&self, other: &Pattern) -> bool {
        self.places == other.places && self.tail == other.tail
    }

    /// The more specific pattern is less: place by place the one with fewer characters to choose from, then the
    /// longer one, then the one without an open end.
    pub fn specificity(&self, other: &Pattern) -> Ordering {
        for (mine, its) in self.places.iter().zip(&other.places) {
            let order = mine.count_ones().cmp(&its.count_ones());
            if order.is_ne() {
                return order;
            }
        }
        other
            .places
            .len()
            .cmp(&self.places.len())
            .then(self.tail.cmp(&other.tail))
    }
}

fn range(first: char, last: char) -> u128 {
    (first..=last).fold(0, |set, c| set | 1 << (c as u32 & 127))
}

/// The rest of a set after `[`.
fn set(rest: &mut std::str::Chars<'_>) -> Option<u128> {
    let mut set = 0u128;
    let mut last: Option<char> = None;
    loop {
        match rest.next()? {
            ']' => return (set != 0).then_some(set),
            '-' => {
                let (first, end) = (last.take()?, rest.next()?);
                if !end.is_ascii_alphanumeric() || end < first {
                    return None;
                }
                set |= range(first, end);
            }
            c if c.is_ascii_alphanumeric() || "*#+".contains(c) => {
                set |= range(c, c);
                last = Some(c);
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn a_pattern_fits_what_it_says() {
        for (text, fits, fits_not) in [
            ("1XX", vec!["100", "199"], vec!["1000", "10", "200", "1a0"]),
            ("0.", vec!["01", "0123456789"], vec!["0", "1"]),
            ("9!", vec!["9", "91"], vec!["8", ""]),
            ("+49N.", vec!["+4920", "+49301"], vec!["+4910", "+492"]),
            ("Z[1-35]", vec!["11", "95"], vec!["01", "14"]),
            ("echo", vec!["echo"], vec!["Echo", "ech"]),
        ] {
            for number in fits {
                assert!(pattern(text).matches(number), "{text} {number}");
            }
            for number in fits_not {
                assert!(!pattern(text).matches(number), "{text} {number}");
            }
        }
        assert!(!pattern("0.").matches(&"0".repeat(NUMBER_CHARS_MAX + 1)));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "1.2", "[", "[]", "[3-1]", "1 2", "ä", "]", "[1-", "!!"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_rest_is_what_the_pattern_left_free() {
        assert_eq!(pattern("0.").rest("0123"), "123");
        assert_eq!(pattern("1XX").rest("142"), "42");
        assert_eq!(pattern("echo").rest("echo"), "");
    }

    #[test]
    fn the_more_specific_pattern_comes_first() {
        let mut all = ["!", "X.", "1.", "1XX", "12X", "1X.", "123", "1[2-3]X"].map(pattern);
        all.sort_by(Pattern::specificity);
        let texts: Vec<_> = all.iter().map(Pattern::text).collect();
        assert_eq!(
            texts,
            ["123", "12X", "1[2-3]X", "1XX", "1X.", "1.", "X.", "!"]
        );
    }
}
