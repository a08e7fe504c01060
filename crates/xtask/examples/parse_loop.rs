//! Does one kind of work on an ordinary message again and again, for instruction counts and profiles.
//!
//! `parse_loop indexed|checked|forwarded|answered TIMES`; what each means is said at [`Work`].

use std::process::ExitCode;

use sip::check::response_route;
use sip::{Envelope, HeaderName, Index, Limits, Span, Splices, build};

/// An INVITE as phones send it, about 600 bytes with its body.
const INVITE: &[u8] = b"INVITE sip:bob@example.org SIP/2.0\r\n\
Via: SIP/2.0/UDP 192.0.2.33:5060;branch=z9hG4bK-524287-1---7c1a2b6b5ad1b6e0;rport\r\n\
Max-Forwards: 70\r\n\
Contact: <sip:alice@192.0.2.33:5060;transport=udp>\r\n\
To: <sip:bob@example.org>\r\n\
From: \"Alice\" <sip:alice@example.org>;tag=4a5b6c7d\r\n\
Call-ID: 84619YjQ4ZGU5NzE0ZDk2ZTU1\r\n\
CSeq: 1 INVITE\r\n\
Allow: INVITE, ACK, CANCEL, BYE, OPTIONS\r\n\
User-Agent: Phone 1.0\r\n\
Content-Type: application/sdp\r\n\
Content-Length: 127\r\n\r\n\
v=0\r\no=- 1 1 IN IP4 192.0.2.33\r\ns=-\r\nc=IN IP4 192.0.2.33\r\nt=0 0\r\n\
m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";

/// The 200 to it, as it comes back through two proxies.
const OK: &[u8] = b"SIP/2.0 200 OK\r\n\
Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK0123456789abcdef.1\r\n\
Via: SIP/2.0/UDP 192.0.2.33:5060;branch=z9hG4bK-524287-1---7c1a2b6b5ad1b6e0;rport=5060;received=192.0.2.33\r\n\
Record-Route: <sip:192.0.2.1;lr;k=0123456789abcdef>\r\n\
Contact: <sip:bob@192.0.2.44:5060>\r\n\
To: <sip:bob@example.org>;tag=77aa88bb\r\n\
From: \"Alice\" <sip:alice@example.org>;tag=4a5b6c7d\r\n\
Call-ID: 84619YjQ4ZGU5NzE0ZDk2ZTU1\r\n\
CSeq: 1 INVITE\r\n\
Content-Type: application/sdp\r\n\
Content-Length: 127\r\n\r\n\
v=0\r\no=- 1 1 IN IP4 192.0.2.44\r\ns=-\r\nc=IN IP4 192.0.2.44\r\nt=0 0\r\n\
m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";

/// What is done to each message.
#[derive(Clone, Copy)]
enum Work {
    /// The INVITE is indexed.
    Indexed,
    /// And its mandatory fields read.
    Checked,
    /// And edited and written as a proxy forwards it.
    Forwarded,
    /// The 200 is indexed, routed and written without its topmost Via.
    Answered,
}

/// What is used again from message to message.
struct Tools {
    index: Index,
    splices: Splices,
    out: Vec<u8>,
}

fn forward(tools: &mut Tools) -> usize {
    let Ok(message) = tools.index.parse(INVITE, &Limits::default()) else {
        return 0;
    };
    let Ok(envelope) = Envelope::read(&message) else {
        return 0;
    };
    let splices = &mut tools.splices;
    splices.clear();
    let source = std::net::SocketAddr::from(([192, 0, 2, 33], 5062));
    build::stamp_via(&message, &envelope.via, source, splices);
    let at = message.headers_start();
    splices.insert(
        at,
        b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK0123456789abcdef.1\r\n",
    );
    splices.insert(
        at,
        b"Record-Route: <sip:192.0.2.1;lr;k=0123456789abcdef>\r\n",
    );
    if let Some(field) = message.fields(HeaderName::MaxForwards).next() {
        splices.replace(Span::within(message.buffer(), field.value), b"69");
    }
    splices.replace(message.request_uri_span(), b"sip:bob@192.0.2.44:5060");
    write(&message, splices, &mut tools.out)
}

fn answer(tools: &mut Tools) -> usize {
    let Ok(message) = tools.index.parse(OK, &Limits::default()) else {
        return 0;
    };
    if response_route(&message).is_err() {
        return 0;
    }
    tools.splices.clear();
    tools
        .splices
        .remove_first_values(&message, HeaderName::Via, 1);
    write(&message, &tools.splices, &mut tools.out)
}

fn write(message: &sip::Message<'_>, splices: &Splices, out: &mut Vec<u8>) -> usize {
    out.clear();
    splices.write_range(message.buffer(), message.extent(), out);
    out.len()
}

fn once(work: Work, tools: &mut Tools) -> usize {
    let limits = Limits::default();
    match work {
        Work::Indexed => {
            let message = tools.index.parse(std::hint::black_box(INVITE), &limits);
            message.map_or(0, |message| message.header_count())
        }
        Work::Checked => {
            let message = tools.index.parse(std::hint::black_box(INVITE), &limits);
            message.map_or(0, |message| usize::from(Envelope::read(&message).is_ok()))
        }
        Work::Forwarded => forward(tools),
        Work::Answered => answer(tools),
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let work = match arguments.next().as_deref() {
        Some("indexed") => Work::Indexed,
        Some("checked") => Work::Checked,
        Some("forwarded") => Work::Forwarded,
        Some("answered") => Work::Answered,
        _ => return usage(),
    };
    let Some(times) = arguments.next().and_then(|times| times.parse::<u32>().ok()) else {
        return usage();
    };
    let mut tools = Tools {
        index: Index::new(),
        splices: Splices::new(),
        out: Vec::new(),
    };
    for _ in 0..times {
        if std::hint::black_box(once(work, &mut tools)) == 0 {
            eprintln!("parse_loop: the message was refused");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: parse_loop indexed|checked|forwarded|answered TIMES");
    ExitCode::from(2)
}
