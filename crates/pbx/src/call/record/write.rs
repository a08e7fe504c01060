//! Records of legs and subscriptions as they are written.

use std::hash::Hasher;

use records::tlv;

use super::{LEG, SUBSCRIPTION, Served, unix_ms, write_flow};
use crate::call::Calls;
use crate::call::leg::{Calling, Leg, Serving, Why};
use crate::call::watch::Watcher;
use crate::control::{Cause, Now, Sound};
use crate::nest::nested;
use crate::pbx::Turn;

impl Calls {
    /// Writes the records of what changed since the last input.
    pub(crate) fn write_changes(&mut self, turn: &mut Turn<'_>) {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        for id in changed.drain(..) {
            let Some(leg) = self.legs.get(&id).filter(|leg| leg.is_changed) else {
                continue;
            };
            let mut text = std::mem::take(&mut self.text);
            text.clear();
            self.write_leg(turn.now, leg, &mut text);
            let written = self.keyed(|hasher| hasher.write(&text));
            if let Some(leg) = self.legs.get_mut(&id) {
                leg.is_changed = false;
                if std::mem::replace(&mut leg.written, written) != written {
                    // What is too large is a leg that another node could not go on with: the record before stands.
                    let put = |out: &mut Vec<u8>| out.extend_from_slice(&text);
                    let _ = turn.output.changes.put(LEG, &id.0.to_be_bytes(), put);
                }
            }
            self.text = text;
        }
        self.changed = changed;
        for id in self.forgotten.drain(..) {
            let _ = turn.output.changes.remove(LEG, &id.0.to_be_bytes());
        }
        let mut watched = std::mem::take(&mut self.watch.changed);
        for tag in watched.drain(..) {
            let key = tag.to_be_bytes();
            let _ = match self.watch.watchers.get(&tag) {
                Some(watcher) => turn.output.changes.put(SUBSCRIPTION, &key, |out| {
                    write_watcher(turn.now, watcher, out)
                }),
                None => turn.output.changes.remove(SUBSCRIPTION, &key),
            };
        }
        self.watch.changed = watched;
    }

    fn write_leg(&self, now: Now, leg: &Leg, out: &mut Vec<u8>) {
        let session = &leg.session;
        nested(1, out, |out| leg.dialog.write_record(out));
        tlv::write_number(2, leg.state as u64, out);
        let flags = [
            leg.is_incoming,
            leg.was_answered,
            leg.is_holding,
            leg.has_failed,
            session.has_remote,
            session.is_previewed,
            leg.ears.is_echo,
            leg.ears.in_band,
            leg.is_private,
            session.by_peer,
            session.is_unsure,
        ];
        tlv::write_number(
            3,
            flags
                .iter()
                .rev()
                .fold(0, |bits, &flag| bits << 1 | u64::from(flag)),
            out,
        );
        write_flow(4, leg.flow, out);
        tlv::write_number(5, leg.tag, out);
        for (tag, part) in [
            (6, &leg.party.user),
            (7, &leg.party.host),
            (8, &leg.party.display),
        ] {
            tlv::write_bytes(tag, part.as_bytes(), out);
        }
        tlv::write_number(9, leg.began_unix_ms, out);
        let can = leg.abilities;
        tlv::write_number(
            10,
            u64::from(can.reliable)
                | u64::from(can.requires_reliable) << 1
                | u64::from(can.update) << 2,
            out,
        );
        if let Some(serving) = &leg.serving {
            nested(11, out, |out| self.write_serving(serving, out));
        }
        if let Some(calling) = leg.calling {
            // A refresh by UPDATE is sent anew.
            if self.layer.client_record(calling.client).is_some() {
                nested(12, out, |out| self.write_calling(calling, out));
            }
        }
        if let Some(repeating) = &leg.repeating {
            tlv::write_bytes(13, &repeating.bytes, out);
            tlv::write_number(14, u64::from(repeating.cseq), out);
        }
        self.write_rest(now, leg, out);
    }

    fn write_rest(&self, now: Now, leg: &Leg, out: &mut Vec<u8>) {
        let session = &leg.session;
        tlv::write_number(15, u64::from(leg.invite_cseq), out);
        tlv::write_number(16, u64::from(leg.max_forwards), out);
        for (tag, value) in [
            (17, session.offers.number()),
            (18, session.origin.0),
            (19, session.origin.1),
            (22, session.path as u64),
            (23, session.offered as u64),
            (26, leg.wants as u64),
            (27, leg.told as u64),
        ] {
            tlv::write_number(tag, value, out);
        }
        tlv::write_bytes(20, &session.local, out);
        tlv::write_bytes(21, &session.remote, out);
        if let Some(timer) = leg.timer {
            nested(25, out, |out| {
                tlv::write_number(1, u64::from(timer.expires_s), out);
                tlv::write_number(2, u64::from(timer.we_refresh), out);
                tlv::write_number(3, unix_ms(now, timer.deadline), out);
            });
        }
        for (tag, other) in [(28, leg.peer), (29, leg.offered_for)] {
            if let Some(other) = other {
                tlv::write_number(tag, other.0, out);
            }
        }
        write_ears(leg, out);
        if let Some(transfer) = &leg.transfer {
            tlv::write_number(
                36,
                u64::from(transfer.id) << 1 | u64::from(transfer.is_told),
                out,
            );
        }
        tlv::write_bytes(37, &leg.invite_extra, out);
        if let Some(sender) = &leg.reliable {
            tlv::write_number(38, u64::from(sender.last()), out);
            if let Some(waiting) = sender.waiting() {
                tlv::write_bytes(43, waiting, out);
            }
        }
        if let Some(cause) = &leg.cause {
            nested(44, out, |out| write_cause(cause, out));
        }
        self.write_served(leg, out);
        tlv::write_number(39, leg.caller_key, out);
        tlv::write_number(41, leg.until_unix_ms, out);
        for fork in &leg.forks {
            nested(40, out, |out| {
                tlv::write_number(1, u64::from(fork.received.last()), out);
                nested(2, out, |out| fork.dialog.write_record(out));
            });
        }
    }

    fn write_serving(&self, serving: &Serving, out: &mut Vec<u8>) {
        tlv::write_bytes(1, &serving.head, out);
        tlv::write_number(
            2,
            u64::from(serving.to_tag.at) << 1 | u64::from(serving.to_tag.present),
            out,
        );
        tlv::write_number(3, u64::from(serving.cseq), out);
        let record = match serving.is_invite {
            true => self.layer.server_record(serving.server),
            false => self.layer.request_record(serving.server),
        };
        tlv::write_number(7, u64::from(!serving.is_invite), out);
        let Some(record) = record else { return };
        tlv::write_bytes(4, &record.key.to_be_bytes(), out);
        write_flow(5, record.flow, out);
        tlv::write_bytes(6, record.stored, out);
    }

    /// The transaction of the peer's last request, if it is answered.
    fn write_served(&self, leg: &Leg, out: &mut Vec<u8>) {
        let is_open = |server| {
            leg.serving
                .as_ref()
                .is_some_and(|serving| serving.server == server)
        };
        let Some(server) = leg.served.filter(|server| !is_open(*server)) else {
            return;
        };
        let invite = self.layer.server_record(server);
        let Some(record) = invite.or_else(|| self.layer.request_record(server)) else {
            return;
        };
        let served = match (record.state, invite.is_some()) {
            (transaction::State::Accepted, true) => Served::Accepted,
            (transaction::State::Completed, true) => Served::Refused,
            (transaction::State::Completed, false) => Served::Answered,
            _ => return,
        };
        nested(42, out, |out| {
            tlv::write_number(1, served as u64, out);
            tlv::write_bytes(4, &record.key.to_be_bytes(), out);
            write_flow(5, record.flow, out);
            tlv::write_bytes(6, record.stored, out);
        });
    }

    fn write_calling(&self, calling: Calling, out: &mut Vec<u8>) {
        tlv::write_number(1, u64::from(calling.cseq), out);
        let Some(record) = self.layer.client_record(calling.client) else {
            return;
        };
        tlv::write_number(2, record.branch, out);
        write_flow(3, record.flow, out);
        tlv::write_bytes(4, record.request, out);
        tlv::write_number(
            5,
            u64::from(record.state == transaction::State::Proceeding),
            out,
        );
        let (why, other) = match calling.why {
            Why::Call => (0, None),
            Why::Own => (1, None),
            Why::Refresh => (2, None),
            Why::PassOn { other } => (3, Some(other)),
            Why::Direct { other, back: false } => (4, Some(other)),
            Why::Direct { other, back: true } => (5, Some(other)),
        };
        tlv::write_number(6, why, out);
        if let Some(other) = other {
            tlv::write_number(7, other.0, out);
        }
    }
}

fn write_cause(cause: &Cause, out: &mut Vec<u8>) {
    tlv::write_number(1, u64::from(cause.status), out);
    tlv::write_number(2, u64::from(cause.q850), out);
    tlv::write_bytes(3, cause.text.as_bytes(), out);
}

fn write_ears(leg: &Leg, out: &mut Vec<u8>) {
    let ears = &leg.ears;
    if let Some(end) = ears.end {
        nested(30, out, |out| {
            tlv::write_number(1, end.id.0, out);
            tlv::write_bytes(2, end.port.address.to_string().as_bytes(), out);
            tlv::write_number(3, u64::from(end.stream.ssrc), out);
            tlv::write_number(4, u64::from(end.stream.first_sequence), out);
            tlv::write_number(5, u64::from(end.stream.first_timestamp), out);
            tlv::write_number(6, end.stream.started_at.as_micros(), out);
            if let Some(learned) = end.learned {
                tlv::write_bytes(7, learned.to_string().as_bytes(), out);
            }
            tlv::write_number(8, u64::from(end.is_described), out);
        });
    }
    if let Some(play) = &ears.play {
        nested(31, out, |out| {
            tlv::write_number(1, play.play.0, out);
            tlv::write_number(2, u64::from(play.from_ms), out);
            tlv::write_number(
                3,
                u64::from(play.repeat) | u64::from(play.barge_in) << 1,
                out,
            );
            if let Some(began) = play.began_unix_ms {
                tlv::write_number(4, began, out);
            }
            for sound in &play.sounds {
                nested(5, out, |out| write_sound(sound, out));
            }
        });
    }
    if let Some(taking) = &ears.taking {
        nested(32, out, |out| {
            tlv::write_number(1, taking.recording.0, out);
            tlv::write_bytes(2, taking.path.as_bytes(), out);
            tlv::write_number(
                3,
                u64::from(taking.both) | u64::from(taking.key_ends) << 1,
                out,
            );
            tlv::write_number(4, u64::from(taking.max_ms), out);
            tlv::write_number(5, u64::from(taking.silence_ms), out);
            tlv::write_number(6, u64::from(taking.from_ms), out);
            if let Some(began) = taking.began_unix_ms {
                tlv::write_number(7, began, out);
            }
        });
    }
    for digit in &ears.digits {
        tlv::write_number(34, u64::from(u32::from(digit.sign())), out);
    }
    if let Some((room, muted)) = ears.room {
        nested(33, out, |out| {
            tlv::write_number(1, room.0, out);
            tlv::write_number(2, u64::from(muted), out);
        });
    }
}

fn write_sound(sound: &Sound, out: &mut Vec<u8>) {
    match sound {
        Sound::Prompt(name) => tlv::write_bytes(1, name.as_bytes(), out),
        Sound::Number(number) => tlv::write_number(2, *number, out),
        Sound::Digits(digits) => tlv::write_bytes(3, digits.as_bytes(), out),
        Sound::Tone(name) => tlv::write_bytes(4, name.as_bytes(), out),
        Sound::File(path) => tlv::write_bytes(5, path.as_bytes(), out),
        Sound::Music(class) => tlv::write_bytes(6, class.as_bytes(), out),
        Sound::Silence(ms) => tlv::write_number(7, u64::from(*ms), out),
    }
}

fn write_watcher(now: Now, watcher: &Watcher, out: &mut Vec<u8>) {
    nested(1, out, |out| watcher.dialog.write_record(out));
    write_flow(2, watcher.flow, out);
    tlv::write_bytes(3, watcher.package.name().as_bytes(), out);
    tlv::write_bytes(4, &watcher.event_id, out);
    tlv::write_bytes(5, watcher.user.as_bytes(), out);
    tlv::write_number(6, unix_ms(now, watcher.subscription.expires_at), out);
    tlv::write_number(7, u64::from(watcher.subscription.version), out);
    tlv::write_number(8, u64::from(watcher.is_known), out);
    tlv::write_number(9, u64::from(watcher.told.0), out);
    tlv::write_number(10, u64::from(watcher.told.1), out);
}
