use super::{Kind, Source};

fn words(text: &str) -> Vec<&str> {
    let source = Source::new(text);
    source
        .tokens
        .iter()
        .filter(|t| t.kind == Kind::Ident)
        .map(|t| t.text)
        .collect()
}

#[test]
fn what_a_string_says_is_no_code() {
    assert_eq!(words(r#"let a = "fn b() { \" fn c"; d"#), ["let", "a", "d"]);
}

#[test]
fn raw_byte_and_c_strings_end_at_their_own_quote() {
    assert_eq!(
        words(r###"r#"x " y"# a br"\" b c"z" d b"w\"v" e"###),
        ["a", "b", "d", "e"]
    );
}

#[test]
fn comments_nest_and_are_kept_by_line() {
    let source = Source::new("a /* one\n /* two */ three */ b // four\nc");
    let comments: Vec<_> = source.comments.iter().map(|c| (c.line, c.text)).collect();
    assert_eq!(
        comments,
        [(1, "/* one"), (2, " /* two */ three */"), (2, "// four")]
    );
    assert_eq!(source.tokens.len(), 3);
    assert_eq!(source.tokens[2].line, 3);
}

#[test]
fn a_character_is_told_from_a_lifetime() {
    let text = r"'a' 'b x '\'' '{' b'}' b'\'' '\\' '\u{7d}' 'static y 'é'";
    let source = Source::new(text);
    let kinds: Vec<_> = source.tokens.iter().map(|t| t.kind).collect();
    use Kind::{Ident, Lifetime, Literal};
    assert_eq!(
        kinds,
        [
            Literal, Lifetime, Ident, Literal, Literal, Literal, Literal, Literal, Literal,
            Lifetime, Ident, Literal
        ]
    );
}

#[test]
fn words_that_begin_like_a_string_prefix_stay_words() {
    assert_eq!(
        words("crb bcc r br r#type rest"),
        ["crb", "bcc", "r", "br", "type", "rest"]
    );
}

#[test]
fn an_item_ends_at_its_semicolon_or_its_closing_brace() {
    let source = Source::new("fn a(x: [u8; 3]) -> u8 { { 1 } } fn b(); c");
    assert_eq!(source.tokens[source.item_end(0)].text, "}");
    let second = source.tokens.iter().position(|t| t.text == "b").unwrap();
    assert_eq!(source.item_end(second), source.tokens.len() - 2);
}

#[test]
fn unfinished_text_ends_without_a_panic() {
    for text in [
        "\"abc", "r#\"abc", "/* abc", "'", "b'", "'\\", "b'\\", "fn a( {", "r#", "c", "br#",
    ] {
        Source::new(text);
    }
}
