//! Lines of a description that its index does not keep.

use voice::OpusParameters;

/// The lines of a description without their ends, each with the number of the m-line that it belongs to; `None` before the
/// first.
pub(super) fn lines(body: &[u8]) -> impl Iterator<Item = (Option<usize>, &[u8])> {
    let mut section = None;
    body.split(|&byte| byte == b'\n').filter_map(move |line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.starts_with(b"m=") {
            section = Some(section.map_or(0, |number: usize| number + 1));
        }
        (!line.is_empty()).then_some((section, line))
    })
}

/// What `a=fmtp` of a payload type says of Opus (RFC 7587 section 6.1).
pub(super) fn opus_parameters(body: &[u8], media: usize, payload_type: u8) -> OpusParameters {
    let mut parameters = OpusParameters {
        forward_correction: false,
        ..OpusParameters::default()
    };
    for (_, line) in lines(body).filter(|(section, _)| *section == Some(media)) {
        let Some(value) = line.strip_prefix(b"a=fmtp:") else {
            continue;
        };
        let Some(space) = value.iter().position(|&byte| byte == b' ') else {
            continue;
        };
        if sip::lex::number(&value[..space], 127) != Some(u32::from(payload_type)) {
            continue;
        }
        for part in value[space + 1..].split(|&byte| byte == b';') {
            let part = sip::lex::trim(part);
            let (name, number) = match part.iter().position(|&byte| byte == b'=') {
                Some(at) => (&part[..at], sip::lex::number(&part[at + 1..], 510_000)),
                None => continue,
            };
            let Some(number) = number else { continue };
            if name.eq_ignore_ascii_case(b"maxaveragebitrate") {
                parameters.bit_rate = number.clamp(6_000, 128_000);
            } else if name.eq_ignore_ascii_case(b"useinbandfec") {
                parameters.forward_correction = number == 1;
            } else if name.eq_ignore_ascii_case(b"usedtx") {
                parameters.is_discontinuous = number == 1;
            }
        }
    }
    parameters
}
