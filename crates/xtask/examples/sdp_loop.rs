//! Does one kind of work on an ordinary session description again and again, for instruction counts and
//! profiles.
//!
//! `sdp_loop indexed|relayed TIMES`; what each means is said at [`Work`].

use std::process::ExitCode;

use sdp::{Edits, Index, Limits, Ports, Rewrite, rewrite};

/// An offer as phones send it, about 300 bytes.
const OFFER: &[u8] = b"v=0\r\n\
o=alice 3724394400 3724394405 IN IP4 192.168.1.23\r\n\
s=Talk\r\n\
c=IN IP4 192.168.1.23\r\n\
t=0 0\r\n\
m=audio 7078 RTP/AVP 9 8 0 101\r\n\
a=rtpmap:9 G722/8000\r\n\
a=rtpmap:8 PCMA/8000\r\n\
a=rtpmap:0 PCMU/8000\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:101 0-16\r\n\
a=rtcp:7079\r\n\
a=ptime:20\r\n\
a=sendrecv\r\n";

/// What is done to the description.
#[derive(Clone, Copy)]
enum Work {
    /// It is indexed.
    Indexed,
    /// And its payload types read, and a relay put into its media, and the result written.
    Relayed,
}

/// What is used again from description to description.
#[derive(Default)]
struct Tools {
    index: Index,
    edits: Edits,
    out: Vec<u8>,
}

fn once(work: Work, tools: &mut Tools) -> usize {
    let offer = std::hint::black_box(OFFER);
    let Ok(description) = tools.index.parse(offer, &Limits::default()) else {
        return 0;
    };
    if let Work::Indexed = work {
        return description.media_count();
    }
    let formats = description.media().flat_map(|media| media.formats());
    let rates = formats.filter(|format| format.clock_rate_hz.is_some());
    if rates.count() != 4 {
        return 0;
    }
    let change = Rewrite {
        address: [203, 0, 113, 7].into(),
        ports: &[Some(Ports {
            rtp: 20_000,
            rtcp: 20_001,
        })],
    };
    rewrite(&description, &change, &mut tools.edits);
    tools.out.clear();
    tools.edits.write(offer, &mut tools.out);
    tools.out.len()
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let work = match arguments.next().as_deref() {
        Some("indexed") => Work::Indexed,
        Some("relayed") => Work::Relayed,
        _ => return usage(),
    };
    let Some(times) = arguments.next().and_then(|times| times.parse::<u32>().ok()) else {
        return usage();
    };
    let mut tools = Tools::default();
    for _ in 0..times {
        if std::hint::black_box(once(work, &mut tools)) == 0 {
            eprintln!("sdp_loop: the description was refused");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: sdp_loop indexed|relayed TIMES");
    ExitCode::from(2)
}
