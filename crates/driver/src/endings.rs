//! Ends of calls that wait for the figures of their media.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use relay::{Report, SessionId};

use crate::event::Event;

/// How long the end of a call waits to be told: a relay thread answers within a turn.
pub(crate) const ENDING_WAIT: Duration = Duration::from_millis(500);

/// Most ends that wait on one worker; further ones are told without figures.
const ENDINGS_MAX: usize = 4_096;

/// Ends of calls, oldest first. The answers come in the same order, or nearly.
#[derive(Default)]
pub(crate) struct Endings {
    waiting: VecDeque<(Instant, SessionId, Event)>,
}

impl Endings {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Keeps the end of a call until its figures come; gives it back when there is no room.
    pub(crate) fn keep(&mut self, now: Instant, session: SessionId, event: Event) -> Option<Event> {
        if self.waiting.len() >= ENDINGS_MAX {
            return Some(event);
        }
        self.waiting.push_back((now, session, event));
        None
    }

    /// The end of the call that these are the figures of, with them.
    pub(crate) fn complete(&mut self, session: SessionId, report: Box<Report>) -> Option<Event> {
        let mut waiting = self.waiting.iter();
        let at = waiting.position(|(_, waits_for, _)| *waits_for == session)?;
        let (_, _, mut event) = self.waiting.remove(at)?;
        if let Event::Call { media, .. } = &mut event {
            *media = Some(report);
        }
        Some(event)
    }

    /// An end that has waited for too long, if there is one.
    pub(crate) fn overdue(&mut self, now: Instant) -> Option<Event> {
        let (since, _, _) = self.waiting.front()?;
        if now.saturating_duration_since(*since) < ENDING_WAIT {
            return None;
        }
        self.waiting.pop_front().map(|(_, _, event)| event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end() -> Event {
        Event::Call {
            call_id: "a".to_owned(),
            from: "b".to_owned(),
            to: "c".to_owned(),
            note: proxy::CallNote::Ended,
            talked_ms: Some(1),
            media: None,
        }
    }

    fn report(session: SessionId) -> Box<Report> {
        Box::new(Report {
            session,
            opened: relay::Time::ZERO,
            at: relay::Time::ZERO,
            selected: None,
            legs: Vec::new(),
            legs_left_out: 0,
        })
    }

    #[test]
    fn an_end_is_told_once_with_its_figures_or_after_a_while_without() {
        let (mut endings, now) = (Endings::default(), Instant::now());
        for number in 1..=3 {
            assert_eq!(endings.keep(now, SessionId(number), end()), None);
        }
        let told = endings.complete(SessionId(2), report(SessionId(2)));
        let Some(Event::Call {
            media: Some(media), ..
        }) = told
        else {
            unreachable!("{told:?}");
        };
        assert_eq!(media.session, SessionId(2));
        assert_eq!(endings.complete(SessionId(2), report(SessionId(2))), None);
        assert_eq!(endings.overdue(now), None);
        let later = now + ENDING_WAIT;
        assert_eq!(endings.overdue(later), Some(end()));
        assert_eq!(endings.overdue(later), Some(end()));
        assert!(endings.is_empty());
    }

    #[test]
    fn there_is_an_end_to_those_that_wait() {
        let (mut endings, now) = (Endings::default(), Instant::now());
        for number in 0..ENDINGS_MAX as u64 {
            assert_eq!(endings.keep(now, SessionId(number), end()), None);
        }
        assert_eq!(endings.keep(now, SessionId(9_999), end()), Some(end()));
    }
}
