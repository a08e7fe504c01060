//! As much of DER as it takes to read when a certificate ends (RFC 5280 section 4.1).

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Reads one value: its tag, its contents, what follows.
fn value(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        let (digits, rest) = rest.split_at_checked(count).filter(|_| count <= 4)?;
        let length = digits
            .iter()
            .fold(0, |sum, &byte| sum << 8 | usize::from(byte));
        (length, rest)
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

/// When a certificate ends, in seconds since 1970.
pub(super) fn not_after_unix_s(certificate: &[u8]) -> Option<u64> {
    let (_, certificate, _) = value(certificate)?;
    let (_, mut rest, _) = value(certificate)?;
    let (tag, _, after) = value(rest)?;
    if tag == VERSION {
        rest = after;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        (_, _, rest) = value(rest)?;
    }
    let (tag, validity, _) = value(rest)?;
    let (_, _, rest) = value(validity).filter(|_| tag == SEQUENCE)?;
    let (tag, text, _) = value(rest)?;
    let (year, text) = match tag {
        UTC_TIME => {
            let year = number(text.get(..2)?)?;
            (
                if year < 50 { 2000 + year } else { 1900 + year },
                &text[2..],
            )
        }
        GENERALIZED_TIME => (number(text.get(..4)?)?, &text[4..]),
        _ => return None,
    };
    let part = |at: usize| number(text.get(at..at + 2)?);
    let days = days_since_1970(year, part(0)?, part(2)?)?;
    Some(((days * 24 + part(4)?) * 60 + part(6)?) * 60 + part(8)?)
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The number of a day of the Gregorian calendar.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    // Years that begin in March: the leap day is the last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    days.checked_sub(719_468)
}

/// The day of the Gregorian calendar that is so many days after 1 January 1970: year, month, day.
pub(super) fn date(days: u64) -> (i32, u8, u8) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 {
        (era * 400 + year, month + 3)
    } else {
        (era * 400 + year + 1, month - 9)
    };
    (year as i32, month as u8, day as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_are_each_others_inverse() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(days_since_1970(2000, 3, 1), Some(11_017));
        for days in (0..200_000).step_by(17) {
            let (year, month, day) = date(days);
            let back = days_since_1970(year as u64, u64::from(month), u64::from(day));
            assert_eq!(back, Some(days));
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        for bytes in [
            &[][..],
            &[0x30],
            &[0x30, 0x84, 1, 1, 1, 1],
            &[0x30, 2, 0x30, 0],
        ] {
            assert_eq!(not_after_unix_s(bytes), None);
        }
    }
}
