//! What the lexical rules promise.

use proptest::prelude::*;

use super::*;

#[test]
fn tokens_are_those_of_section_25_1() {
    let token_bytes: &[u8] =
        b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~";
    for byte in 0..=u8::MAX {
        assert_eq!(is_token(byte), token_bytes.contains(&byte), "{byte}");
    }
    assert!(is_token_all(b"z9hG4bK"));
    assert!(!is_token_all(b"") && !is_token_all(b"a b"));
    assert_eq!(token(b"Via: x"), (&b"Via"[..], &b": x"[..]));
    assert_eq!(token(b"Via"), (&b"Via"[..], &b""[..]));
}

#[test]
fn white_space_goes_from_both_ends_folds_included() {
    assert_eq!(trim(b" \t\r\n a b \r\n\t"), b"a b");
    assert_eq!(trim(b" \r\n "), b"");
    assert_eq!(trim_start(b" a "), b"a ");
    assert_eq!(trim_end(b" a "), b" a");
}

#[test]
fn a_quoted_string_ends_at_a_quote_that_is_not_escaped() {
    assert_eq!(quoted_end(br#""a\"b"c"#, 0), Some(6));
    assert_eq!(quoted_end(br#"x"""#, 1), Some(3));
    assert_eq!(quoted_end(br#""a\"#, 0), None);
    assert_eq!(quoted_end(br#""a\""#, 0), None);
    assert_eq!(quoted_end(b"\"", 0), None);
}

#[test]
fn separators_in_quotes_and_brackets_separate_nothing() {
    let text = br#""a,b" <sip:c,d>,e"#;
    assert_eq!(find_byte_outside(text, b','), Ok(Some(15)));
    assert_eq!(find_byte_outside(b"ab", b','), Ok(None));
    assert_eq!(find_byte_outside(b"\"ab", b','), Err(Unclosed));
    assert_eq!(find_byte_outside(b"<ab,", b','), Err(Unclosed));
}

#[test]
fn a_number_has_digits_only_and_a_limit() {
    assert_eq!(number(b"0070", 255), Some(70));
    assert_eq!(number(b"00000000000000000000000070", 255), Some(70));
    assert_eq!(number(b"256", 255), None);
    assert_eq!(number(b"4294967295", u32::MAX), Some(u32::MAX));
    for bad in [
        &b""[..],
        b"-1",
        b"+1",
        b"1 ",
        b"0x1",
        b"4294967296",
        b"18446744073709551617",
        b"9999999999999",
    ] {
        assert_eq!(number(bad, u32::MAX), None, "{bad:?}");
    }
    assert_eq!(number(b"0", 0), Some(0));
}

#[test]
fn addresses_are_written_as_hosts() {
    let mut out = Vec::new();
    push_host_port(&mut out, "[2001:db8::1]:5060".parse().unwrap());
    out.push(b' ');
    push_host_port(&mut out, "192.0.2.10:65535".parse().unwrap());
    assert_eq!(out, b"[2001:db8::1]:5060 192.0.2.10:65535");
}

#[test]
fn hexadecimal_is_sixteen_digits() {
    assert_eq!(hex(b"00000000000000fF"), Some(255));
    assert_eq!(hex(b"ff"), None);
    assert_eq!(hex(b"000000000000000g"), None);
    assert_eq!(hex(b"+00000000000000f"), None);
}

proptest! {
    #[test]
    fn numbers_are_read_as_they_are_written(value: u32, word: u64) {
        let mut out = Vec::new();
        push_number(&mut out, u64::from(value));
        prop_assert_eq!(out.as_slice(), value.to_string().into_bytes());
        prop_assert_eq!(number(&out, u32::MAX), Some(value));
        out.clear();
        push_hex(&mut out, word);
        prop_assert_eq!(hex(&out), Some(word));
    }

    #[test]
    fn what_is_near_is_found(text in proptest::collection::vec(0x39u8..0x3c, 0..40), high in 0x39u8..) {
        let mut text = text;
        text.push(high);
        let expected = text.iter().position(|&byte| byte == b':');
        prop_assert_eq!(find_near(&text, b':'), expected);
    }

    #[test]
    fn both_ways_of_looking_outside_agree(text in r#"[a,;<>"\\ ]{0,40}"#) {
        let text = text.as_bytes();
        for stop in [b',', b';'] {
            prop_assert_eq!(find_byte_outside(text, stop), find_outside(text, |byte| byte == stop));
        }
    }
}
