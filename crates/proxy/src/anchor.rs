//! The media of one call: who offered what, and by which ports it is relayed (RFC 3264).
//!
//! A call has a caller, side 0, and a side for each branch that may be answered. Each m-line that is relayed is a
//! stream with a pair of ports on every side. A session description from one side is rewritten to name the
//! ports of the side it goes to, and tells the relay where its sender wants to be sent to: at once where nothing
//! was agreed before, else when the answer comes, since an offer that is refused changes nothing.

use std::net::IpAddr;

use relay::{Command, Kind, Remote, SessionId};
use sdp::Description;
use transaction::layer::Id;

use crate::media::{MediaPorts, NoPorts};
use crate::side::{Offer, Side, told_address};

/// The side of the caller.
pub(crate) const CALLER: u8 = 0;

/// Most sides of a call at one time; a branch beyond it is not started.
pub(crate) const SIDES_MAX: usize = relay::SIDES_MAX as usize;

/// Most lines of a description that are relayed: each has a pair of ports on every side.
const LINES_MAX: usize = 8;

/// Most streams of a call at one time: an offer may put another kind in the place of every line.
pub(crate) const STREAMS_MAX: usize = 2 * LINES_MAX;

const _: () = assert!(STREAMS_MAX <= relay::STREAMS_MAX as usize);

/// Most sides, and places for lines, that an anchor may have to be kept for another call.
const SPARE_SIDES_MAX: usize = 4;

/// The media of one call.
#[derive(Debug)]
pub(crate) struct Anchor {
    pub(crate) session: SessionId,
    pub(crate) relay: Option<u16>,
    /// The call's place in the table of calls.
    pub(crate) call: Id,
    pub(crate) streams: Vec<Option<Stream>>,
    pub(crate) sides: Vec<Side>,
    /// The side that the caller talks with, 0 before there is one.
    pub(crate) selected: u8,
    /// The streams of the lines of the description that was looked at last.
    lines: Vec<Option<u8>>,
    /// Sides and streams that ports were taken for just now.
    fresh: Vec<(u8, u8)>,
    /// How many offers there were.
    pub(crate) offers: u32,
    /// Whether the call has a record, which says all that the relay has to know.
    pub(crate) is_recorded: bool,
}

/// Why an offer cannot be relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unoffered {
    /// Not for want of anything that may be there later: it has more lines than a call may have.
    TooManyLines,
    /// There are no ports for it.
    NoPorts(NoPorts),
}

/// One m-line that is relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) line: u8,
    pub(crate) kind: Kind,
}

/// Who says something, to whom, and from which host as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) sender: u8,
    pub(crate) receiver: u8,
    pub(crate) is_request: bool,
    /// The host that its SIP came from; `None` for that of the sender as it is known.
    pub(crate) signalling: Option<IpAddr>,
}

impl Anchor {
    /// The media of a call, with its caller and no ports yet.
    pub(crate) fn new(call: Id) -> Anchor {
        Anchor {
            session: SessionId(0),
            relay: None,
            call,
            streams: Vec::new(),
            sides: vec![Side::new()],
            selected: 0,
            lines: Vec::new(),
            fresh: Vec::new(),
            offers: 0,
            is_recorded: false,
        }
    }

    /// Makes another call of this one, with its memory.
    pub(crate) fn begin(
        &mut self,
        call: Id,
        session: SessionId,
        local: IpAddr,
        signalling: IpAddr,
    ) {
        self.session = session;
        self.relay = None;
        self.call = call;
        self.streams.clear();
        for side in &mut self.sides {
            side.close();
        }
        self.sides[0].open(local, signalling);
        self.selected = 0;
        self.lines.clear();
    }

    /// Opens a side for one more branch. `None` if there are too many.
    pub(crate) fn open_side(&mut self, local: IpAddr, signalling: IpAddr) -> Option<u8> {
        let free = self.sides.iter().skip(1).position(|side| !side.is_open);
        let at = match free {
            Some(at) => at + 1,
            None if self.sides.len() < SIDES_MAX => {
                self.sides.reserve_exact(1);
                self.sides.push(Side::new());
                self.sides.len() - 1
            }
            None => return None,
        };
        self.sides[at].open(local, signalling);
        Some(at as u8)
    }

    /// An open side.
    pub(crate) fn side_mut(&mut self, side: u8) -> Option<&mut Side> {
        self.sides
            .get_mut(usize::from(side))
            .filter(|side| side.is_open)
    }

    /// The callee's side that was heard with this tag.
    pub(crate) fn side_of(&self, tag: u64) -> Option<u8> {
        let mut sides = (1u8..).zip(self.sides.iter().skip(1));
        let found = sides.find(|(_, side)| side.is_open && side.tags.contains(&tag));
        found.map(|(at, _)| at)
    }

    /// Whether both are parties of the call now.
    pub(crate) fn are_open(&self, one: u8, other: u8) -> bool {
        let is_open = |at: u8| {
            self.sides
                .get(usize::from(at))
                .is_some_and(|side| side.is_open)
        };
        is_open(one) && is_open(other)
    }

    /// Whether it is no larger than most, and so worth to be used again.
    pub(crate) fn is_small(&self) -> bool {
        self.sides.len() <= SPARE_SIDES_MAX && self.lines.capacity() <= 2 * LINES_MAX
    }

    /// The number of what `sender` offered to `receiver` and was not answered yet.
    pub(crate) fn offered(&self, sender: u8, receiver: u8) -> Option<u32> {
        let (callee, by) = offer_place(sender, receiver);
        let offer = &self.sides.get(usize::from(callee))?.offers[by];
        offer.is_made.then_some(offer.number)
    }

    /// Whether such an offer came in a request, whose response is still to come.
    pub(crate) fn is_asked(&self, sender: u8, receiver: u8) -> bool {
        let (callee, by) = offer_place(sender, receiver);
        let side = self.sides.get(usize::from(callee));
        let offer = side.map(|side| &side.offers[by]);
        offer.is_some_and(|offer| offer.is_made && offer.is_of_request)
    }

    /// The host that the media of who says something are to come from. To a loopback address of ours everybody
    /// is on this machine, whose media leave from that address whatever its SIP left from.
    fn host(&self, word: Word) -> IpAddr {
        let side = &self.sides[usize::from(word.sender)];
        let host = word.signalling.unwrap_or(side.signalling);
        match side.local.is_loopback() && !host.is_loopback() {
            true => side.local,
            false => host,
        }
    }

    /// Takes an offer: there are ports for all that is to be relayed after it.
    ///
    /// # Errors
    /// Why not; everything is as it was then.
    pub(crate) fn offer(
        &mut self,
        media: &mut impl MediaPorts,
        word: Word,
        description: &Description<'_>,
    ) -> Result<(), Unoffered> {
        let (sender, receiver) = (word.sender, word.receiver);
        let (callee, by) = offer_place(sender, receiver);
        let signalling = self.host(word);
        if description
            .media()
            .filter(|line| kind_of(line).is_some())
            .count()
            > LINES_MAX
        {
            return Err(Unoffered::TooManyLines);
        }
        let mut lines = std::mem::take(&mut self.sides[usize::from(callee)].offers[by].lines);
        lines.clear();
        self.lines.clear();
        let had_relay = self.relay;
        let mut fresh = std::mem::take(&mut self.fresh);
        fresh.clear();
        let mut taken = Ok(());
        // Most calls have one line: what a vector takes beforehand would be most of a call's memory.
        lines.reserve_exact(description.media_count());
        self.lines.reserve_exact(description.media_count());
        for line in description.media() {
            let kind = kind_of(&line);
            let stream = kind.and_then(|kind| self.stream_for(line.number() as u8, kind));
            if kind.is_some() && stream.is_none() {
                taken = Err(Unoffered::TooManyLines);
            }
            self.lines.push(stream);
            lines.push(stream.map(|stream| (stream, remote(&line, signalling))));
            let Some(stream) = stream else { continue };
            for side in [sender, receiver] {
                if taken.is_ok() && self.sides[usize::from(side)].port(stream).is_none() {
                    taken = self
                        .take(media, side, stream)
                        .map(|()| fresh.push((side, stream)))
                        .map_err(Unoffered::NoPorts);
                }
            }
        }
        if let Err(error) = taken {
            for (side, stream) in fresh.drain(..) {
                let side = &mut self.sides[usize::from(side)];
                if let Some(port) = side.port(stream) {
                    media.give_back(port);
                }
                side.set_port(stream, None);
            }
            self.relay = had_relay;
            self.fresh = fresh;
            self.forget_unused();
            self.sides[usize::from(callee)].offers[by].is_made = false;
            return Err(error);
        }
        self.open(media, &fresh);
        self.fresh = fresh;
        // Whoever is offered something may send before his answer arrives (RFC 3264 section 5.1).
        if self.selected == 0 {
            for &(stream, remote) in lines.iter().flatten() {
                self.tell(media, stream, sender, remote, false);
            }
        }
        self.offers = self.offers.wrapping_add(1).max(1);
        self.sides[usize::from(callee)].offers[by] = Offer {
            is_made: true,
            is_of_request: word.is_request,
            number: self.offers,
            lines,
        };
        Ok(())
    }

    fn take(&mut self, media: &mut impl MediaPorts, side: u8, stream: u8) -> Result<(), NoPorts> {
        let side = &mut self.sides[usize::from(side)];
        let port = media.take_ports(side.local, self.relay)?;
        self.relay = Some(port.relay);
        side.set_port(stream, Some(port));
        Ok(())
    }

    fn open(&self, media: &mut impl MediaPorts, fresh: &[(u8, u8)]) {
        for &(side, stream) in fresh {
            let port = self.sides[usize::from(side)].port(stream);
            let kind = self.streams[usize::from(stream)].map(|stream| stream.kind);
            if let (Some(port), Some(kind)) = (port, kind) {
                let session = self.session;
                let port = port.port;
                let command = Command::Open {
                    session,
                    stream,
                    side,
                    port,
                    kind,
                };
                self.command(media, command);
            }
        }
    }

    /// Takes a description that says again what was agreed: nothing is changed.
    pub(crate) fn repeat(&mut self, description: &Description<'_>) {
        self.lines.clear();
        for line in description.media() {
            let stream = self.stream_of(line.number() as u8);
            self.lines.push(stream.filter(|_| line.needs_ports()));
        }
    }

    /// Takes an answer of the sender to what the receiver offered, or the same answer once more. Gives whether it
    /// fits the offer (RFC 3264 section 6); nothing is changed if not.
    pub(crate) fn answer(
        &mut self,
        media: &mut impl MediaPorts,
        word: Word,
        description: &Description<'_>,
    ) -> bool {
        let (sender, receiver) = (word.sender, word.receiver);
        let (callee, by) = offer_place(receiver, sender);
        let signalling = self.host(word);
        let offered = &self.sides[usize::from(callee)].offers[by];
        if offered.is_made && offered.lines.len() != description.media_count() {
            return false;
        }
        let offer = self.sides[usize::from(callee)].offers[by].take();
        let is_new = offer.is_some();
        // Both are where their words came from, now that these are agreed on.
        self.sides[usize::from(sender)].signalling = signalling;
        let mut offered = offer.iter().flatten().flatten();
        if let Some((_, remote)) = offered.next() {
            self.sides[usize::from(receiver)].signalling = remote.signalling;
        }
        self.lines.clear();
        let mut kept = 0u32;
        for line in description.media() {
            let at = line.number();
            let offered = offer.as_ref().and_then(|lines| lines.get(at).copied()?);
            let stream = match is_new {
                true => offered.map(|(stream, _)| stream),
                false => self.stream_of(at as u8),
            };
            let Some(stream) = stream.filter(|_| !line.is_rejected()) else {
                self.lines.push(None);
                continue;
            };
            self.lines.push(Some(stream));
            kept |= 1 << stream;
            self.tell(media, stream, sender, remote(&line, signalling), is_new);
            if let Some((_, remote)) = offered {
                self.tell(media, stream, receiver, remote, is_new);
            }
        }
        if let Some(lines) = offer {
            self.sides[usize::from(callee)].offers[by].rest(lines);
        }
        if is_new && self.selected == callee {
            self.close_streams(media, |stream| kept & 1 << stream == 0);
        } else if self.selected != callee
            && let Some(side) = self.side_mut(callee)
        {
            // Before it is selected the last word counts: it may come from another phone beyond the same branch.
            side.refused = !kept;
        }
        true
    }

    /// Forgets the offer of `sender` to `receiver` with this number: it was refused, or never answered. What was
    /// agreed before holds on (RFC 3261 section 14.1).
    pub(crate) fn abandon(
        &mut self,
        media: &mut impl MediaPorts,
        (sender, receiver): (u8, u8),
        number: u32,
    ) {
        if self.offered(sender, receiver) != Some(number) {
            return;
        }
        let (callee, by) = offer_place(sender, receiver);
        let Some(side) = self.side_mut(callee) else {
            return;
        };
        let Some(lines) = side.offers[by].take() else {
            return;
        };
        side.offers[by].rest(lines);
        if self.selected == 0 {
            return;
        }
        let is_agreed = |stream| self.sides.iter().any(|side| side.told(stream).is_some());
        let streams = (0..STREAMS_MAX as u8).filter(|&stream| is_agreed(stream));
        let agreed = streams.fold(0u32, |agreed, stream| agreed | 1 << stream);
        self.close_streams(media, |stream| agreed & 1 << stream == 0);
    }

    /// Notes that a side was answered with a 2xx; the first is the one that the caller talks with.
    pub(crate) fn answered(&mut self, media: &mut impl MediaPorts, side: u8) {
        let Some(answered) = self.side_mut(side) else {
            return;
        };
        answered.is_answered = true;
        if self.selected == 0 {
            self.select(media, side);
        }
    }

    fn select(&mut self, media: &mut impl MediaPorts, side: u8) {
        self.selected = side;
        let session = self.session;
        self.command(media, Command::Select { session, side });
        let refused = self.sides[usize::from(side)].refused;
        self.close_streams(media, |stream| refused & 1 << stream != 0);
    }

    /// Ends a side: its branch was refused or given up, or its dialog is over. Where the caller talked with
    /// it and somebody else answered too, he talks with that one from now on.
    pub(crate) fn close_side(&mut self, media: &mut impl MediaPorts, side: u8) {
        let Some(closed) = self.side_mut(side) else {
            return;
        };
        let had_ports = closed.ports.iter().any(Option::is_some);
        closed.close();
        if had_ports {
            let session = self.session;
            self.command(media, Command::CloseSide { session, side });
        }
        if self.selected == side {
            self.selected = 0;
            let other = self
                .sides
                .iter()
                .position(|side| side.is_open && side.is_answered);
            if let Some(other) = other {
                self.select(media, other as u8);
            }
        }
    }

    /// Ends all of it.
    pub(crate) fn close(&mut self, media: &mut impl MediaPorts) {
        let session = self.session;
        self.command(media, Command::Close { session });
        self.relay = None;
    }

    fn command(&self, media: &mut impl MediaPorts, command: Command) {
        if let Some(relay) = self.relay {
            media.command(relay, command);
        }
    }

    /// Tells the relay where a side wants to be sent to.
    fn tell(
        &mut self,
        media: &mut impl MediaPorts,
        stream: u8,
        side: u8,
        remote: Remote,
        is_answer: bool,
    ) {
        let address = told_address(&remote);
        let is_recorded = self.is_recorded;
        let to = &mut self.sides[usize::from(side)];
        if to.port(stream).is_none() {
            return;
        }
        // After what was agreed once is agreed anew the phone may send from elsewhere.
        let before = to.told(stream);
        let relearn =
            before.is_some_and(|before| is_answer && self.selected != 0 || before != address);
        to.set_remote(stream, &remote, is_recorded);
        let session = self.session;
        let command = Command::Remote {
            session,
            stream,
            side,
            remote,
            relearn,
        };
        self.command(media, command);
    }

    /// The number of the stream for an m-line: that of before if the line still is of its kind.
    fn stream_for(&mut self, line: u8, kind: Kind) -> Option<u8> {
        let wanted = Some(Stream { line, kind });
        if let Some(at) = self.streams.iter().position(|stream| *stream == wanted) {
            return Some(at as u8);
        }
        let at = match self.streams.iter().position(Option::is_none) {
            Some(at) => at,
            None if self.streams.len() < STREAMS_MAX => {
                self.streams.reserve_exact(1);
                self.streams.push(None);
                self.streams.len() - 1
            }
            None => return None,
        };
        self.streams[at] = wanted;
        Some(at as u8)
    }

    fn stream_of(&self, line: u8) -> Option<u8> {
        let found = self
            .streams
            .iter()
            .position(|stream| stream.is_some_and(|stream| stream.line == line));
        found.map(|at| at as u8)
    }

    fn close_streams(&mut self, media: &mut impl MediaPorts, is_over: impl Fn(u8) -> bool) {
        for stream in 0..self.streams.len() as u8 {
            let kept = &mut self.streams[usize::from(stream)];
            if kept.is_none() || !is_over(stream) {
                continue;
            }
            *kept = None;
            let had_ports = self.sides.iter().any(|side| side.port(stream).is_some());
            for side in &mut self.sides {
                side.set_port(stream, None);
                side.forget_told(stream);
            }
            if had_ports {
                let session = self.session;
                self.command(media, Command::CloseStream { session, stream });
            }
        }
    }

    /// Forgets streams that nobody has ports for.
    fn forget_unused(&mut self) {
        for at in 0..self.streams.len() {
            let stream = at as u8;
            if self.sides.iter().all(|side| side.port(stream).is_none()) {
                self.streams[at] = None;
            }
        }
    }

    /// What the description that was looked at last has to name for `receiver`: ports by m-line, and the
    /// address. `None` if nothing of it is relayed.
    pub(crate) fn named(
        &self,
        receiver: u8,
        ports: &mut Vec<Option<sdp::Ports>>,
    ) -> Option<IpAddr> {
        ports.clear();
        let side = &self.sides[usize::from(receiver)];
        let mut address = None;
        for line in &self.lines {
            let port = line.and_then(|stream| side.port(stream));
            address = address.or(port.map(|port| port.address.ip()));
            ports.push(port.map(|port| sdp::Ports {
                rtp: port.address.port(),
                rtcp: port.address.port() + 1,
            }));
        }
        address
    }
}

/// Where an offer between two sides is kept: the callee's side, and by which of the two it was made.
fn offer_place(sender: u8, receiver: u8) -> (u8, usize) {
    (sender.max(receiver), usize::from(sender != CALLER))
}

/// How a line is relayed; `None` for what is not.
fn kind_of(line: &sdp::Media<'_>) -> Option<Kind> {
    match line.transport() {
        _ if !line.needs_ports() => None,
        sdp::Transport::Rtp => Some(Kind::Rtp),
        sdp::Transport::Datagram => Some(Kind::Datagram),
        sdp::Transport::Other => None,
    }
}

/// Where the sender of a line wants to be sent to.
fn remote(line: &sdp::Media<'_>, signalling: IpAddr) -> Remote {
    let mut formats = relay::Formats::new();
    for format in line.formats() {
        // What is beyond the table, or has no clock, is relayed all the same.
        formats.add(format.payload_type, format.clock_rate_hz.unwrap_or(0));
    }
    Remote {
        rtp: line.rtp(),
        rtcp: line.rtcp(),
        rtcp_mux: line.has_rtcp_mux(),
        signalling,
        direction: match line.direction() {
            sdp::Direction::SendRecv => relay::Direction::SendRecv,
            sdp::Direction::SendOnly => relay::Direction::SendOnly,
            sdp::Direction::RecvOnly => relay::Direction::RecvOnly,
            sdp::Direction::Inactive => relay::Direction::Inactive,
        },
        formats,
    }
}
