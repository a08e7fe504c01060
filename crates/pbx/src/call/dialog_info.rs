//! What is told of somebody's calls: dialog-info documents (RFC 4235 section 4).

use crate::call::identity;
use crate::control::{DialogState, Party, WatchedDialog};
use crate::settings::Settings;

/// Most calls that a document names.
const DIALOGS_MAX: usize = 16;

/// A document of all calls of `user`, to somebody who is one of our users or not. Tags and Call-IDs are not in it: who knows them could take the call over (RFC 3891 section 8).
pub(crate) fn write(
    (user, is_known): (&str, bool),
    dialogs: &[WatchedDialog],
    version: u32,
    settings: &Settings,
) -> Vec<u8> {
    let watched = Party {
        user: user.to_owned(),
        ..Party::default()
    };
    let entity = uri_of(&watched, settings);
    let mut out = format!(
        "<?xml version=\"1.0\"?>\r\n<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"{version}\" state=\"full\" \
         entity=\"{entity}\">\r\n"
    );
    for dialog in dialogs.iter().take(DIALOGS_MAX) {
        let direction = match dialog.is_initiator {
            true => "initiator",
            false => "recipient",
        };
        let (id, state) = (dialog.leg.0, word_of(dialog.state));
        out += &format!(
            "<dialog id=\"{id:x}\" direction=\"{direction}\">\r\n<state>{state}</state>\r\n"
        );
        if dialog.state != DialogState::Terminated {
            out += &format!(
                "<local><identity>{entity}</identity><target uri=\"{entity}\"/></local>\r\n"
            );
            if let Some(remote) = dialog.remote.as_ref().filter(|_| is_known) {
                push_remote(remote, settings, &mut out);
            }
        }
        out += "</dialog>\r\n";
    }
    out += "</dialog-info>\r\n";
    out.into_bytes()
}

/// Section 3.7.1.
const fn word_of(state: DialogState) -> &'static str {
    match state {
        DialogState::Trying => "trying",
        DialogState::Proceeding => "proceeding",
        DialogState::Early => "early",
        DialogState::Confirmed => "confirmed",
        DialogState::Terminated => "terminated",
    }
}

/// Section 4.1.6: who the other says it is, and where it is reached.
fn push_remote(remote: &Party, settings: &Settings, out: &mut String) {
    let uri = uri_of(remote, settings);
    let display = match remote.display.is_empty() {
        true => String::new(),
        false => format!(" display=\"{}\"", escaped(&remote.display)),
    };
    *out +=
        &format!("<remote><identity{display}>{uri}</identity><target uri=\"{uri}\"/></remote>\r\n");
}

fn uri_of(party: &Party, settings: &Settings) -> String {
    let mut uri = Vec::new();
    identity::write_uri(party, settings, &mut uri);
    escaped(&String::from_utf8_lossy(&uri))
}

/// Text as XML has it; what XML has no place for is left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\u{fffe}' | '\u{ffff}' => {}
            one if one.is_control() => {}
            one => out.push(one),
        }
    }
    out
}
