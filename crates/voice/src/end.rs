//! One end: what it hears and says, whom it is connected to, what is known of its peer.

use std::net::SocketAddr;

use audio::SampleRate;
use rtp::mos::{Conditions, rate};
use rtp::rtcp::{Compound, Form, Rtcp, SenderInfo, write};
use rtp::{ClockRate, Micros, NtpTime, Packet, RoundTrip, ShortNtp, Ssrc};

use crate::ear::Ear;
use crate::frame::{FRAME_MS, Frame};
use crate::guard::Guard;
use crate::mouth::Mouth;
use crate::player::Player;
use crate::recorder::Recorder;
use crate::report::{PeerView, Reason, Report};
use crate::room::Seat;
use crate::settings::Settings;
use crate::types::{Codec, Direction, EndId, PortId, Remote, Stream, Time};

/// What an end hears when nothing is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Nothing,
    /// Another end, by its place.
    Peer(u32),
    /// Its seat in a conference, by the place of that.
    Room(u32),
    /// Itself.
    Echo,
}

/// What goes and came by RTCP.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reports {
    next: Time,
    trip: RoundTrip,
    last_report: ShortNtp,
    last_report_at: Time,
    pub(crate) peer: Option<PeerView>,
}

/// The halves of an end, which are there from the first description of the peer on.
#[derive(Debug)]
pub(crate) struct Halves {
    pub(crate) ear: Ear,
    pub(crate) mouth: Mouth,
}

/// One end.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) id: EndId,
    pub(crate) port: PortId,
    pub(crate) stream: Stream,
    pub(crate) halves: Option<Halves>,
    pub(crate) guard: Guard,
    pub(crate) direction: Direction,
    pub(crate) source: Source,
    pub(crate) player: Option<Box<Player>>,
    pub(crate) recorder: Option<Box<Recorder>>,
    pub(crate) seat: Option<Box<Seat>>,
    /// What was said last, for who records both ways.
    pub(crate) said: Frame,
    /// The slot in which it is listened to.
    pub(crate) hear_slot: usize,
    /// The slot in which it speaks.
    pub(crate) speak_slot: usize,
    /// Keys are to be looked for once there is an ear.
    pub(crate) detects: bool,
    /// Nothing has come since, or since it was said that it should.
    pub(crate) expected_since: Time,
    pub(crate) is_silent: bool,
    pub(crate) reports: Reports,
    pub(crate) dropped: [u32; Reason::ALL.len()],
}

impl End {
    pub(crate) fn new(now: Time, id: EndId, port: PortId, stream: Stream) -> End {
        let slot = stream.started_at.as_micros() / crate::mouth::SLOT_US;
        let slot = (slot % crate::mouth::SLOTS as u64) as usize;
        End {
            id,
            port,
            stream,
            halves: None,
            guard: Guard::default(),
            direction: Direction::Inactive,
            source: Source::Nothing,
            player: None,
            recorder: None,
            seat: None,
            said: Frame::silent(SampleRate::Hz8000),
            hear_slot: slot,
            speak_slot: slot,
            detects: false,
            expected_since: now,
            is_silent: false,
            reports: Reports::default(),
            dropped: [0; Reason::ALL.len()],
        }
    }

    /// The peer described itself.
    pub(crate) fn describe(&mut self, now: Time, remote: &Remote, settings: &Settings) {
        self.guard.describe(now, remote);
        let negotiated = &remote.negotiated;
        match &mut self.halves {
            Some(halves) => {
                halves.ear.negotiate(negotiated);
                halves.mouth.negotiate(negotiated, settings);
            }
            None => {
                let seed = u64::from(self.stream.ssrc);
                let mut ear = Ear::new(now, seed, negotiated, settings);
                ear.detect(self.detects);
                let mouth = Mouth::new(self.stream, negotiated, settings);
                self.halves = Some(Halves { ear, mouth });
                // Spread over the time between reports, the first one soon (RFC 3550 section 6.2).
                let spread = u64::from(settings.rtcp_ms.max(100)) * 1_000;
                let part = u64::from(self.stream.ssrc) % (spread / 2);
                self.reports.next = now.plus_micros(spread / 2 + part);
            }
        }
        if !self.direction.receives() {
            self.expected_since = now;
        }
        if let (true, Some(halves)) = (!remote.direction.sends(), &mut self.halves) {
            halves.mouth.pause();
        }
        self.direction = remote.direction;
        let rate = negotiated.send.codec.rate();
        if let Some(player) = &mut self.player {
            player.set_rate(rate);
        }
    }

    /// The rate at which it speaks.
    pub(crate) fn said_rate(&self) -> SampleRate {
        let halves = self.halves.as_ref();
        halves.map_or(SampleRate::Hz8000, |halves| {
            halves.mouth.format.codec.rate()
        })
    }

    /// Whether it could take payloads as they are: nothing else is to be heard, and nobody listens to what it says.
    pub(crate) fn takes_payloads(&self) -> Option<Codec> {
        let halves = self.halves.as_ref()?;
        let is_busy = self.player.is_some()
            || halves.mouth.is_dialling()
            || self
                .recorder
                .as_ref()
                .is_some_and(|it| it.is_both() || it.is_beeping());
        (!is_busy && self.direction.sends()).then_some(halves.mouth.format.codec)
    }

    /// Whether nobody needs what it hears decoded, but the end that it is connected to.
    pub(crate) fn gives_payloads(&self) -> bool {
        let listens = self.halves.as_ref().is_some_and(|it| it.ear.detects());
        self.recorder.is_none() && !listens
    }

    /// Judges a packet that came to the RTP socket.
    pub(crate) fn admit(
        &mut self,
        now: Time,
        source: SocketAddr,
        packet: &Packet<'_>,
    ) -> Result<bool, Reason> {
        let halves = self.halves.as_ref().ok_or(Reason::NotDescribed)?;
        let reception = &halves.ear.reception;
        self.guard
            .admit(now, source, || reception.is_continued_by(packet))
    }

    /// Takes RTCP.
    pub(crate) fn receive_rtcp(
        &mut self,
        now: Time,
        source: SocketAddr,
        packet: &[u8],
    ) -> Result<(), Reason> {
        let halves = self.halves.as_ref().ok_or(Reason::NotDescribed)?;
        self.guard.admit_rtcp(now, source)?;
        let compound = Compound::parse(packet, Form::ReducedSize).map_err(|_| Reason::NotRtp)?;
        let micros = Micros(now.as_micros());
        for part in compound.packets() {
            let is_of_peer = |ssrc| halves.ear.reception.ssrc() == Some(ssrc);
            if let Rtcp::SenderReport { ssrc, info, .. } = part
                && is_of_peer(ssrc)
            {
                self.reports.last_report = info.ntp.short();
                self.reports.last_report_at = now;
            }
        }
        let clock = ClockRate::new(halves.mouth.format.codec.clock_hz());
        for block in compound.blocks() {
            if block.ssrc != Ssrc(self.stream.ssrc) {
                continue;
            }
            let before = self.reports.peer.and_then(|peer| peer.round_trip_us);
            let trip = self.reports.trip.returned(&block, micros);
            let trip = trip.map(|us| u32::try_from(us).unwrap_or(u32::MAX));
            let jitter_us = clock.map_or(0, |clock| clock.to_us(block.jitter));
            self.reports.peer = Some(PeerView {
                lost: block.lost.max(0).unsigned_abs(),
                loss: f32::from(block.fraction_lost) / 256.0,
                jitter_us: u32::try_from(jitter_us).unwrap_or(u32::MAX),
                round_trip_us: trip.or(before),
            });
        }
        Ok(())
    }

    /// Writes a report if one is due. Gives the socket and where to.
    pub(crate) fn report_rtcp(
        &mut self,
        now: Time,
        settings: &Settings,
        out: &mut Vec<u8>,
    ) -> Option<(u32, SocketAddr)> {
        if now < self.reports.next || settings.rtcp_ms == 0 || self.halves.is_none() {
            return None;
        }
        let wait_us = u64::from(settings.rtcp_ms) * 1_000;
        self.reports.next = now.plus_micros(wait_us);
        self.write_rtcp(now, false, out)
    }

    /// Writes a report, with the farewell at the end of a stream.
    pub(crate) fn write_rtcp(
        &mut self,
        now: Time,
        is_last: bool,
        out: &mut Vec<u8>,
    ) -> Option<(u32, SocketAddr)> {
        let halves = self.halves.as_mut()?;
        let (is_mux, destination) = self.guard.rtcp_destination()?;
        out.clear();
        let ssrc = Ssrc(self.stream.ssrc);
        let (last_report, delay) = match self.reports.last_report {
            ShortNtp(0) => (ShortNtp(0), ShortNtp(0)),
            report => {
                let waited = now.micros_since(self.reports.last_report_at);
                (report, ShortNtp::of_us(waited))
            }
        };
        let block = halves.ear.reception.report(last_report, delay);
        let blocks = block.as_slice();
        let ntp = NtpTime::of_unix_us(now.as_micros());
        let written = if self.direction.sends() && halves.mouth.packets > 0 {
            self.reports.trip.sent(ntp, Micros(now.as_micros()));
            let info = SenderInfo {
                ntp,
                timestamp: halves.mouth.timestamp_at(now),
                packets: halves.mouth.packets as u32,
                bytes: halves.mouth.bytes as u32,
            };
            write::push_sender_report(ssrc, &info, blocks, out)
        } else {
            write::push_receiver_report(ssrc, blocks, out)
        };
        let name = name_of(self.stream.ssrc);
        written
            .and_then(|()| write::push_source_description(ssrc, &name, out))
            .and_then(|()| match is_last {
                true => write::push_bye(&[ssrc], b"", out),
                false => Ok(()),
            })
            .ok()?;
        let socket = self.port.0 + u32::from(!is_mux);
        Some((socket, destination))
    }

    /// Whether the silence of the peer is to be told now.
    pub(crate) fn falls_silent(&mut self, now: Time, settings: &Settings) -> bool {
        let Some(halves) = &self.halves else {
            return false;
        };
        let last = halves.ear.last.max(self.expected_since);
        let limit_us = u64::from(settings.silence_ms) * 1_000;
        let is_silent = self.direction.receives() && now.micros_since(last) > limit_us;
        let is_news = is_silent && !self.is_silent;
        self.is_silent = is_silent;
        is_news
    }

    pub(crate) fn drop_packet(&mut self, reason: Reason) {
        let count = &mut self.dropped[reason as usize];
        *count = count.saturating_add(1);
    }

    /// What became of it.
    pub(crate) fn report(&self) -> Report {
        let Some(Halves { ear, mouth }) = &self.halves else {
            return Report {
                end: self.id,
                sent_codec: None,
                received_codec: None,
                packets_sent: 0,
                bytes_sent: 0,
                received: rtp::Statistics::default(),
                concealed: 0,
                mos: None,
                peer: None,
                peer_mos: None,
                digits: 0,
                dropped: self.dropped,
            };
        };
        let received = ear.reception.statistics();
        let round_trip_us = self.reports.peer.and_then(|peer| peer.round_trip_us);
        let conditions = |codec, loss, burst_ratio, jitter_us| Conditions {
            codec: rated(codec),
            loss,
            burst_ratio,
            jitter_us,
            round_trip_us: round_trip_us.unwrap_or(0),
            packet_us: FRAME_MS * 1_000,
        };
        let mos = ear.last_codec.map(|codec| {
            let burst_ratio = received.burst_ratio();
            rate(&conditions(
                codec,
                received.loss(),
                burst_ratio,
                received.jitter_us,
            ))
            .mos
        });
        let peer_mos = self.reports.peer.map(|peer| {
            let loss = peer.lost as f32 / mouth.packets.max(1) as f32;
            let codec = mouth.format.codec;
            rate(&conditions(
                codec,
                loss.clamp(0.0, 1.0),
                1.0,
                peer.jitter_us,
            ))
            .mos
        });
        Report {
            end: self.id,
            sent_codec: (mouth.packets > 0).then_some(mouth.format.codec),
            received_codec: ear.last_codec,
            packets_sent: mouth.packets,
            bytes_sent: mouth.bytes,
            received,
            concealed: ear.counts().concealed,
            mos,
            peer: self.reports.peer,
            peer_mos,
            digits: ear.digits,
            dropped: self.dropped,
        }
    }
}

fn rated(codec: Codec) -> rtp::mos::Codec {
    match codec {
        Codec::Pcmu | Codec::Pcma => rtp::mos::Codec::G711,
        Codec::G722 => rtp::mos::Codec::G722,
        Codec::Opus => rtp::mos::Codec::Opus,
    }
}

/// A canonical name that tells nothing (RFC 7022 section 4.2): the SSRC in hexadecimal digits.
fn name_of(ssrc: u32) -> [u8; 8] {
    let mut name = [0; 8];
    for (n, place) in name.iter_mut().enumerate() {
        *place = b"0123456789abcdef"[(ssrc >> (28 - 4 * n) & 15) as usize];
    }
    name
}
