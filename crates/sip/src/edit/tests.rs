//! What splices promise.

use proptest::prelude::*;

use super::*;
use crate::message::{Index, Limits};

fn written(splices: &Splices, original: &[u8], span: Span) -> String {
    let mut out = Vec::new();
    splices.write_range(original, span, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

const WHOLE: Span = Span { start: 0, end: 10 };

#[test]
fn an_insertion_where_something_is_removed_comes_before_its_replacement() {
    for removal_first in [true, false] {
        let mut splices = Splices::new();
        let removed = Span { start: 2, end: 5 };
        if removal_first {
            splices.replace(removed, b"X");
        }
        splices.insert(2, b"a");
        splices.insert(2, b"b");
        if !removal_first {
            splices.replace(removed, b"X");
        }
        assert_eq!(written(&splices, b"0123456789", WHOLE), "01abX56789");
    }
}

#[test]
fn of_two_ranges_that_overlap_the_later_noted_loses() {
    let mut splices = Splices::new();
    splices.replace(Span { start: 2, end: 6 }, b"X");
    splices.replace(Span { start: 2, end: 3 }, b"Y");
    splices.replace(Span { start: 4, end: 8 }, b"Z");
    assert_eq!(written(&splices, b"0123456789", WHOLE), "01X6789");
}

#[test]
fn text_may_be_put_at_both_ends() {
    let mut splices = Splices::new();
    splices.insert(10, b">");
    splices.insert(0, b"<");
    assert_eq!(written(&splices, b"0123456789", WHOLE), "<0123456789>");
    assert_eq!(
        written(&splices, b"0123456789", Span { start: 3, end: 5 }),
        "34"
    );
    splices.clear();
    assert!(splices.is_empty());
    assert_eq!(written(&splices, b"0123456789", WHOLE), "0123456789");
}

/// Where, how many bytes go, and what comes.
type Change = (usize, usize, Vec<u8>);

/// Changes that do not overlap: of each chunk of the buffer some bytes go and some text comes.
fn changes() -> impl Strategy<Value = (Vec<u8>, Vec<Change>)> {
    let chunk = (0usize..6, 0usize..4, "[a-z]{0,3}");
    proptest::collection::vec(chunk, 0..12).prop_map(|chunks| {
        let (mut buffer, mut list) = (Vec::new(), Vec::new());
        for (keep, remove, text) in chunks {
            buffer.extend((0..keep + 1).map(|at| b'0' + at as u8));
            list.push((buffer.len(), remove, text.into_bytes()));
            buffer.extend((0..remove).map(|at| b'A' + at as u8));
        }
        buffer.extend(b"end");
        (buffer, list)
    })
}

proptest! {
    #[test]
    fn changes_come_out_as_if_made_one_by_one(
        (buffer, list) in changes(),
        order: u64,
    ) {
        let mut splices = Splices::new();
        let mut noted = list.clone();
        // Any order will do: the changes are at different places.
        noted.sort_by_key(|(at, ..)| (*at as u64 + 1).wrapping_mul(order | 1));
        for (at, remove, text) in &noted {
            splices.replace(Span::new(*at, at + remove), text);
        }
        let mut expected = buffer.clone();
        for (at, remove, text) in list.iter().rev() {
            expected.splice(at..&(at + remove), text.iter().copied());
        }
        let mut out = Vec::new();
        splices.write_range(&buffer, Span::new(0, buffer.len()), &mut out);
        prop_assert_eq!(out, expected);
    }

    #[test]
    fn the_first_values_are_removed_and_the_others_stay(
        lines in proptest::collection::vec(proptest::collection::vec("<sip:[a-c,]{1,3};lr>|\"a,b\" <sip:x>;y=\"z,\"", 1..4), 0..4),
        separator in ",|, | ,\r\n ",
        count in 0usize..9,
    ) {
        let mut text = String::from("BYE sip:x SIP/2.0\r\nRouting: no\r\n");
        for (number, line) in lines.iter().enumerate() {
            text.push_str(&format!("Route: {}\r\nX{number}: 1\r\n", line.join(&separator)));
        }
        text.push_str("\r\nbody");
        let mut index = Index::new();
        let message = index.parse(text.as_bytes(), &Limits::default()).expect("it has a start line");
        let before: Vec<Vec<u8>> = message.values(HeaderName::Route).map(|value| value.bytes.to_vec()).collect();
        prop_assert_eq!(before.len(), lines.iter().map(Vec::len).sum::<usize>());
        let mut splices = Splices::new();
        splices.remove_first_values(&message, HeaderName::Route, count);
        let mut out = Vec::new();
        splices.write_range(text.as_bytes(), message.extent(), &mut out);
        let mut again = Index::new();
        let again = again.parse(&out, &Limits::default()).expect("it has a start line");
        let after: Vec<Vec<u8>> = again.values(HeaderName::Route).map(|value| value.bytes.to_vec()).collect();
        prop_assert_eq!(&after[..], &before[count.min(before.len())..]);
        prop_assert_eq!(again.defect(), None);
        prop_assert_eq!(again.body(), b"body");
        prop_assert!(again.fields(HeaderName::Route).all(|field| !field.value.is_empty()));
    }
}
