//! Writing descriptions.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use sdp::Direction;
use voice::{Codec, Negotiated};

use super::lines::lines;
use super::{MEDIA_MAX, Peer, Wanted};

/// Our own description: the media thread speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own<'a> {
    /// Identifier and version of `o=`.
    pub(crate) origin: (u64, u64),
    /// Where the media thread hears.
    pub(crate) address: SocketAddr,
    /// Codecs that are offered, the preferred one first.
    pub(crate) codecs: &'a [Codec],
    /// What is answered; `None`: it is an offer.
    pub(crate) agreed: Option<Negotiated>,
    /// Which way sound goes for us.
    pub(crate) direction: Direction,
    /// The peer's last description: its m-lines stay, each in its place (RFC 3264 section 8).
    pub(crate) peer: Option<(&'a [u8], &'a Peer)>,
}

/// Appends our own description.
pub(crate) fn write_own(own: &Own<'_>, out: &mut Vec<u8>) {
    write_head(own.origin, own.address.ip(), out);
    let Some((body, peer)) = own.peer else {
        return write_audio(own, out);
    };
    let audio = peer
        .audio
        .unwrap_or_else(|| first_audio(body).unwrap_or(peer.media));
    for (section, line) in lines(body) {
        let Some(number) = section.filter(|&number| number < MEDIA_MAX && line.starts_with(b"m="))
        else {
            continue;
        };
        match number == audio {
            true => write_audio(own, out),
            false => write_refused(line, out),
        }
    }
    if audio >= peer.media {
        write_audio(own, out);
    }
}

/// The first m-line of sound, be it without a port.
fn first_audio(body: &[u8]) -> Option<usize> {
    let mut media = lines(body).filter(|(_, line)| line.starts_with(b"m="));
    media
        .find(|(_, line)| line.starts_with(b"m=audio "))
        .and_then(|(section, _)| section)
}

fn write_head((id, version): (u64, u64), address: IpAddr, out: &mut Vec<u8>) {
    out.extend_from_slice(b"v=0\r\n");
    write_origin((id, version), address, out);
    out.extend_from_slice(b"s=-\r\nc=IN ");
    write_address(address, out);
    out.extend_from_slice(b"\r\nt=0 0\r\n");
}

fn write_origin((id, version): (u64, u64), address: IpAddr, out: &mut Vec<u8>) {
    out.extend_from_slice(b"o=- ");
    sip::lex::push_number(out, id);
    out.push(b' ');
    sip::lex::push_number(out, version);
    out.extend_from_slice(b" IN ");
    write_address(address, out);
    out.extend_from_slice(b"\r\n");
}

fn write_address(address: IpAddr, out: &mut Vec<u8>) {
    let written = match address {
        IpAddr::V4(v4) => write!(out, "IP4 {v4}"),
        IpAddr::V6(v6) => write!(out, "IP6 {v6}"),
    };
    written.expect("writing to a Vec cannot fail");
}

/// An m-line refused, or left out of an offer: its port is 0.
fn write_refused(line: &[u8], out: &mut Vec<u8>) {
    let mut words = line.split(|&byte| byte == b' ');
    out.extend_from_slice(words.next().unwrap_or(b"m=audio"));
    out.extend_from_slice(b" 0");
    for word in words.skip(1) {
        out.push(b' ');
        out.extend_from_slice(word);
    }
    out.extend_from_slice(b"\r\n");
}

fn write_audio(own: &Own<'_>, out: &mut Vec<u8>) {
    let wanted = Wanted::after(own.peer.map(|(_, peer)| peer));
    let number = |codec: Codec| match codec {
        Codec::Pcmu => 0,
        Codec::Pcma => 8,
        Codec::G722 => 9,
        Codec::Opus => wanted.opus,
    };
    let mut formats = [None; 4];
    let (mut events, mut events_48k, mut noise) = (None, None, None);
    match own.agreed {
        Some(agreed) => {
            formats[0] = Some((agreed.send.codec, agreed.send.payload_type));
            match agreed.send.codec == Codec::Opus
                && own
                    .peer
                    .is_some_and(|(_, peer)| peer.events_48k == agreed.receive_events)
            {
                true => events_48k = agreed.receive_events,
                false => events = agreed.receive_events,
            }
            noise = own.peer.and_then(|(_, peer)| peer.noise);
        }
        None => {
            for (slot, &codec) in formats.iter_mut().zip(own.codecs) {
                *slot = Some((codec, number(codec)));
            }
            events = Some(wanted.events);
            events_48k = own
                .codecs
                .contains(&Codec::Opus)
                .then_some(wanted.events_48k);
        }
    }
    let mut text = |arguments: std::fmt::Arguments<'_>| {
        out.write_fmt(arguments)
            .expect("writing to a Vec cannot fail")
    };
    text(format_args!("m=audio {} RTP/AVP", own.address.port()));
    let all = formats.iter().flatten().map(|(_, number)| *number);
    for number in all.chain(events).chain(events_48k).chain(noise) {
        text(format_args!(" {number}"));
    }
    text(format_args!("\r\n"));
    for (codec, number) in formats.iter().flatten() {
        let channels = if *codec == Codec::Opus { "/2" } else { "" };
        text(format_args!(
            "a=rtpmap:{number} {}/{}{channels}\r\n",
            codec.name(),
            codec.clock_hz()
        ));
        if *codec == Codec::Opus {
            text(format_args!("a=fmtp:{number} useinbandfec=1\r\n"));
        }
    }
    for (number, clock_hz) in [(events, 8_000), (events_48k, 48_000)] {
        if let Some(number) = number {
            text(format_args!(
                "a=rtpmap:{number} telephone-event/{clock_hz}\r\na=fmtp:{number} 0-15\r\n"
            ));
        }
    }
    let direction = match own.direction {
        Direction::SendRecv => "sendrecv",
        Direction::SendOnly => "sendonly",
        Direction::RecvOnly => "recvonly",
        Direction::Inactive => "inactive",
    };
    text(format_args!("a=ptime:20\r\na={direction}\r\n"));
}

/// The description of another leg's peer, passed on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Through<'a> {
    /// Identifier and version of `o=`: ours, since this leg has its own (RFC 3264 section 8).
    pub(crate) origin: (u64, u64),
    /// What `o=` names.
    pub(crate) address: IpAddr,
    /// The other leg's last description.
    pub(crate) body: &'a [u8],
    /// What was read in it.
    pub(crate) from: &'a Peer,
    /// The last description of this leg's own peer: its m-lines stay.
    pub(crate) peer: Option<(&'a [u8], &'a Peer)>,
}

/// Appends a description that is passed on: as it is but for `o=` where its m-lines fit those of this leg; else its sound alone in the
/// place of this leg's, the other lines refused.
pub(crate) fn write_through(through: &Through<'_>, out: &mut Vec<u8>) {
    if through
        .peer
        .is_none_or(|(body, peer)| fits(through.body, through.from, body, peer))
    {
        for (_, line) in lines(through.body) {
            match line.starts_with(b"o=") {
                true => write_origin(through.origin, through.address, out),
                false => push_line(line, out),
            }
        }
        return;
    }
    out.extend_from_slice(b"v=0\r\n");
    write_origin(through.origin, through.address, out);
    out.extend_from_slice(b"s=-\r\n");
    for (section, line) in lines(through.body) {
        let is_kept = line.starts_with(b"c=")
            || line.starts_with(b"b=")
            || line.starts_with(b"a=") && !line.starts_with(b"a=group");
        if section.is_none() && line.starts_with(b"t=") {
            out.extend_from_slice(b"t=0 0\r\n");
        } else if section.is_none() && is_kept {
            push_line(line, out);
        }
    }
    let (body, peer) = through.peer.unwrap_or((through.body, through.from));
    let place = peer
        .audio
        .or_else(|| first_audio(body))
        .unwrap_or(peer.media);
    let audio = |out: &mut Vec<u8>| {
        for (_, line) in lines(through.body)
            .filter(|(section, _)| section.is_some() && *section == through.from.audio)
        {
            push_line(line, out);
        }
    };
    for (section, line) in lines(body).filter(|(_, line)| line.starts_with(b"m=")) {
        match section == Some(place) {
            true => audio(out),
            false => write_refused(line, out),
        }
    }
    if place >= peer.media {
        audio(out);
    }
}

/// Whether the m-lines of `one` can stand in a session whose m-lines were those of `other`: none is lost and none changes its kind.
fn fits(one: &[u8], one_peer: &Peer, other: &[u8], other_peer: &Peer) -> bool {
    let kinds = |body| {
        lines(body)
            .filter(|(_, line)| line.starts_with(b"m="))
            .map(|(_, line)| line.split(|&byte| byte == b' ').next())
    };
    one_peer.media >= other_peer.media
        && kinds(one)
            .zip(kinds(other))
            .all(|(one, other)| one == other)
}

fn push_line(line: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(line);
    out.extend_from_slice(b"\r\n");
}
