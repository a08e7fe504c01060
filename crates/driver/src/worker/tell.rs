//! What a worker is told of media, and what it tells of calls and bindings.

use std::time::Instant;

use proxy::CallNote;

use super::{Turn, Worker};
use crate::event::Event;

impl Worker {
    /// Takes what the relay threads tell of this worker's calls.
    pub(super) fn media(&self, events: Vec<relay::Event>, now: Instant, turn: &mut Turn) {
        for event in events {
            let told = match event {
                relay::Event::Closed { session, report } => turn.endings.complete(session, report),
                relay::Event::Silent { session, report } => {
                    self.media_silent(session, report, now, turn)
                }
                relay::Event::Learned {
                    session,
                    stream,
                    side,
                    source,
                } => {
                    turn.edge.media_learned(session, stream, side, source);
                    None
                }
                // The driver has logged it.
                relay::Event::Refused { .. } => None,
            };
            if let Some(event) = told {
                let _ = self.shared.events.send(event);
            }
        }
    }

    /// Ends a call in which nobody is heard any more; gives what is to be told of it.
    fn media_silent(
        &self,
        session: relay::SessionId,
        report: Box<relay::Report>,
        now: Instant,
        turn: &mut Turn,
    ) -> Option<Event> {
        let core_now = self.shared.clock.at(now);
        let before = turn.output.calls.len();
        self.with_core(now, turn, |edge, settings, surface, output| {
            edge.media_silent(settings, core_now, session, surface, output);
        });
        (turn.output.calls.len() > before).then_some(())?;
        let proxy::Event::Call { call, note } = turn.output.calls.pop()?;
        let mut event = Event::of_call(&call, note, core_now.time);
        if let Event::Call { media, .. } = &mut event {
            *media = Some(report);
        }
        Some(event)
    }

    /// Tells those who listen what happened. The end of a call waits for the figures of its media.
    pub(super) fn tell(&self, now: Instant, turn: &mut Turn) {
        let core_now = self.shared.clock.at(now).time;
        self.shared.tell_bans(&mut turn.output.bans, core_now);
        for event in turn.output.bindings.drain(..) {
            if turn.output.is_watched
                && let Some(event) = Event::of_binding(&event)
            {
                // Nobody listening any more is no error.
                let _ = self.shared.events.send(event);
            }
        }
        for proxy::Event::Call { call, note } in turn.output.calls.drain(..) {
            let event = Event::of_call(&call, note, core_now);
            let told = match call.media.filter(|_| note == CallNote::Ended) {
                Some(anchored) => turn.endings.keep(now, anchored.session, event),
                None => Some(event),
            };
            if let Some(event) = told {
                let _ = self.shared.events.send(event);
            }
        }
        while let Some(event) = turn.endings.overdue(now) {
            let _ = self.shared.events.send(event);
        }
    }
}
