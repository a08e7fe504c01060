//! Calls as records, and going on with those of another node.

use records::{Changes, Op};

use crate::control::{APPLICATION_KIND, Action, QuestionId};

use super::call::{Call, State};
use super::codec::Field;
use super::queue::Agent;
use super::{Round, Switchboard};

/// Records of calls.
pub const CALL_KIND: u16 = APPLICATION_KIND;

/// Records of agents.
pub const AGENT_KIND: u16 = APPLICATION_KIND + 1;

/// Records of when a user's last call was, where phones are rung by turns.
pub const USER_KIND: u16 = APPLICATION_KIND + 2;

impl Switchboard {
    /// A call as bytes, if it is there.
    pub fn state_of(&self, call: u64) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        self.calls.get(&call)?.write(&mut out);
        Some(out)
    }

    pub(crate) fn write_changes(&mut self, changes: &mut Changes) {
        while let Some(id) = self.changed.pop_first() {
            let key = id.to_be_bytes();
            let written = match self.calls.get(&id) {
                Some(call) => changes.put(CALL_KIND, &key, |out| call.write(out)),
                None => changes.remove(CALL_KIND, &key),
            };
            // A call whose record is too large stays on this node.
            if written.is_err() {
                self.counts.unwritten += 1;
            }
        }
        self.write_users(changes);
        while let Some(name) = self.changed_agents.pop_first() {
            if let Some(agent) = self.agents.get(&name) {
                let written = changes.put(AGENT_KIND, name.as_bytes(), |out| agent.write(out));
                debug_assert!(written.is_ok(), "names and agents are short");
            }
        }
    }

    fn write_users(&mut self, changes: &mut Changes) {
        while let Some(user) = self.changed_users.pop_first() {
            let last = self.last_calls.get(&user).copied().unwrap_or(0);
            if changes
                .put(USER_KIND, user.as_bytes(), |out| last.write(out))
                .is_err()
            {
                self.counts.unwritten += 1;
            }
        }
    }

    pub(crate) fn read_change(&mut self, op: Op<'_>) {
        match (op.kind, op.value) {
            (CALL_KIND, Some(value)) => match <Call as Field>::read(value) {
                Ok(call) => {
                    self.calls.insert(call.id, Box::new(call));
                }
                Err(_) => self.counts.unreadable += 1,
            },
            (CALL_KIND, None) => {
                if let Ok(key) = <[u8; 8]>::try_from(op.key) {
                    self.calls.remove(&u64::from_be_bytes(key));
                }
            }
            (AGENT_KIND, value) => {
                let Ok(name) = std::str::from_utf8(op.key) else {
                    return;
                };
                match value.map(Agent::read) {
                    Some(Ok(agent)) => {
                        self.agents.insert(name.to_owned(), agent);
                    }
                    Some(Err(_)) => self.counts.unreadable += 1,
                    None => {
                        self.agents.remove(name);
                    }
                }
            }
            (USER_KIND, Some(value)) => {
                let user = std::str::from_utf8(op.key).unwrap_or_default();
                match u64::read(value) {
                    Ok(last) => {
                        self.last_calls.insert(user.to_owned(), last);
                    }
                    Err(_) => self.counts.unreadable += 1,
                }
            }
            (USER_KIND, None) => {
                let user = std::str::from_utf8(op.key).unwrap_or_default();
                self.last_calls.remove(user);
            }
            _ => {}
        }
    }

    /// Takes up all calls: tables are made of them, and what was asked is asked again. What legs hear and what is recorded
    /// of them is in the records of the legs and goes on by itself.
    pub(crate) fn go_on(&mut self, round: &mut Round<'_>) {
        let ids: Vec<u64> = self.calls.keys().copied().collect();
        for id in &ids {
            self.index(*id);
        }
        self.publish_all(round);
        for waiting in self.waiting.values_mut() {
            waiting.sort_by_key(|id| match self.calls.get(id).map(|call| &call.state) {
                Some(State::Queued(queued)) => (queued.joined_unix_ms, *id),
                _ => (0, *id),
            });
        }
        for id in ids {
            let asked = self.calls.get(&id).and_then(|call| call.asked.as_ref());
            if let Some((number, what)) =
                asked.and_then(|one| Some((one.number, one.what.clone()?)))
            {
                round.act(Action::Ask {
                    question: QuestionId(number),
                    what,
                });
            }
        }
    }

    /// Enters a call that was read into the tables.
    fn index(&mut self, id: u64) {
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        for leg in &call.legs {
            self.legs.insert(leg.id, id);
        }
        for recording in &call.recordings {
            self.recordings.insert(recording.id, id);
        }
        if let Some(asked) = &call.asked {
            self.questions.insert(asked.number, id);
        }
        if let Some(at) = call.due() {
            self.due.insert((at, id));
        }
        match &call.state {
            State::Queued(queued) => {
                let waiting = self.waiting.entry(queued.queue.clone()).or_default();
                waiting.push(id);
            }
            State::Room(at) => self.rooms.entry(at.number.clone()).or_default().push(id),
            State::Parked(parked) => {
                self.slots.insert(parked.slot, id);
            }
            _ => {}
        }
    }
}
