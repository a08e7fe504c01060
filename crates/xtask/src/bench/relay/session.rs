//! The little SDP that the relay rows need.

use std::net::{Ipv4Addr, SocketAddrV4};

/// An offer or answer of G.711 at this address.
pub(crate) fn description(address: SocketAddrV4) -> String {
    let (host, port) = (address.ip(), address.port());
    format!(
        "v=0\r\no=bench 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na=sendrecv\r\n"
    )
}

/// Where the sender of a description wants its audio, wherever the description stands in `text`.
pub(crate) fn address(text: &str) -> Option<SocketAddrV4> {
    let after = |mark: &str| {
        let (_, rest) = text.split_once(mark)?;
        rest.split_whitespace().next()
    };
    let host: Ipv4Addr = after("c=IN IP4 ")?.parse().ok()?;
    Some(SocketAddrV4::new(host, after("m=audio ")?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_back() {
        let at = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 20_000);
        assert_eq!(address(&description(at)), Some(at));
        assert_eq!(address("m=audio 1 RTP/AVP 0"), None);
    }
}
