//! REGISTER (RFC 3261 section 10.3).

use registrar::Change;
use sip::status;
use transaction::layer::{Id, ServerKey};

use crate::auth;
use crate::directory::Directory;
use crate::edge::{Edge, Input};
use crate::office::Office;
use crate::output::{BindingNote, Now, Output};
use crate::record::{self, BINDING};
use crate::settings::Settings;
use crate::sources::Offence;

/// Bindings that changed in this turn: their numbers, and where their addresses of record end.
#[derive(Debug, Default)]
pub(crate) struct BindingsNoted {
    aors: Vec<u8>,
    entries: Vec<(usize, u64)>,
    key: Vec<u8>,
}

impl BindingsNoted {
    fn push(&mut self, aor: &[u8], id: u64) {
        self.aors.extend_from_slice(aor);
        self.entries.push((self.aors.len(), id));
    }

    pub(crate) fn clear(&mut self) {
        self.aors.clear();
        self.entries.clear();
    }
}

/// An answer that waits until what it says is durable.
#[derive(Debug)]
pub(crate) struct Held {
    /// `None` for one that has left, since a standby has what it says.
    server: Option<Id>,
    status: u16,
    headers: Vec<u8>,
    aor: Box<[u8]>,
    /// Numbers of the bindings written, with their ends.
    written: Vec<(u64, u64)>,
}

impl Edge {
    /// Registers: who, whether it is himself, what; and answers at once or after the store has it.
    pub(crate) fn register<D: Directory>(
        &mut self,
        input: &Input<'_, '_>,
        key: ServerKey,
        directory: &mut D,
        output: &mut Output,
    ) {
        let request = input.request;
        let to = input.envelope.to;
        let mut aor = std::mem::take(&mut self.aor);
        match auth::our_aor(input.settings, &to, &mut aor) {
            // Section 10.3 step 5: not an address-of-record of this domain.
            None => {
                self.annoyed(input, Offence::UnknownUser, directory, output);
                self.refuse(input, 404, &mut output.outbox);
            }
            Some(domain) => {
                let place = auth::REGISTRAR;
                let party = (&aor[domain..], Some(&aor[..]));
                let asked = (request, input.flow.remote.ip());
                match auth::check(input.settings, input.now, asked, place, party, directory) {
                    Ok(()) => {
                        self.trusts(input, directory);
                        if !self.may_begin(input, directory, output) {
                            self.aor = aor;
                            return;
                        }
                        self.bind(input, key, &aor, directory, output);
                    }
                    Err(refusal) => {
                        self.challenge(input, place, &aor[domain..], refusal, directory, output)
                    }
                }
            }
        }
        self.aor = aor;
    }

    fn bind<D: Directory>(
        &mut self,
        input: &Input<'_, '_>,
        key: ServerKey,
        aor: &[u8],
        directory: &mut D,
        output: &mut Output,
    ) {
        let mut reply = std::mem::take(&mut self.reply);
        let now_s = input.now.unix_s();
        let outcome = directory.location(aor, |location, ids| {
            registrar::register(
                location,
                input.request,
                aor,
                &input.flow,
                now_s,
                &input.settings.registrar,
                ids,
                &mut reply,
            )
        });
        let server =
            self.layer
                .begin_server(key, input.request, &self.splices, input.back, u64::MAX);
        if matches!(self.office, Office::Owner { .. }) {
            let ids = reply.changes.iter().map(id_of);
            ids.for_each(|id| self.bindings_noted.push(aor, id));
        }
        if output.is_watched {
            output
                .bindings
                .extend(reply.events.iter().map(|event| BindingNote {
                    kind: event.kind,
                    aor: aor.into(),
                    contact: reply.contact(event).into(),
                }));
        }
        let waits = outcome.durable && !(self.office != Office::Alone && output.has_standby);
        if outcome.durable {
            let written = reply.changes.iter().filter_map(end_of).collect();
            let held = Held {
                server: waits.then_some(server),
                status: outcome.status,
                headers: if waits {
                    reply.headers.clone()
                } else {
                    Vec::new()
                },
                aor: aor.into(),
                written,
            };
            output.durable.append(&mut reply.changes);
            output.commits.push(self.held.insert(held).to_bits());
        } else {
            for (id, expires_at_unix_s) in reply.changes.iter().filter_map(end_of) {
                output.renewals.push(aor, id, expires_at_unix_s);
            }
            output.deferred.append(&mut reply.changes);
        }
        if !waits {
            self.layer.respond(
                input.now.time,
                server,
                outcome.status,
                outcome.reason,
                &reply.headers,
                &mut output.outbox,
            );
        }
        self.reply = reply;
    }

    /// Takes the store's word on an answer of [`Output::commits`]: it leaves, or 503 does.
    pub fn stored<D: Directory>(
        &mut self,
        settings: &Settings,
        now: Now,
        (token, is_durable): (u64, bool),
        directory: &mut D,
        output: &mut Output,
    ) {
        let Some(held) = self.held.remove(Id::from_bits(token)) else {
            return;
        };
        if is_durable {
            directory.location(&held.aor, |location, _| {
                for &(id, expires_at_unix_s) in &held.written {
                    location.committed(&held.aor, id, expires_at_unix_s);
                }
            });
            let reason = status::reason(held.status);
            if let Some(server) = held.server {
                self.layer.respond(
                    now.time,
                    server,
                    held.status,
                    reason,
                    &held.headers,
                    &mut output.outbox,
                );
            }
            return;
        }
        self.counted.add("store-away");
        let Some(server) = held.server else { return };
        let mut extra = b"Retry-After: ".to_vec();
        sip::lex::push_number(&mut extra, u64::from(settings.retry_after_s));
        extra.extend_from_slice(b"\r\n");
        self.layer.respond(
            now.time,
            server,
            503,
            status::reason(503),
            &extra,
            &mut output.outbox,
        );
    }
}

impl Edge {
    /// Notes the bindings that changed as they are now.
    pub(crate) fn note_bindings<D: Directory>(
        &mut self,
        directory: &mut D,
        changes: &mut records::Changes,
    ) {
        let noted = &mut self.bindings_noted;
        let mut start = 0;
        for &(end, id) in &noted.entries {
            let aor = &noted.aors[start..end];
            start = end;
            let key = &mut noted.key;
            key.clear();
            record::binding_key(aor, id, key);
            // Keys and values of bindings are shorter than a record may be.
            let _ = directory.location(aor, |location, _| {
                let mut bindings = location.lookup(aor, 0);
                match bindings.find(|binding| binding.id() == id) {
                    Some(binding) => changes.put(BINDING, key, |out| binding.fields().write(out)),
                    None => changes.remove(BINDING, key),
                }
            });
        }
        noted.clear();
    }
}

/// The number of the binding that a change is about.
fn id_of(change: &Change) -> u64 {
    match change {
        Change::Put(row) => row.id,
        Change::Refresh { id, .. } | Change::Delete { id } => *id,
    }
}

/// The number and the end of a binding that a change writes.
fn end_of(change: &Change) -> Option<(u64, u64)> {
    match change {
        Change::Put(row) => Some((row.id, row.expires_at_unix_s)),
        Change::Refresh {
            id,
            expires_at_unix_s,
            ..
        } => Some((*id, *expires_at_unix_s)),
        Change::Delete { .. } => None,
    }
}
