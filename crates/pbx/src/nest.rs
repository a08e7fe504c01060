//! Fields of fields, written in place.

use records::tlv;

/// Appends a field whose value `write` appends. Its length is written when it is known, so that nothing is gathered elsewhere.
pub(crate) fn nested(tag: u64, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    tlv::write_varint(tag, out);
    let start = out.len();
    out.push(0);
    write(out);
    let length = out.len() - start - 1;
    if length < 0x80 {
        out[start] = length as u8;
        return;
    }
    // The low bits first; all but the last byte say that more follow.
    let more = tlv::varint_bytes(length as u64) - 1;
    let end = out.len();
    out.resize(end + more, 0);
    out.copy_within(start + 1..end, start + 1 + more);
    for at in 0..=more {
        let bits = (length >> (7 * at)) as u8 & 0x7f;
        out[start + at] = if at < more { bits | 0x80 } else { bits };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_written_as_records_write_it() {
        for length in [0, 1, 127, 128, 300, 16_383, 16_384, 70_000] {
            let text = "x".repeat(length);
            let (mut mine, mut theirs) = (Vec::new(), Vec::new());
            nested(7, &mut mine, |out| out.extend_from_slice(text.as_bytes()));
            tlv::write_bytes(7, text.as_bytes(), &mut theirs);
            assert!(mine == theirs, "{length}");
        }
    }
}
