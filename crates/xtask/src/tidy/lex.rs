//! Rust source as tokens with line numbers: just enough of the language to see where strings,
//! comments, functions and test code begin and end, without compiling a parser into every check.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An identifier or keyword; a raw identifier is without its `r#`.
    Ident,
    /// One character of punctuation.
    Punct,
    /// A string, byte string, character or number.
    Literal,
    /// A lifetime or a label.
    Lifetime,
}

/// One token of code.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    /// The line it begins on, from 1.
    pub(crate) line: usize,
}

impl Token<'_> {
    /// Whether it is this identifier or this punctuation.
    pub(crate) fn is(&self, text: &str) -> bool {
        matches!(self.kind, Kind::Ident | Kind::Punct) && self.text == text
    }
}

/// One line of a comment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Comment<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

/// A source file taken apart.
#[derive(Debug, Default)]
pub(crate) struct Source<'a> {
    pub(crate) tokens: Vec<Token<'a>>,
    pub(crate) comments: Vec<Comment<'a>>,
    pub(crate) lines: usize,
}

impl<'a> Source<'a> {
    /// Takes `text` apart. Never fails: what is no Rust becomes punctuation.
    pub(crate) fn new(text: &'a str) -> Self {
        let mut lexer = Lexer {
            text,
            at: 0,
            line: 1,
            source: Source::default(),
        };
        lexer.run();
        lexer.source.lines = text.lines().count();
        lexer.source
    }

    /// The index of the bracket that closes the one at `open`, or of the last token.
    pub(crate) fn closing(&self, open: usize) -> usize {
        let mut depth = 0usize;
        for (index, token) in self.tokens.iter().enumerate().skip(open) {
            if token.kind != Kind::Punct {
                continue;
            }
            match token.text {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return index;
                    }
                }
                _ => {}
            }
        }
        self.tokens.len().saturating_sub(1)
    }

    /// The index of the token that ends the item beginning at `start`: its `;`, or the brace that
    /// closes its body.
    pub(crate) fn item_end(&self, start: usize) -> usize {
        let mut index = start;
        while let Some(token) = self.tokens.get(index) {
            match token.text {
                _ if token.kind != Kind::Punct => index += 1,
                ";" => return index,
                "{" => return self.closing(index),
                "(" | "[" => index = self.closing(index) + 1,
                _ => index += 1,
            }
        }
        self.tokens.len().saturating_sub(1)
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    source: Source<'a>,
}

impl<'a> Lexer<'a> {
    fn run(&mut self) {
        while let Some(next) = self.peek(0) {
            let rest = &self.text[self.at..];
            if next.is_whitespace() {
                self.advance(next.len_utf8());
            } else if rest.starts_with("//") {
                self.line_comment();
            } else if rest.starts_with("/*") {
                self.block_comment();
            } else if let Some(len) = string_len(rest) {
                self.token(Kind::Literal, len);
            } else if next == '\'' {
                self.quote();
            } else if next.is_ascii_digit() {
                self.token(Kind::Literal, word_len(rest));
            } else if next == '_' || next.is_alphabetic() {
                if rest.starts_with("r#") && word_len(&rest[2..]) > 0 {
                    self.advance(2);
                }
                self.token(Kind::Ident, word_len(&self.text[self.at..]));
            } else {
                self.token(Kind::Punct, next.len_utf8());
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.text[self.at..].chars().nth(ahead)
    }

    fn advance(&mut self, len: usize) {
        let taken = &self.text[self.at..self.at + len];
        self.line += taken.bytes().filter(|&byte| byte == b'\n').count();
        self.at += len;
    }

    fn token(&mut self, kind: Kind, len: usize) {
        let text = &self.text[self.at..self.at + len];
        self.source.tokens.push(Token {
            kind,
            text,
            line: self.line,
        });
        self.advance(len);
    }

    fn comment(&mut self, len: usize) {
        let text = &self.text[self.at..self.at + len];
        let comments = text.lines().enumerate().map(|(i, text)| Comment {
            text,
            line: self.line + i,
        });
        self.source.comments.extend(comments);
        self.advance(len);
    }

    fn line_comment(&mut self) {
        let rest = &self.text[self.at..];
        self.comment(rest.find('\n').unwrap_or(rest.len()));
    }

    fn block_comment(&mut self) {
        let bytes = &self.text.as_bytes()[self.at..];
        let (mut depth, mut index) = (0usize, 0);
        while index < bytes.len() {
            if bytes[index..].starts_with(b"/*") {
                depth += 1;
                index += 2;
            } else if bytes[index..].starts_with(b"*/") {
                depth -= 1;
                index += 2;
                if depth == 0 {
                    break;
                }
            } else {
                index += 1;
            }
        }
        self.comment(index);
    }

    /// A character, or a lifetime: `'a'` has its second quote, `'a` has not.
    fn quote(&mut self) {
        let rest = &self.text[self.at..];
        if self.peek(1) == Some('\\') {
            let close = rest.get(3..).and_then(|rest| rest.find('\''));
            let end = close.map_or(rest.len(), |end| 3 + end + 1);
            self.token(Kind::Literal, end);
        } else if self.peek(2) == Some('\'') {
            let len = 2 + self.peek(1).map_or(0, char::len_utf8);
            self.token(Kind::Literal, len);
        } else {
            self.token(Kind::Lifetime, 1 + word_len(&rest[1..]));
        }
    }
}

fn word_len(text: &str) -> usize {
    text.find(|c: char| c != '_' && !c.is_alphanumeric())
        .unwrap_or(text.len())
}

/// The length of the string literal (plain, byte, C or raw) that `text` begins with, if it does.
fn string_len(text: &str) -> Option<usize> {
    let prefix = text.len() - text.trim_start_matches(['b', 'c', 'r']).len();
    if prefix > 2 {
        return None;
    }
    let raw = text[..prefix].ends_with('r');
    let after = &text[prefix..];
    let hashes = after.len() - after.trim_start_matches('#').len();
    if !after[hashes..].starts_with('"') || (hashes > 0 && !raw) {
        return (&text[..prefix] == "b" && after.starts_with('\'')).then(|| byte_len(text));
    }
    let body = prefix + hashes + 1;
    if raw {
        let close = format!("\"{}", "#".repeat(hashes));
        return Some(
            text[body..]
                .find(&close)
                .map_or(text.len(), |end| body + end + close.len()),
        );
    }
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(body) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(index + 1),
            _ => {}
        }
    }
    Some(text.len())
}

/// The length of a byte literal such as `b'x'` or `b'\''`.
fn byte_len(text: &str) -> usize {
    let body = if text[2..].starts_with('\\') { 4 } else { 3 };
    text.get(body..)
        .and_then(|rest| rest.find('\''))
        .map_or(text.len(), |end| body + end + 1)
}

#[cfg(test)]
mod tests;
