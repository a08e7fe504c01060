//! Putting a relay into a description's media.

use std::net::IpAddr;

use crate::edit::{Edits, write_number, write_type_and_address};
use crate::index::{Description, Entry, Rtcp, Section};
use crate::line::Span;
use crate::media::Transport;

/// The relay's ports for one m-line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// For RTP or datagrams; 0 counts as no ports.
    pub rtp: u16,
    /// For RTCP. Where it is not `rtp + 1`, it is said by `a=rtcp`. Of no meaning where the m-line is not RTP.
    pub rtcp: u16,
}

/// What a description is to say instead.
#[derive(Debug, Clone, Copy)]
pub struct Rewrite<'r> {
    /// The relay's address, for `c=`, `o=` and `a=rtcp`.
    pub address: IpAddr,
    /// By m-line. `None`, or nothing for the last ones, leaves the line's media where they are.
    pub ports: &'r [Option<Ports>],
}

/// Notes in `edits`, which is cleared first, what makes the media of `description` go through the relay.
///
/// What changes:
/// - `o=`: address type and address, so that the inside stays hidden. User name, identifier and version
///   stay, for they tell one description from the next (RFC 3264 section 8).
/// - `m=` of a line with ports: the port. Port 0 stays 0, whatever ports there are for it.
/// - `c=` of a line with ports, be it its own or the session's. A line that is left alone and has media
///   keeps its address: where it had the session's, and that changes, it gets a `c=` of its own. The
///   address of a rejected line changes too; it serves for nothing but to show the inside.
/// - The hold of RFC 2543, `c=` with `0.0.0.0` or `::`, stays (RFC 3264 section 8.4).
/// - `a=rtcp` of a line with ports: the port, which is RTP's where it was (both share one, RFC 5761), and the
///   address, if it had one, be it the `0.0.0.0` that browsers put there. Port 0 stays. It is added where
///   the relay's RTCP port is not one above RTP.
/// - ICE (RFC 8839) goes at both levels: `candidate`, `remote-candidates`, `end-of-candidates`, `ice-ufrag`,
///   `ice-pwd`, `ice-options`, `ice-lite`, `ice-mismatch`, `ice-pacing`. Candidates lead around the relay,
///   and with an end that has none its peer uses `c=` and `m=`.
///   So do `altc` (RFC 6947) and `source-filter` (RFC 4570), which name addresses that are no longer true.
/// - BUNDLE (RFC 9143) goes: each m-line has ports of its own at the relay, whereas a group would put all
///   of them on the first line's. `a=group:BUNDLE` is removed, and the answerer sees an offer without it;
///   the offerer sees an answer without it and uses one transport a line (RFC 9143 section 7). A line with
///   `a=bundle-only` has no transport of its own at the offerer, so there is nowhere to relay to: it loses the
///   attribute and keeps port 0, which is what an answerer without BUNDLE makes of it (section 6).
///
/// Everything else, `a=rtcp-mux`, other groups, `a=crypto` and `a=fingerprint` among it, stays as it was written.
pub fn rewrite(description: &Description<'_>, rewrite: &Rewrite<'_>, edits: &mut Edits) {
    edits.clear();
    let index = description.index;
    let body = description.body;
    let address = rewrite.address;
    edits.replace(body, index.origin.type_and_address, |out| {
        write_type_and_address(out, address);
    });
    let ports = |number: usize| {
        let ports = rewrite.ports.get(number).copied().flatten();
        ports.filter(|ports| ports.rtp != 0 && index.media[number].needs_ports())
    };
    let is_session_replaced = is_session_replaced(description, |number| ports(number).is_some());
    if is_session_replaced {
        replace_connection(body, &index.session, address, edits);
    }
    remove_lines(description, &index.session, edits);
    for (number, entry) in index.media.iter().enumerate() {
        match ports(number) {
            Some(ports) => relay_line(description, entry, address, ports, edits),
            None if entry.port == 0 => hide_line(body, entry, address, edits),
            None if is_session_replaced && entry.section.connection.is_none() => {
                keep_connection(description, entry, edits);
            }
            None => {}
        }
        remove_lines(description, &entry.section, edits);
    }
}

/// Whether the session's `c=` is to name the relay: some line that uses it is relayed, or none that has
/// media needs it as it is.
fn is_session_replaced(description: &Description<'_>, is_relayed: impl Fn(usize) -> bool) -> bool {
    let Some(session) = description.index.session.connection else {
        return false;
    };
    let uses = |entry: &Entry| entry.port != 0 && entry.section.connection.is_none();
    let media = description.index.media.iter().enumerate();
    let mut is_used = false;
    for (number, _) in media.filter(|(_, entry)| uses(entry)) {
        if is_relayed(number) {
            return !session.is_hold();
        }
        is_used = true;
    }
    !is_used && !session.is_hold()
}

fn relay_line(
    description: &Description<'_>,
    entry: &Entry,
    address: IpAddr,
    ports: Ports,
    edits: &mut Edits,
) {
    let body = description.body;
    edits.replace(body, entry.port_span, |out| write_number(out, ports.rtp));
    replace_connection(body, &entry.section, address, edits);
    match entry.rtcp {
        Some(Ok(rtcp)) => {
            // One that says RTP's port says that both share it.
            let port = match rtcp.port == entry.port {
                true => ports.rtp,
                false => ports.rtcp,
            };
            if rtcp.port != 0 {
                edits.replace(body, rtcp.port_span, |out| write_number(out, port));
            }
            replace_rtcp_address(body, &rtcp, address, edits);
        }
        Some(Err(_)) => {}
        None if entry.protocol.transport() != Transport::Rtp => {}
        None if Some(ports.rtcp) == ports.rtp.checked_add(1) => {}
        None if entry.has_rtcp_mux && ports.rtcp == ports.rtp => {}
        None => insert_line(description, entry.end, edits, |out| {
            out.extend_from_slice(b"a=rtcp:");
            write_number(out, ports.rtcp);
        }),
    }
}

/// Takes the inside out of a line that has no media.
fn hide_line(body: &[u8], entry: &Entry, address: IpAddr, edits: &mut Edits) {
    replace_connection(body, &entry.section, address, edits);
    if let Some(Ok(rtcp)) = entry.rtcp {
        replace_rtcp_address(body, &rtcp, address, edits);
    }
}

fn replace_connection(body: &[u8], section: &Section, address: IpAddr, edits: &mut Edits) {
    if let Some(connection) = section.connection
        && !connection.is_hold()
    {
        edits.replace(body, connection.type_and_address, |out| {
            write_type_and_address(out, address);
        });
    }
}

fn replace_rtcp_address(body: &[u8], rtcp: &Rtcp, address: IpAddr, edits: &mut Edits) {
    if let Some(span) = rtcp.type_and_address {
        edits.replace(body, span, |out| write_type_and_address(out, address));
    }
}

/// Gives a line that had the session's `c=` a copy of it.
fn keep_connection(description: &Description<'_>, entry: &Entry, edits: &mut Edits) {
    let body = description.body;
    if let Some(session) = description.index.session.connection {
        insert_line(description, entry.connection_at, edits, |out| {
            out.extend_from_slice(b"c=");
            out.extend_from_slice(session.value.of(body));
        });
    }
}

/// Puts a line at `at`, with the line end that the description uses.
fn insert_line(
    description: &Description<'_>,
    at: u32,
    edits: &mut Edits,
    write: impl FnOnce(&mut Vec<u8>),
) {
    let body = description.body;
    let line_end = line_end(body);
    // The last line of a description may lack its end; then the new one follows an end and has none. If
    // that last line is taken out, the end before it is still there.
    let is_ended = body[..at as usize].ends_with(b"\n");
    let removed = description.index.removed.last();
    let is_removed = removed.is_some_and(|removed| removed.end == at);
    edits.replace(body, Span { start: at, end: at }, |out| {
        if !is_ended && !is_removed {
            out.extend_from_slice(line_end);
        }
        write(out);
        if is_ended {
            out.extend_from_slice(line_end);
        }
    });
}

fn line_end(body: &[u8]) -> &'static [u8] {
    match memchr::memchr(b'\n', body) {
        Some(at) if at > 0 && body[at - 1] != b'\r' => b"\n",
        _ => b"\r\n",
    }
}

fn remove_lines(description: &Description<'_>, section: &Section, edits: &mut Edits) {
    let (start, end) = section.removed;
    for &line in &description.index.removed[start as usize..end as usize] {
        edits.remove(line);
    }
}
