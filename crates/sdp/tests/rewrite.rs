//! What a relay makes of a description, line by line.

use sdp::{Edits, Index, Limits, Ports, Rewrite, rewrite};

/// Rewrites `body` for the relay's `address` and `ports`, an RTP port an m-line (0 for none).
fn relayed(body: &str, address: &str, ports: &[u16]) -> String {
    let mut index = Index::new();
    let description = index
        .parse(body.as_bytes(), &Limits::default())
        .expect("it is a description");
    let ports: Vec<Option<Ports>> = ports
        .iter()
        .map(|&rtp| (rtp != 0).then(|| Ports { rtp, rtcp: rtp + 1 }))
        .collect();
    let address = address.parse().expect("an address");
    let mut edits = Edits::new();
    let change = Rewrite {
        address,
        ports: &ports,
    };
    rewrite(&description, &change, &mut edits);
    let mut out = Vec::new();
    edits.write(body.as_bytes(), &mut out);
    assert_eq!(out.len(), edits.size_after(body.len()));
    String::from_utf8(out).expect("it was text before")
}

#[test]
fn a_call_goes_through_the_relay() {
    let body = "v=0\r\no=alice 7 8 IN IP4 10.0.0.5\r\ns=-\r\nc=IN IP4 10.0.0.5\r\nt=0 0\r\n\
        m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n";
    let expected = "v=0\r\no=alice 7 8 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
        m=audio 20000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n";
    assert_eq!(relayed(body, "192.0.2.1", &[20000]), expected);
}
