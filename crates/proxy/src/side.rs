//! One party of a call whose media are anchored: its ports, its tags, and what was offered to it and by it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use relay::Remote;

use crate::media::MediaPort;

/// Most tags heard from one branch, which may be forked again beyond it, that are told apart.
const TAGS_MAX: usize = 8;

/// One party.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) is_open: bool,
    /// Our address towards it.
    pub(crate) local: IpAddr,
    /// The host that its SIP comes from.
    pub(crate) signalling: IpAddr,
    /// What stands for the tags that it was heard with; of an answered one the first is the one that answered.
    pub(crate) tags: Vec<u64>,
    pub(crate) is_answered: bool,
    /// The number of the offer in its INVITE, 0 for none.
    pub(crate) invited: u32,
    pub(crate) ports: Vec<Option<MediaPort>>,
    /// Where it wanted to be sent to lately, by stream.
    pub(crate) told: Vec<Option<SocketAddr>>,
    /// All that it said of itself lately, by stream, and where its packets come from: for its record, empty without one.
    pub(crate) remotes: Vec<Option<Remote>>,
    pub(crate) learned: Vec<Option<SocketAddr>>,
    /// Streams that it refused in its answer, a bit each.
    pub(crate) refused: u32,
    /// What the caller offered to it, and what it offered to the caller.
    pub(crate) offers: [Offer; 2],
}

/// An offer, if it waits for its answer: by m-line, the stream and where the offerer wants to be sent to.
#[derive(Debug, Default)]
pub(crate) struct Offer {
    pub(crate) is_made: bool,
    /// Whether a request brought it: it waits for the response then, whatever else is said.
    pub(crate) is_of_request: bool,
    pub(crate) number: u32,
    pub(crate) lines: Lines,
}

pub(crate) type Lines = Vec<Option<(u8, Remote)>>;

impl Offer {
    /// Takes the offer out. What it held is to be given back by [`Offer::rest`].
    pub(crate) fn take(&mut self) -> Option<Lines> {
        std::mem::take(&mut self.is_made).then(|| std::mem::take(&mut self.lines))
    }

    pub(crate) fn rest(&mut self, mut lines: Lines) {
        lines.clear();
        self.lines = lines;
    }
}

impl Side {
    pub(crate) fn new() -> Side {
        Side {
            is_open: false,
            local: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            signalling: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            tags: Vec::new(),
            is_answered: false,
            invited: 0,
            ports: Vec::new(),
            told: Vec::new(),
            remotes: Vec::new(),
            learned: Vec::new(),
            refused: 0,
            offers: Default::default(),
        }
    }

    pub(crate) fn open(&mut self, local: IpAddr, signalling: IpAddr) {
        self.close();
        self.is_open = true;
        self.local = local;
        self.signalling = signalling;
    }

    pub(crate) fn close(&mut self) {
        self.is_open = false;
        self.tags.clear();
        self.is_answered = false;
        self.invited = 0;
        self.ports.clear();
        self.told.clear();
        self.remotes.clear();
        self.learned.clear();
        self.refused = 0;
        for offer in &mut self.offers {
            offer.is_made = false;
            offer.lines.clear();
        }
    }

    /// Notes that it was heard with this tag.
    pub(crate) fn heard(&mut self, tag: u64) {
        if !self.tags.contains(&tag) {
            if self.tags.len() == TAGS_MAX {
                self.tags.remove(1);
            }
            self.tags.push(tag);
        }
    }

    /// Notes that it answered with this tag, if it is the first that did.
    pub(crate) fn answered_as(&mut self, tag: u64) {
        self.heard(tag);
        if !self.is_answered {
            self.tags.retain(|other| *other != tag);
            self.tags.insert(0, tag);
        }
    }

    /// Whether it was answered by another tag than this.
    pub(crate) fn is_of_another(&self, tag: u64) -> bool {
        self.is_answered && self.tags.first() != Some(&tag)
    }

    pub(crate) fn port(&self, stream: u8) -> Option<MediaPort> {
        self.ports.get(usize::from(stream)).copied().flatten()
    }

    pub(crate) fn set_port(&mut self, stream: u8, port: Option<MediaPort>) {
        put(&mut self.ports, stream, port);
    }

    pub(crate) fn told(&self, stream: u8) -> Option<SocketAddr> {
        self.told.get(usize::from(stream)).copied().flatten()
    }

    /// Notes what it said of itself; all of it where it has a record.
    pub(crate) fn set_remote(&mut self, stream: u8, remote: &Remote, is_recorded: bool) {
        let address = told_address(remote);
        if is_recorded {
            put(&mut self.remotes, stream, Some(*remote));
            // Where it was heard from says nothing about where it is now.
            if self.told(stream) != Some(address) {
                self.set_learned(stream, None);
            }
        }
        put(&mut self.told, stream, Some(address));
    }

    pub(crate) fn set_learned(&mut self, stream: u8, source: Option<SocketAddr>) {
        if source.is_some() || self.learned.len() > usize::from(stream) {
            put(&mut self.learned, stream, source);
        }
    }

    /// Forgets what it said of a stream.
    pub(crate) fn forget_told(&mut self, stream: u8) {
        let at = usize::from(stream);
        for addresses in [&mut self.told, &mut self.learned] {
            if let Some(address) = addresses.get_mut(at) {
                *address = None;
            }
        }
        if let Some(remote) = self.remotes.get_mut(at) {
            *remote = None;
        }
    }
}

/// Where a party wants to be sent to, as it is compared with what it says later.
pub(crate) fn told_address(remote: &Remote) -> SocketAddr {
    let nowhere = || SocketAddr::new(remote.signalling, 0);
    remote.rtp.unwrap_or_else(nowhere)
}

fn put<T: Copy>(values: &mut Vec<Option<T>>, stream: u8, value: Option<T>) {
    let at = usize::from(stream);
    if values.len() <= at {
        values.reserve_exact(at + 1 - values.len());
        values.resize(at + 1, None);
    }
    values[at] = value;
}
