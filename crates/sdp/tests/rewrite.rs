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

const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 10.0.0.5\r\ns=-\r\n";
const RELAYED_HEAD: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n";

/// Asserts that the head and `before` become the head of the relay and `after`.
fn becomes(before: &str, ports: &[u16], after: &str) {
    let body = format!("{HEAD}{before}");
    assert_eq!(
        relayed(&body, "192.0.2.1", ports),
        format!("{RELAYED_HEAD}{after}")
    );
}

#[test]
fn the_family_changes_with_the_address() {
    let body =
        format!("{HEAD}c=IN IP4 10.0.0.5\r\nm=audio 4 RTP/AVP 0\r\na=rtcp:5 IN IP4 10.0.0.6\r\n");
    let expected = "v=0\r\no=- 1 1 IN IP6 2001:db8::1\r\ns=-\r\nc=IN IP6 2001:db8::1\r\n\
        m=audio 20000 RTP/AVP 0\r\na=rtcp:20001 IN IP6 2001:db8::1\r\n";
    assert_eq!(relayed(&body, "2001:db8::1", &[20000]), expected);
}

#[test]
fn a_line_that_is_left_alone_keeps_its_address() {
    becomes(
        "c=IN IP4 10.0.0.5\r\nm=audio 4 RTP/AVP 0\r\nm=message 6 TCP/MSRP *\r\ni=chat\r\na=path:x\r\n",
        &[20000],
        "c=IN IP4 192.0.2.1\r\nm=audio 20000 RTP/AVP 0\r\nm=message 6 TCP/MSRP *\r\ni=chat\r\n\
        c=IN IP4 10.0.0.5\r\na=path:x\r\n",
    );
    // A relayable line as well, and one that is the last and has no end.
    becomes(
        "c=IN IP4 host.example.org\r\nm=audio 4 RTP/AVP 0\r\nc=IN IP4 10.0.0.6\r\nm=message 6 TCP/MSRP *",
        &[20000],
        "c=IN IP4 host.example.org\r\nm=audio 20000 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\nm=message 6 TCP/MSRP *",
    );
    becomes(
        "c=IN IP4 10.0.0.5\r\nm=audio 4 RTP/AVP 0\r\nm=video 6 RTP/AVP 34",
        &[20000],
        "c=IN IP4 192.0.2.1\r\nm=audio 20000 RTP/AVP 0\r\nm=video 6 RTP/AVP 34\r\nc=IN IP4 10.0.0.5",
    );
}

#[test]
fn where_nothing_is_relayed_addresses_of_media_stay() {
    becomes(
        "c=IN IP4 10.0.0.5\r\nm=message 6 TCP/MSRP *\r\n",
        &[20000],
        "c=IN IP4 10.0.0.5\r\nm=message 6 TCP/MSRP *\r\n",
    );
}

#[test]
fn a_session_address_that_no_line_needs_is_hidden() {
    becomes(
        "c=IN IP4 10.0.0.5\r\nm=audio 0 RTP/AVP 0\r\n",
        &[],
        "c=IN IP4 192.0.2.1\r\nm=audio 0 RTP/AVP 0\r\n",
    );
    becomes(
        "c=IN IP4 224.2.1.1/127/3\r\nm=audio 4 RTP/AVP 0\r\nc=IN IP4 10.0.0.5\r\n",
        &[20000],
        "c=IN IP4 192.0.2.1\r\nm=audio 20000 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\n",
    );
}

#[test]
fn port_0_stays_0_and_shows_no_address() {
    becomes(
        "m=audio 0 RTP/AVP 0\r\nc=IN IP4 10.0.0.5\r\na=rtcp:7 IN IP4 10.0.0.5\r\na=candidate:1\r\n",
        &[20000],
        "m=audio 0 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\na=rtcp:7 IN IP4 192.0.2.1\r\n",
    );
}

#[test]
fn a_hold_by_address_stays() {
    becomes(
        "c=IN IP6 ::\r\nm=audio 4 RTP/AVP 0\r\nm=video 6 RTP/AVP 34\r\nc=IN IP4 0.0.0.0\r\n",
        &[20000, 20002],
        "c=IN IP6 ::\r\nm=audio 20000 RTP/AVP 0\r\nm=video 20002 RTP/AVP 34\r\nc=IN IP4 0.0.0.0\r\n",
    );
}

#[test]
fn rtcp_is_told_where_it_is() {
    let audio = "c=IN IP4 10.0.0.5\r\nm=audio 4 RTP/AVP 0\r\n";
    let relayed = "c=IN IP4 192.0.2.1\r\nm=audio 20000 RTP/AVP 0\r\n";
    for (line, after) in [
        ("a=rtcp:9 IN IP4 0.0.0.0", "a=rtcp:20001 IN IP4 192.0.2.1"),
        ("a=rtcp:17", "a=rtcp:20001"),
        ("a=rtcp: 17", "a=rtcp: 20001"),
        // RTP's port: both share it. None: there is no RTCP.
        ("a=rtcp:4", "a=rtcp:20000"),
        ("a=rtcp:0", "a=rtcp:0"),
    ] {
        becomes(
            &format!("{audio}{line}\r\n"),
            &[20000],
            &format!("{relayed}{after}\r\n"),
        );
    }
    // One for the whole session can be true of no line.
    becomes(&format!("a=rtcp:17\r\n{audio}"), &[20000], relayed);
}

#[test]
fn rtcp_that_is_not_beside_rtp_is_announced() {
    let body = format!(
        "{HEAD}c=IN IP4 10.0.0.5\r\nm=audio 4 RTP/AVP 0\r\na=x\r\nm=image 6 udptl t38\r\na=y"
    );
    let mut index = Index::new();
    let description = index
        .parse(body.as_bytes(), &Limits::default())
        .expect("it is a description");
    let ports = [Some(Ports {
        rtp: 20_000,
        rtcp: 30_000,
    }); 2];
    let change = Rewrite {
        address: "192.0.2.1".parse().expect("an address"),
        ports: &ports,
    };
    let mut edits = Edits::new();
    rewrite(&description, &change, &mut edits);
    let mut out = Vec::new();
    edits.write(body.as_bytes(), &mut out);
    let expected = format!(
        "{RELAYED_HEAD}c=IN IP4 192.0.2.1\r\nm=audio 20000 RTP/AVP 0\r\na=x\r\na=rtcp:30000\r\n\
        m=image 20000 udptl t38\r\na=y"
    );
    assert_eq!(String::from_utf8_lossy(&out), expected);
}

#[test]
fn ice_goes_at_both_levels_in_any_case() {
    becomes(
        "c=IN IP4 10.0.0.5\r\na=ICE-lite\r\na=ice-options:trickle\r\na=tool:x\r\n\
        m=audio 4 RTP/AVP 0\r\na=ice-ufrag:x\r\na=Candidate:1 1 UDP 1 10.0.0.5 4 typ host\r\n\
        a=rtcp-mux\r\na= end-of-candidates\r\na=candidates:kept\r\n",
        &[20000],
        "c=IN IP4 192.0.2.1\r\na=tool:x\r\n\
        m=audio 20000 RTP/AVP 0\r\na=rtcp-mux\r\na=candidates:kept\r\n",
    );
}

#[test]
fn bundle_goes_and_other_groups_stay() {
    becomes(
        "c=IN IP4 10.0.0.5\r\na=group:BUNDLE 1 2\r\na=group:LS 1 2\r\n\
        m=audio 4 RTP/AVP 0\r\na=mid:1\r\nm=video 0 RTP/AVP 34\r\na=bundle-only\r\na=mid:2\r\n",
        &[20000, 20002],
        "c=IN IP4 192.0.2.1\r\na=group:LS 1 2\r\n\
        m=audio 20000 RTP/AVP 0\r\na=mid:1\r\nm=video 0 RTP/AVP 34\r\na=mid:2\r\n",
    );
}

#[test]
fn what_names_the_relay_already_is_not_touched() {
    let body = format!("{RELAYED_HEAD}c=IN IP4 192.0.2.1\r\nm=audio 20000 RTP/AVP 0\r\n");
    let mut index = Index::new();
    let description = index
        .parse(body.as_bytes(), &Limits::default())
        .expect("it is a description");
    let ports = [Some(Ports {
        rtp: 20_000,
        rtcp: 20_001,
    })];
    let change = Rewrite {
        address: "192.0.2.1".parse().expect("an address"),
        ports: &ports,
    };
    let mut edits = Edits::new();
    rewrite(&description, &change, &mut edits);
    assert!(edits.is_empty());
    assert_eq!(edits.size_after(body.len()), body.len());
}
