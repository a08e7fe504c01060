//! RTCP: every packet of what is taken can be read, and reports come back from their parts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rtp::rtcp::{Compound, Form, Rtcp, write};

fuzz_target!(|data: &[u8]| {
    let reduced = Compound::parse(data, Form::ReducedSize);
    let strict = Compound::parse(data, Form::Compound);
    assert!(strict.is_err() || strict == reduced);
    let Ok(compound) = reduced else {
        return;
    };
    let mut words = 0;
    for packet in compound.packets() {
        words += 1 + usize::from(u16::from_be_bytes([
            data[words * 4 + 2],
            data[words * 4 + 3],
        ]));
        match packet {
            Rtcp::SenderReport { ssrc, info, blocks } => {
                let blocks: Vec<_> = blocks.collect();
                let mut out = Vec::new();
                write::push_sender_report(ssrc, &info, &blocks, &mut out).expect("at most 31");
                let again = Compound::parse(&out, Form::Compound).expect("we wrote it");
                assert!(again.blocks().eq(blocks));
            }
            Rtcp::SourceDescription(chunks) => {
                for chunk in chunks {
                    assert!(chunk.items().all(|item| item.text.len() < 256));
                }
            }
            Rtcp::Bye { ssrcs, reason } => assert!(ssrcs.count() < 32 && reason.len() < 256),
            _ => {}
        }
    }
    assert_eq!(words * 4, data.len(), "the packets fill the datagram");
});
