//! Records of legs and subscriptions as they are read.

use std::net::SocketAddr;

use dialog::reliable::{Receiver, Sender};
use dialog::subscription::Subscription;
use dialog::{Dialog, offer, session};
use records::Error;
use voice::{EndId, Stream};

use super::{each, number, read_flow, small, text, time};
use crate::call::leg::{
    Abilities, Fork, Leg, Path, Play, Repeating, Session, Taking, Told, Transfer,
};
use crate::call::state::State;
use crate::call::watch::{Package, Watcher};
use crate::control::{Cause, LegId, Now, Party, PlayId, RecordingId, RoomId, Sound};

/// What of a leg's end is written down.
#[derive(Debug, Clone, Copy)]
pub(super) struct EndRecord {
    pub(super) id: EndId,
    pub(super) address: SocketAddr,
    pub(super) stream: Stream,
    pub(super) learned: Option<SocketAddr>,
    pub(super) was_described: bool,
}

/// What can be made live only when all of the leg is read.
#[derive(Debug, Default)]
pub(super) struct Later {
    pub(super) serving: Option<Vec<u8>>,
    pub(super) calling: Option<Vec<u8>>,
    pub(super) end: Option<EndRecord>,
    pub(super) served: Option<Vec<u8>>,
    pub(super) waiting: Option<Vec<u8>>,
}

fn read_sound(tag: u64, value: &[u8]) -> Result<Option<Sound>, Error> {
    Ok(Some(match tag {
        1 => Sound::Prompt(text(value)),
        2 => Sound::Number(number(value)?),
        3 => Sound::Digits(text(value)),
        4 => Sound::Tone(text(value)),
        5 => Sound::File(text(value)),
        6 => Sound::Music(text(value)),
        7 => Sound::Silence(small(value)?),
        _ => return Ok(None),
    }))
}

fn path_of(number: u64) -> Path {
    match number {
        1 => Path::Own,
        2 => Path::Direct,
        _ => Path::None,
    }
}

fn told_of(number: u64) -> Told {
    [Told::Trying, Told::Ringing, Told::Progress, Told::Answer]
        .get(number as usize)
        .copied()
        .unwrap_or_default()
}

fn read_session(session: &mut Session, tag: u64, value: &[u8]) -> Result<(), Error> {
    match tag {
        17 => {
            session.offers = offer::State::of_number(number(value)?).ok_or(Error::Field { tag })?
        }
        18 => session.origin.0 = number(value)?,
        19 => session.origin.1 = number(value)?,
        20 => session.local = value.to_vec(),
        21 => session.remote = value.to_vec(),
        22 => session.path = path_of(number(value)?),
        23 => session.offered = path_of(number(value)?),
        _ => {}
    }
    Ok(())
}

pub(super) fn read_leg(
    now: Now,
    leg: &mut Leg,
    later: &mut Later,
    tag: u64,
    value: &[u8],
) -> Result<(), Error> {
    let session = &mut leg.session;
    match tag {
        1 => leg.dialog = Dialog::read_record(value).map_err(|_| Error::Field { tag })?,
        2 => leg.state = State::of_number(number(value)?).ok_or(Error::Field { tag })?,
        3 => {
            let bits = number(value)?;
            let flags = [
                &mut leg.is_incoming,
                &mut leg.was_answered,
                &mut leg.is_holding,
                &mut leg.has_failed,
                &mut session.has_remote,
                &mut session.is_previewed,
                &mut leg.ears.is_echo,
                &mut leg.ears.in_band,
                &mut leg.is_private,
                &mut session.by_peer,
                &mut session.is_unsure,
            ];
            for (at, flag) in flags.into_iter().enumerate() {
                *flag = bits >> at & 1 == 1;
            }
        }
        4 => leg.flow = read_flow(tag, value)?,
        5 => leg.tag = number(value)?,
        6..=8 => *party_field(&mut leg.party, tag) = text(value),
        9 => leg.began_unix_ms = number(value)?,
        10 => {
            let bits = number(value)?;
            leg.abilities = Abilities {
                reliable: bits & 1 != 0,
                requires_reliable: bits & 2 != 0,
                update: bits & 4 != 0,
            };
        }
        11 => later.serving = Some(value.to_vec()),
        12 => later.calling = Some(value.to_vec()),
        13 => leg.repeating.get_or_insert_default().bytes = value.to_vec(),
        14 => leg.repeating.get_or_insert_with(Repeating::default).cseq = small(value)?,
        15 => leg.invite_cseq = small(value)?,
        16 => leg.max_forwards = small(value)?,
        17..=23 => read_session(session, tag, value)?,
        25 => leg.timer = Some(read_timer(now, value)?),
        26 => leg.wants = told_of(number(value)?),
        27 => leg.told = told_of(number(value)?),
        28 => leg.peer = Some(LegId(number(value)?)),
        29 => leg.offered_for = Some(LegId(number(value)?)),
        30 => later.end = Some(read_end(value)?),
        31 => leg.ears.play = Some(read_play(value)?),
        32 => leg.ears.taking = Some(read_taking(value)?),
        33 => {
            let mut room = (RoomId(0), false);
            each(value, |tag, value| {
                match tag {
                    1 => room.0 = RoomId(number(value)?),
                    2 => room.1 = number(value)? == 1,
                    _ => {}
                }
                Ok(())
            })?;
            leg.ears.room = Some(room);
        }
        36 => {
            let bits = number(value)?;
            leg.transfer = Some(Transfer {
                id: (bits >> 1) as u32,
                is_told: bits & 1 == 1,
            });
        }
        37 => leg.invite_extra = value.to_vec(),
        40 => read_fork(leg, value)?,
        _ => return read_open(leg, later, tag, value),
    }
    Ok(())
}

/// A dialog beside the leg's own, of one of several phones that ring; none where there are enough.
fn read_fork(leg: &mut Leg, value: &[u8]) -> Result<(), Error> {
    let (mut last, mut dialog) = (0, None);
    each(value, |tag, value| {
        match tag {
            1 => last = small(value)?,
            2 => dialog = Dialog::read_record(value).ok(),
            _ => {}
        }
        Ok(())
    })?;
    let dialog = dialog.ok_or(Error::Missing { tag: 2 })?;
    if leg.forks.len() < crate::call::leg::FORKS_MAX {
        leg.forks.push(Fork {
            dialog,
            received: Receiver::after(last),
            is_acknowledged: false,
            is_answered: false,
            is_updated: false,
        });
    }
    Ok(())
}

/// What is under way in a leg.
fn read_open(leg: &mut Leg, later: &mut Later, tag: u64, value: &[u8]) -> Result<(), Error> {
    match tag {
        34 => {
            let sign = char::from_u32(small(value)?);
            let digit = sign.and_then(voice::Digit::of_sign);
            leg.ears.digits.extend(digit);
        }
        38 => leg.reliable = Some(Sender::after(small(value)?, None)),
        42 => later.served = Some(value.to_vec()),
        43 => later.waiting = Some(value.to_vec()),
        44 => leg.cause = Some(read_cause(value)?),
        39 => leg.caller_key = number(value)?,
        41 => leg.until_unix_ms = number(value)?,
        _ => {}
    }
    Ok(())
}

fn party_field(party: &mut Party, tag: u64) -> &mut String {
    match tag {
        6 => &mut party.user,
        7 => &mut party.host,
        _ => &mut party.display,
    }
}

fn read_cause(value: &[u8]) -> Result<Cause, Error> {
    let mut cause = Cause::default();
    each(value, |tag, value| {
        match tag {
            1 => cause.status = number(value)? as u16,
            2 => cause.q850 = number(value)? as u8,
            3 => cause.text = text(value),
            _ => {}
        }
        Ok(())
    })?;
    Ok(cause)
}

fn read_timer(now: Now, value: &[u8]) -> Result<session::Session, Error> {
    let (mut expires_s, mut we_refresh, mut deadline) = (session::MIN_SE_S, true, now.time);
    each(value, |tag, value| {
        match tag {
            1 => expires_s = small(value)?,
            2 => we_refresh = number(value)? == 1,
            3 => deadline = time(now, number(value)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(session::Session {
        deadline,
        ..session::Session::begin(now.time, expires_s, we_refresh)
    })
}

pub(super) fn read_end(value: &[u8]) -> Result<EndRecord, Error> {
    let address = |tag, value: &[u8]| {
        std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or(Error::Field { tag })
    };
    let mut stream = Stream {
        ssrc: 0,
        first_sequence: 0,
        first_timestamp: 0,
        started_at: voice::Time::ZERO,
    };
    let (mut id, mut place, mut learned, mut was_described) = (None, None, None, false);
    each(value, |tag, value| {
        match tag {
            1 => id = Some(EndId(number(value)?)),
            2 => place = Some(address(tag, value)?),
            3 => stream.ssrc = small(value)?,
            4 => stream.first_sequence = number(value)? as u16,
            5 => stream.first_timestamp = small(value)?,
            6 => stream.started_at = voice::Time::from_micros(number(value)?),
            7 => learned = Some(address(tag, value)?),
            8 => was_described = number(value)? == 1,
            _ => {}
        }
        Ok(())
    })?;
    Ok(EndRecord {
        id: id.ok_or(Error::Missing { tag: 1 })?,
        address: place.ok_or(Error::Missing { tag: 2 })?,
        stream,
        learned,
        was_described,
    })
}

fn read_play(value: &[u8]) -> Result<Play, Error> {
    let mut play = Play {
        play: PlayId(0),
        sounds: Vec::new(),
        from_ms: 0,
        repeat: false,
        barge_in: false,
        began_unix_ms: None,
    };
    each(value, |tag, value| {
        match tag {
            1 => play.play = PlayId(number(value)?),
            2 => play.from_ms = small(value)?,
            3 => {
                let bits = number(value)?;
                (play.repeat, play.barge_in) = (bits & 1 != 0, bits & 2 != 0);
            }
            4 => play.began_unix_ms = Some(number(value)?),
            5 => each(value, |tag, value| {
                play.sounds.extend(read_sound(tag, value)?);
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(play)
}

fn read_taking(value: &[u8]) -> Result<Taking, Error> {
    let mut taking = Taking {
        recording: RecordingId(0),
        path: String::new(),
        both: false,
        max_ms: 0,
        silence_ms: 0,
        key_ends: false,
        beep: false,
        from_ms: 0,
        began_unix_ms: None,
    };
    each(value, |tag, value| {
        match tag {
            1 => taking.recording = RecordingId(number(value)?),
            2 => taking.path = text(value),
            3 => {
                let bits = number(value)?;
                (taking.both, taking.key_ends) = (bits & 1 != 0, bits & 2 != 0);
            }
            4 => taking.max_ms = small(value)?,
            5 => taking.silence_ms = small(value)?,
            6 => taking.from_ms = small(value)?,
            7 => taking.began_unix_ms = Some(number(value)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(taking)
}

pub(super) fn read_watcher(now: Now, value: &[u8]) -> Result<Watcher, Error> {
    let (mut dialog, mut flow, mut package, mut event_id, mut user) =
        (None, None, None, Box::default(), String::new());
    let (mut is_known, mut told) = (false, (0, 0));
    let mut subscription = Subscription::grant(now.time, 0);
    each(value, |tag, value| {
        match tag {
            1 => dialog = Dialog::read_record(value).ok(),
            2 => flow = Some(read_flow(tag, value)?),
            3 => package = Package::parse(value),
            4 => event_id = value.into(),
            5 => user = text(value),
            6 => subscription.expires_at = time(now, number(value)?),
            7 => subscription.version = small(value)?,
            8 => is_known = number(value)? == 1,
            9 => told.0 = small(value)?,
            10 => told.1 = small(value)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(Watcher {
        dialog: dialog.ok_or(Error::Missing { tag: 1 })?,
        flow: flow.ok_or(Error::Missing { tag: 2 })?,
        package: package.ok_or(Error::Missing { tag: 3 })?,
        event_id,
        user,
        is_known,
        told,
        subscription,
    })
}
