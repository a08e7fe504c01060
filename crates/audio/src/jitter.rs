//! An adaptive jitter buffer: packets go in as they arrive, and come out in the order and at the pace of their timestamps.
//!
//! Whoever plays the sound asks for the next piece each time that it has played one. The earliest travelling time of packets so far is the
//! base; a packet's delay is how much later than that it is played, and its lateness how much later it came. The delay
//! aimed at follows the lateness: up at once, down over seconds. The delay is brought there at the start and after each silence; in between
//! it grows when a packet is missing that may still come, or the buffer runs dry (a piece is concealed, and the position waits), and
//! shrinks by leaving out a packet when over [`WINDOW_PULLS`] pieces it was never less than a piece too long. Both also make up for
//! clocks that differ.

use std::fmt;

/// Pieces over which the delay has to be too long before a packet is left out.
pub const WINDOW_PULLS: u32 = 50;
/// Pieces without any packet after which the stream counts as silent, and begins anew with the next one.
pub const DRY_PULLS_MAX: u32 = 10;
/// Timestamps further away than this many seconds are of a stream that began anew.
const JUMP_S: u32 = 3;
/// Of what the target is too high by, this part is taken off with each packet: half of it in 3.5 s of 20 ms each.
const DECAY: u32 = 256;
/// Packets after which the earliest travelling time is taken to be one unit longer, in case clocks drift apart.
const LEAK_PACKETS: u32 = 8;

/// The bounds of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Units of the timestamp a second.
    pub clock_hz: u32,
    /// The least delay in milliseconds.
    pub delay_ms_min: u32,
    /// The most delay that is aimed at, in milliseconds.
    pub delay_ms_max: u32,
    /// Packets that are held.
    pub packets_max: usize,
    /// The longest payload that is held.
    pub payload_bytes_max: usize,
}

impl Default for Settings {
    /// 8,000 Hz, 20 to 200 ms, 32 packets of at most 1,280 bytes (what fits into a packet on any path).
    fn default() -> Self {
        Self {
            clock_hz: 8_000,
            delay_ms_min: 20,
            delay_ms_max: 200,
            packets_max: 32,
            payload_bytes_max: 1_280,
        }
    }
}

/// A packet that goes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incoming<'a> {
    /// Its timestamp.
    pub timestamp: u32,
    /// What it is encoded as.
    pub payload_type: u8,
    /// The payload.
    pub payload: &'a [u8],
}

/// What became of a packet that went in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Inserted {
    /// It waits for its time.
    Held,
    /// Its time was over.
    Late,
    /// Its timestamp is there already.
    Repeated,
    /// The payload is longer than the settings allow.
    Long,
    /// It is held, and the oldest had to go, for the buffer was full.
    Displaced,
    /// It is the first of a stream, or of one whose timestamps began anew: what was held is gone.
    First,
}

/// What is to be played next.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Next<'a> {
    /// A packet. When it is decoded, [`Buffer::advance`] has to be told how long it was.
    Packet {
        /// What it is encoded as.
        payload_type: u8,
        /// The payload.
        payload: &'a [u8],
        /// One before it was left out to make the delay shorter: join it without a click.
        skipped: bool,
    },
    /// Nothing that came in time: conceal so many units of the timestamp.
    Missing {
        /// How many, up to what was asked for.
        units: u32,
    },
    /// There is no stream, or it is silent, or its beginning still waits for its time.
    Silent,
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packet {
                payload, skipped, ..
            } => {
                write!(f, "Packet({} bytes, {skipped})", payload.len())
            }
            Self::Missing { units } => write!(f, "Missing({units})"),
            Self::Silent => write!(f, "Silent"),
        }
    }
}

/// Counts of what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Packets that came too late.
    pub late: u32,
    /// Pieces that had to be concealed.
    pub concealed: u32,
    /// Packets left out to make the delay shorter.
    pub skipped: u32,
    /// Packets that went because the buffer was full.
    pub displaced: u32,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    timestamp: u32,
    payload_type: u8,
    /// `None` is free.
    bytes: Option<u16>,
}

/// Where the play position is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No stream, or a silent one.
    Idle,
    /// The stream has begun with this timestamp, which waits for its time.
    Waiting(u32),
    /// This timestamp is next.
    Playing(u32),
}

/// The buffer of one stream.
#[derive(Debug, Clone)]
pub struct Buffer {
    settings: Settings,
    slots: Vec<Slot>,
    payloads: Vec<u8>,
    state: State,
    /// The earliest travelling time in units against the local clock, modulo 2^32.
    base: u32,
    /// The lateness to be ready for, in units times [`DECAY`].
    lateness: u32,
    packets: u32,
    /// Units concealed while waiting, and pulls in a row that found the buffer dry.
    stalled: u32,
    dry_pulls: u32,
    /// The least that the delay was too long by, over the pulls of this window.
    least_excess: i32,
    window: u32,
    counts: Counts,
}

impl Buffer {
    /// An empty buffer. All that it ever holds is allocated now.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let settings = Settings {
            clock_hz: settings.clock_hz.clamp(1_000, 192_000),
            delay_ms_max: settings.delay_ms_max.min(2_000),
            packets_max: settings.packets_max.max(2),
            payload_bytes_max: settings.payload_bytes_max.min(usize::from(u16::MAX)),
            ..settings
        };
        let free = Slot {
            timestamp: 0,
            payload_type: 0,
            bytes: None,
        };
        Self {
            slots: vec![free; settings.packets_max],
            payloads: vec![0; settings.packets_max * settings.payload_bytes_max],
            state: State::Idle,
            base: 0,
            lateness: 0,
            packets: 0,
            stalled: 0,
            dry_pulls: 0,
            least_excess: i32::MAX,
            window: 0,
            counts: Counts::default(),
            settings,
        }
    }

    /// Takes a packet that arrived at `now_us`.
    pub fn insert(&mut self, packet: &Incoming<'_>, now_us: u64) -> Inserted {
        if packet.payload.len() > self.settings.payload_bytes_max {
            return Inserted::Long;
        }
        let transit = self.units_at(now_us).wrapping_sub(packet.timestamp);
        let (State::Waiting(position) | State::Playing(position)) = self.state else {
            return self.begin(packet, transit);
        };
        let ahead = packet.timestamp.wrapping_sub(position).cast_signed();
        if ahead.unsigned_abs() > self.settings.clock_hz * JUMP_S {
            return self.begin(packet, transit);
        }
        self.learn(transit);
        if ahead < 0 {
            if self.state == State::Playing(position) {
                self.counts.late = self.counts.late.saturating_add(1);
                return Inserted::Late;
            }
            self.state = State::Waiting(packet.timestamp);
        }
        let is_same = |slot: &Slot| slot.bytes.is_some() && slot.timestamp == packet.timestamp;
        if self.slots.iter().any(is_same) {
            return Inserted::Repeated;
        }
        if let Some(free) = self.slots.iter().position(|slot| slot.bytes.is_none()) {
            self.put(free, packet);
            return Inserted::Held;
        }
        self.counts.displaced = self.counts.displaced.saturating_add(1);
        if let Some(oldest) = self.earliest() {
            self.put(oldest, packet);
        }
        Inserted::Displaced
    }

    /// What is to be played from `now_us` on, for the next `units` of the timestamp. A packet may be longer or shorter than that.
    pub fn pull(&mut self, units: u32, now_us: u64) -> Next<'_> {
        let Some(first) = self.earliest() else {
            return self.run_dry(units);
        };
        let timestamp = self.slots[first].timestamp;
        let mut position = match self.state {
            State::Playing(position) => position,
            _ if self.delay(timestamp, now_us) < self.aim() => return Next::Silent,
            _ => timestamp,
        };
        let gap = timestamp.wrapping_sub(position);
        if gap > 0 && self.delay(position, now_us) < self.aim() {
            return self.wait(units); // It may still come.
        }
        // What was concealed while waiting need not be concealed again.
        position = position.wrapping_add(gap.min(self.stalled));
        let mut gap = timestamp.wrapping_sub(position);
        self.stalled = 0;
        self.dry_pulls = 0;
        if gap > self.units(self.settings.delay_ms_max) {
            // Too much for a loss: the sender left it out. What is due before the packet is its delay.
            gap = self.aim().unsigned_abs();
            position = timestamp.wrapping_sub(gap);
        }
        if gap > 0 {
            let units = gap.min(units);
            self.state = State::Playing(position.wrapping_add(units));
            self.counts.concealed = self.counts.concealed.saturating_add(1);
            return Next::Missing { units };
        }
        let (at, skipped) = self.shorten(first, units, now_us);
        let slot = &mut self.slots[at];
        self.state = State::Playing(slot.timestamp);
        let bytes = usize::from(slot.bytes.take().unwrap_or(0));
        let start = at * self.settings.payload_bytes_max;
        Next::Packet {
            payload_type: slot.payload_type,
            payload: &self.payloads[start..start + bytes],
            skipped,
        }
    }

    /// The packet of the last pull was so long when decoded.
    pub fn advance(&mut self, units: u32) {
        let State::Playing(position) = self.state else {
            return;
        };
        // At least one, lest the same packet be taken once more.
        let position = position.wrapping_add(units.clamp(1, self.settings.clock_hz));
        self.state = State::Playing(position);
        for slot in &mut self.slots {
            let is_over = slot.timestamp.wrapping_sub(position).cast_signed() < 0;
            if slot.bytes.is_some() && is_over {
                slot.bytes = None;
                self.counts.late = self.counts.late.saturating_add(1);
            }
        }
    }

    /// The delay that is aimed at, in milliseconds over the fastest packets.
    #[must_use]
    pub fn delay_ms(&self) -> u32 {
        (u64::from(self.aim().cast_unsigned()) * 1_000 / u64::from(self.settings.clock_hz)) as u32
    }

    /// Packets that wait.
    #[must_use]
    pub fn held(&self) -> usize {
        self.slots
            .iter()
            .filter(|slot| slot.bytes.is_some())
            .count()
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn begin(&mut self, packet: &Incoming<'_>, transit: u32) -> Inserted {
        for slot in &mut self.slots {
            slot.bytes = None;
        }
        if self.state != State::Idle || self.packets == 0 {
            self.lateness = 0;
        }
        // What was learned of the lateness before a silence is still worth something; the base is not, for senders may count on or not.
        self.base = transit;
        self.state = State::Waiting(packet.timestamp);
        self.packets = 1;
        self.stalled = 0;
        self.dry_pulls = 0;
        self.least_excess = i32::MAX;
        self.window = 0;
        self.put(0, packet);
        Inserted::First
    }

    /// What a packet's travelling time tells.
    fn learn(&mut self, transit: u32) {
        self.packets = self.packets.wrapping_add(1);
        if self.packets.is_multiple_of(LEAK_PACKETS) {
            self.base = self.base.wrapping_add(1);
        }
        let late = transit.wrapping_sub(self.base).cast_signed();
        if late < 0 {
            // Much earlier than all before: those were late by so much.
            let earlier = late.unsigned_abs();
            if earlier > self.settings.clock_hz / 100 {
                self.lateness = self.bounded(earlier.saturating_add(self.lateness / DECAY));
            }
            self.base = transit;
        }
        let late = self.bounded(late.max(0).unsigned_abs());
        self.lateness = match late > self.lateness {
            true => late,
            false => self.lateness - (self.lateness - late) / DECAY,
        };
    }

    /// A lateness as it is kept. No longer one than the bounds allow is worth being ready for.
    fn bounded(&self, units: u32) -> u32 {
        units.min(self.units(self.settings.delay_ms_max)) * DECAY
    }

    fn aim(&self) -> i32 {
        let least = self.units(self.settings.delay_ms_min);
        let most = self.units(self.settings.delay_ms_max);
        (self.lateness / DECAY).max(least).min(most).cast_signed()
    }

    /// How much later than the fastest packets one of this timestamp is played at `now_us`.
    fn delay(&self, timestamp: u32, now_us: u64) -> i32 {
        let due = timestamp.wrapping_add(self.base);
        self.units_at(now_us).wrapping_sub(due).cast_signed()
    }

    /// There is nothing to play.
    fn run_dry(&mut self, units: u32) -> Next<'_> {
        if !matches!(self.state, State::Playing(_)) {
            return Next::Silent;
        }
        self.dry_pulls += 1;
        if self.dry_pulls > DRY_PULLS_MAX {
            self.state = State::Idle;
            return Next::Silent;
        }
        self.wait(units)
    }

    /// Conceals a piece and stays where it is, so that the delay grows.
    fn wait(&mut self, units: u32) -> Next<'_> {
        self.stalled = self.stalled.saturating_add(units);
        self.counts.concealed = self.counts.concealed.saturating_add(1);
        Next::Missing { units }
    }

    /// The packet to play: the first, or a later one where the delay was too long for long, or is beyond all bounds.
    fn shorten(&mut self, first: usize, units: u32, now_us: u64) -> (usize, bool) {
        let piece = units.cast_signed();
        let mut excess = self.delay(self.slots[first].timestamp, now_us) - self.aim();
        self.least_excess = self.least_excess.min(excess);
        self.window += 1;
        let is_beyond = excess > self.units(self.settings.delay_ms_max).cast_signed() + 2 * piece;
        let is_long = self.window >= WINDOW_PULLS && self.least_excess >= piece;
        if self.window >= WINDOW_PULLS || is_beyond {
            self.window = 0;
            self.least_excess = i32::MAX;
        }
        let mut at = first;
        if !is_beyond && !is_long {
            return (at, false);
        }
        let mut skipped = false;
        while excess >= piece {
            let bytes = self.slots[at].bytes.take();
            let Some(next) = self.earliest() else {
                self.slots[at].bytes = bytes;
                break;
            };
            let step = self.slots[next]
                .timestamp
                .wrapping_sub(self.slots[at].timestamp);
            self.counts.skipped = self.counts.skipped.saturating_add(1);
            at = next;
            skipped = true;
            excess -= step.cast_signed();
            if is_long {
                break;
            }
        }
        (at, skipped)
    }

    /// The held packet with the earliest timestamp.
    fn earliest(&self) -> Option<usize> {
        let (State::Waiting(position) | State::Playing(position)) = self.state else {
            return None;
        };
        let held = self
            .slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.bytes.is_some());
        held.min_by_key(|(_, slot)| slot.timestamp.wrapping_sub(position))
            .map(|(at, _)| at)
    }

    fn put(&mut self, at: usize, packet: &Incoming<'_>) {
        let start = at * self.settings.payload_bytes_max;
        self.payloads[start..start + packet.payload.len()].copy_from_slice(packet.payload);
        self.slots[at] = Slot {
            timestamp: packet.timestamp,
            payload_type: packet.payload_type,
            // At most payload_bytes_max.
            bytes: Some(packet.payload.len() as u16),
        };
    }

    fn units(&self, ms: u32) -> u32 {
        self.settings.clock_hz / 1_000 * ms
    }

    fn units_at(&self, us: u64) -> u32 {
        let hz = u64::from(self.settings.clock_hz);
        let (seconds, us) = (us / 1_000_000, us % 1_000_000);
        seconds.wrapping_mul(hz).wrapping_add(us * hz / 1_000_000) as u32
    }
}

#[cfg(test)]
mod tests;
