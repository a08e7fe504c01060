//! Provisional responses that have to arrive (RFC 3262).

use sip::{HeaderName, Message, lex};

/// What a RAck says (section 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RAck {
    /// The RSeq that it acknowledges.
    pub rseq: u32,
    /// The CSeq number of the request that was answered.
    pub cseq: u32,
}

impl RAck {
    /// Reads `rseq cseq method`.
    pub fn parse(bytes: &[u8]) -> Option<RAck> {
        let mut parts = bytes
            .split(|&byte| lex::is_lws(byte))
            .filter(|part| !part.is_empty());
        let rseq = lex::number(parts.next()?, u32::MAX)?;
        let cseq = lex::number(parts.next()?, i32::MAX as u32)?;
        let method = parts.next()?;
        (method == b"INVITE" && parts.next().is_none()).then_some(RAck { rseq, cseq })
    }
}

/// The side that sends them. One waits for its PRACK at a time: the next is not sent before (section 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    last: u32,
    waiting: Option<Vec<u8>>,
    attempt: u32,
}

impl Sender {
    /// The first number is `seed`, brought between 1 and 2^31 - 1 (section 3).
    pub fn new(seed: u64) -> Sender {
        Sender {
            last: (seed % 0x7fff_0000) as u32,
            waiting: None,
            attempt: 0,
        }
    }

    /// A sender that goes on after `last`, which waits for its PRACK if it is given.
    pub fn after(last: u32, waiting: Option<Vec<u8>>) -> Sender {
        Sender {
            // Numbers stay below 2^31 (section 7.1), whatever a record says.
            last: last.min(0x7fff_0000),
            waiting,
            attempt: 0,
        }
    }

    /// The one that waits for its PRACK.
    pub fn waiting(&self) -> Option<&[u8]> {
        self.waiting.as_deref()
    }

    /// The number of the next one; it has to be sent with [`Sender::sent`].
    pub fn next(&self) -> u32 {
        self.last + 1
    }

    /// The number that was sent last.
    pub fn last(&self) -> u32 {
        self.last
    }

    /// Keeps what was sent until its PRACK.
    pub fn sent(&mut self, message: Vec<u8>) {
        self.last += 1;
        self.waiting = Some(message);
        self.attempt = 0;
    }

    /// Whether one waits.
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// What is to be sent again, and after how many milliseconds once more: T1 doubled each time, without a cap (section 3).
    pub fn again(&mut self, t1_ms: u64) -> Option<(&[u8], u64)> {
        let message = self.waiting.as_deref()?;
        self.attempt = (self.attempt + 1).min(16);
        Some((message, t1_ms << self.attempt))
    }

    /// Takes a PRACK; false if it is for none that waits: 481 (section 3).
    pub fn acknowledged(&mut self, rack: RAck, invite_cseq: u32) -> bool {
        let fits = self.waiting.is_some() && rack.rseq == self.last && rack.cseq == invite_cseq;
        if fits {
            self.waiting = None;
        }
        fits
    }

    /// Forgets the one that waits: the final response has made it needless.
    pub fn stop(&mut self) {
        self.waiting = None;
    }
}

/// The side that receives them, in one dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Receiver {
    last: u32,
}

impl Receiver {
    /// Takes a reliable provisional response; its RSeq if it is to be acknowledged. One that comes again or not in order is
    /// passed over (section 4).
    pub fn take(&mut self, response: &Message<'_>) -> Option<u32> {
        let rseq = response.number(HeaderName::RSeq, u32::MAX).ok()??;
        if rseq == 0 || self.last != 0 && Some(rseq) != self.last.checked_add(1) {
            return None;
        }
        self.last = rseq;
        Some(rseq)
    }

    /// The RSeq of a response that came before as the last one.
    pub fn is_again(self, response: &Message<'_>) -> Option<u32> {
        let rseq = response.number(HeaderName::RSeq, u32::MAX).ok()??;
        (rseq == self.last && rseq != 0).then_some(rseq)
    }

    /// The number that came last; 0 before one came.
    pub fn last(self) -> u32 {
        self.last
    }

    /// A receiver that goes on after `last`.
    pub fn after(last: u32) -> Receiver {
        Receiver { last }
    }
}

/// Whether a header with option tags holds `option` (RFC 3261 section 20.37).
pub fn has_option(message: &Message<'_>, name: HeaderName, option: &[u8]) -> bool {
    message
        .values(name)
        .any(|value| value.bytes.eq_ignore_ascii_case(option))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rack_has_two_numbers_and_invite() {
        assert_eq!(
            RAck::parse(b"776656 1 INVITE"),
            Some(RAck {
                rseq: 776_656,
                cseq: 1
            })
        );
        for bad in [
            "",
            "1",
            "1 2",
            "1 2 BYE",
            "x 2 INVITE",
            "1 2 INVITE x",
            "99999999999 1 INVITE",
        ] {
            assert_eq!(RAck::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn one_provisional_waits_until_its_prack() {
        let mut sender = Sender::new(u64::MAX);
        assert!(sender.next() > 0 && sender.next() < 1 << 31);
        let rseq = sender.next();
        sender.sent(b"183".to_vec());
        assert_eq!(sender.again(500), Some((&b"183"[..], 1_000)));
        assert_eq!(sender.again(500), Some((&b"183"[..], 2_000)));
        assert!(!sender.acknowledged(RAck { rseq, cseq: 2 }, 1));
        assert!(!sender.acknowledged(
            RAck {
                rseq: rseq + 1,
                cseq: 1
            },
            1
        ));
        assert!(sender.acknowledged(RAck { rseq, cseq: 1 }, 1));
        assert!(!sender.acknowledged(RAck { rseq, cseq: 1 }, 1));
        assert_eq!(sender.again(500), None);
    }

    #[test]
    fn provisionals_are_taken_once_and_in_order() {
        let mut receiver = Receiver::default();
        let mut take = |rseq: u32| {
            let bytes = format!(
                "SIP/2.0 183 Session Progress\r\nRSeq: {rseq}\r\nContent-Length: 0\r\n\r\n"
            );
            let mut index = sip::Index::new();
            let response = index
                .parse(bytes.as_bytes(), &sip::Limits::default())
                .unwrap();
            receiver.take(&response)
        };
        assert_eq!(take(0), None);
        assert_eq!(take(7), Some(7));
        assert_eq!(take(7), None);
        assert_eq!(take(9), None);
        assert_eq!(take(8), Some(8));
    }
}
