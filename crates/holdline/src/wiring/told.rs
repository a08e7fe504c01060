//! What the driver tells, in the API's words.

use admin::{Binding, Call, CallState, Event};
use driver::{CallRow, Node, Registration};
use proxy::{CallNote, Stage};

use crate::config::Cluster;
use crate::{media, sources};

/// An event.
pub(super) fn told(event: driver::Event, node: &Node, cluster: Option<&Cluster>) -> Event {
    match event {
        driver::Event::Registered { aor, contact } => {
            let bindings = node.registrations_of(&aor);
            let found = bindings
                .into_iter()
                .find(|binding| binding.contact == contact);
            let found = found.map(binding);
            Event::Registered {
                transport: found
                    .as_ref()
                    .map(|b| b.transport.clone())
                    .unwrap_or_default(),
                source: found.as_ref().map(|b| b.source.clone()).unwrap_or_default(),
                expires_s: found.map_or(0, |binding| binding.expires_in_s),
                aor,
                contact,
            }
        }
        driver::Event::Unregistered { aor, contact } => Event::Unregistered { aor, contact },
        driver::Event::Expired { aor, contact } => Event::Expired { aor, contact },
        driver::Event::Banned {
            source,
            offence,
            is_proved,
            duration_s,
        } => sources::banned(source, offence, is_proved, duration_s),
        driver::Event::Cluster { service, what } => Event::ServiceChanged { service, what },
        driver::Event::Overload {
            is_refusing,
            lag_ms,
        } => Event::Overload {
            refusing: is_refusing,
            lag_ms,
        },
        driver::Event::Target {
            target,
            from,
            to,
            reason,
        } => Event::TargetChanged {
            service: cluster.and_then(|one| one.pbx_named(&target)),
            target,
            from: from.to_owned(),
            to: to.to_owned(),
            reason,
        },
        driver::Event::Call {
            call_id,
            from,
            to,
            note,
            talked_ms,
            media,
        } => match note {
            CallNote::Started => Event::CallStarted { call_id, from, to },
            CallNote::Ringing => Event::CallRinging { call_id, from, to },
            CallNote::Moved => Event::CallMoved { call_id, from, to },
            CallNote::Answered => Event::CallAnswered { call_id, from, to },
            CallNote::Failed { status } => Event::CallFailed {
                call_id,
                from,
                to,
                status,
            },
            CallNote::Ended | CallNote::Silent => {
                let duration_ms = talked_ms.unwrap_or_default();
                Event::CallEnded {
                    call_id,
                    from,
                    to,
                    duration_ms,
                    silent: note == CallNote::Silent,
                    media: media.as_deref().map(media::legs).unwrap_or_default(),
                }
            }
        },
    }
}

/// A registration.
pub(super) fn binding(registration: Registration) -> Binding {
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    Binding {
        aor: registration.aor,
        contact: registration.contact,
        expires_in_s: registration.expires_in_s,
        q: f32::from(registration.q) / 1000.0,
        transport: String::from_utf8_lossy(registration.transport.uri_token()).into_owned(),
        source: registration.source.to_string(),
        path: given(registration.path).into_iter().collect(),
        instance: given(registration.instance),
        reg_id: registration.reg_id,
        user_agent: given(registration.user_agent),
    }
}

/// A call.
pub(super) fn call(row: CallRow) -> Call {
    Call {
        call_id: row.call_id,
        from: row.from,
        to: row.to,
        state: match row.stage {
            Stage::Calling => CallState::Calling,
            Stage::Ringing => CallState::Ringing,
            Stage::Answered => CallState::Answered,
        },
        age_s: row.age_ms / 1000,
        answered_s: row.answered_ms.map(|ms| ms / 1000),
        media: row.media.as_ref().map(media::legs).unwrap_or_default(),
    }
}
