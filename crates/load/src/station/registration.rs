//! Registrations (RFC 3261 section 10).

use sip::{CSeq, HeaderName, Message, Method, NameAddr, lex};
use transaction::TimerName;

use super::{CHALLENGES_MAX, Due, Event, Now, Station, Timer};
use crate::name::{Kind, Name};
use crate::tally::Reason;
use crate::write::Request;

/// When a refresh that failed is tried again, in seconds, if the registrar does not say it, and the latest if it does.
const AGAIN_S: u32 = 5;
const AGAIN_S_MAX: u32 = 120;

#[derive(Debug, Default)]
pub(super) struct Registration {
    /// A REGISTER is under way.
    is_pending: bool,
    /// The first was answered, or has failed.
    is_known: bool,
    is_registered: bool,
    step: u32,
    attempt: u32,
    cseq: u32,
    began_us: u64,
    challenges: u8,
    request: Vec<u8>,
}

impl Registration {
    pub(super) fn is_idle(&self) -> bool {
        !self.is_pending
    }
}

impl Station {
    /// The next user registers.
    pub(super) fn register_next(&mut self, now: Now) {
        let users = self.registrations.len() as u64;
        if users > 0 {
            let index = (self.next_user % users) as u32;
            self.next_user += 1;
            self.register(now, index);
        }
    }

    fn register(&mut self, now: Now, index: u32) {
        let registration = &mut self.registrations[index as usize];
        if registration.is_pending {
            self.tally.registrations.skipped += 1;
            return;
        }
        registration.is_pending = true;
        registration.began_us = now.us;
        registration.challenges = 0;
        self.tally.registrations.attempted += 1;
        self.tally.registrations.refreshes += u64::from(registration.is_registered);
        self.line.clear();
        self.send_register(now, index);
    }

    /// The Request-URI and what digests are made of, in `self.text`.
    fn write_uri(&mut self) {
        self.text.clear();
        self.text.extend_from_slice(b"sip:");
        self.text.extend_from_slice(self.settings.domain.as_bytes());
    }

    /// Which of all users the registration is of.
    fn user_of(&self, index: u32) -> usize {
        self.thread + index as usize * self.settings.threads.max(1)
    }

    /// Sends a REGISTER with the lines in `self.line`.
    fn send_register(&mut self, now: Now, index: u32) {
        let settings = self.settings.clone();
        let expires_s = settings
            .registering
            .map_or(0, |registering| registering.expires_s);
        let Some(user) = settings.users.get(self.user_of(index)) else {
            return;
        };
        let flow = self.flow_of(u64::from(index));
        self.line.extend_from_slice(b"Expires: ");
        lex::push_number(&mut self.line, u64::from(expires_s));
        self.line.extend_from_slice(b"\r\n");
        let name = Name {
            kind: Kind::Registration,
            run: self.run,
            index,
            generation: 0,
        };
        self.write_uri();
        self.body.clear();
        for part in ["<sip:", &user.name, "@", &settings.domain, ">"] {
            self.body.extend_from_slice(part.as_bytes());
        }
        let mut registration = std::mem::take(&mut self.registrations[index as usize]);
        registration.cseq += 1;
        registration.step = registration.step.wrapping_add(1);
        registration.attempt = 0;
        registration.request.clear();
        let request = Request {
            method: "REGISTER",
            uri: &self.text,
            flow: &flow,
            name,
            cseq: registration.cseq,
            user: &user.name,
            domain: &settings.domain,
            to: &self.body,
            lines: &self.line,
            has_contact: true,
            body: &[],
        };
        request.push(&mut registration.request);
        self.send(flow, &registration.request, false);
        let timer = Timer {
            kind: Kind::Registration,
            index,
            step: registration.step,
            due: Due::GiveUp,
        };
        self.registrations[index as usize] = registration;
        self.set_again(now, timer, TimerName::E, 0, flow);
        self.set(now, timer, self.give_up_ms());
    }

    pub(super) fn registration_response(
        &mut self,
        now: Now,
        name: Name,
        cseq: CSeq<'_>,
        message: &Message<'_>,
    ) {
        let status = message.status();
        let Some(registration) = self.registrations.get_mut(name.index as usize) else {
            self.tally.messages.unexpected += 1;
            return;
        };
        if cseq.method != Method::Register
            || cseq.number != registration.cseq
            || !registration.is_pending
        {
            self.tally.messages.late += 1;
            return;
        }
        if status < 200 {
            return;
        }
        if matches!(status, 401 | 407) && registration.challenges < CHALLENGES_MAX {
            registration.challenges += 1;
            self.write_uri();
            let (user, uri) = (self.user_of(name.index), std::mem::take(&mut self.text));
            let is_answered = self.answer_challenge(user, "REGISTER", &uri, message);
            self.text = uri;
            if is_answered {
                return self.send_register(now, name.index);
            }
        }
        let after_s = match status {
            200..300 => granted_s(message),
            _ => message
                .number(HeaderName::RetryAfter, AGAIN_S_MAX)
                .ok()
                .flatten(),
        };
        self.end_registration(now, name.index, status, after_s);
    }

    /// A registration is over. `after_s` is how long it holds, or, of one that failed, when it may be tried again, if that was said.
    fn end_registration(&mut self, now: Now, index: u32, status: u16, after_s: Option<u32>) {
        let registration = &mut self.registrations[index as usize];
        registration.is_pending = false;
        registration.step = registration.step.wrapping_add(1);
        if !std::mem::replace(&mut registration.is_known, true) {
            self.unregistered -= 1;
        }
        let was_registered = registration.is_registered;
        registration.is_registered = (200..300).contains(&status);
        let timer = Timer {
            kind: Kind::Registration,
            index,
            step: registration.step,
            due: Due::Act,
        };
        let is_cycling = self
            .settings
            .registering
            .is_some_and(|registering| registering.is_cycling);
        self.tell(|| Event::Registered { status });
        if !(200..300).contains(&status) {
            let reason = match status {
                0 => Reason::RegisterTimeout,
                status => Reason::Status(status),
            };
            self.tally.registration_failures.add(reason);
            let passes = was_registered && (status == 0 || status == 408 || status >= 500);
            if passes && !is_cycling {
                // What a phone does that had service: the failure counts, and it goes on.
                self.registrations[index as usize].is_registered = true;
                self.set(now, timer, u64::from(after_s.unwrap_or(AGAIN_S)) * 1_000);
            }
            return;
        }
        let began_us = self.registrations[index as usize].began_us;
        self.tally.registrations.succeeded += 1;
        self.tally.register.add(now.us.saturating_sub(began_us));
        if let Some(registering) = self.settings.registering
            && !is_cycling
        {
            let expires_s = after_s
                .unwrap_or(registering.expires_s)
                .min(registering.expires_s);
            // In good time: a fifth of it is left.
            self.set(now, timer, u64::from(expires_s) * 800);
        }
    }

    pub(super) fn registration_due(&mut self, now: Now, timer: Timer) {
        let registration = &mut self.registrations[timer.index as usize];
        if registration.step != timer.step {
            return;
        }
        match timer.due {
            Due::Again => {
                registration.attempt += 1;
                let attempt = registration.attempt;
                let request = std::mem::take(&mut registration.request);
                let flow = self.flow_of(u64::from(timer.index));
                self.send(flow, &request, true);
                self.registrations[timer.index as usize].request = request;
                self.set_again(now, timer, TimerName::E, attempt, flow);
            }
            Due::GiveUp => self.end_registration(now, timer.index, 0, None),
            Due::Act if self.is_ending => {}
            Due::Act => self.register(now, timer.index),
        }
    }
}

/// How long a 2xx lets the binding be, in seconds (section 10.3 step 8).
fn granted_s(message: &Message<'_>) -> Option<u32> {
    let contact = message.values(HeaderName::Contact).next();
    let contact = contact.and_then(|value| NameAddr::parse(value.bytes));
    let of_contact =
        contact.and_then(|contact| lex::number(contact.params.value(b"expires")?, u32::MAX));
    of_contact.or_else(|| message.number(HeaderName::Expires, u32::MAX).ok().flatten())
}
