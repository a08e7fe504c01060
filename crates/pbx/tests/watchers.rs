//! Subscriptions to extensions and mailboxes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails so")]

mod rig;

use pbx::control::{
    Action, Answer, DialogState, Happening, LegId, Party, Publish, QuestionId, WatchedDialog,
};
use rig::*;

fn subscribe(call_id: &str, event: &str, expires: u32) -> String {
    invite(
        call_id,
        "200",
        &format!("Event: {event}\r\nExpires: {expires}\r\n"),
        "",
    )
    .replace("INVITE", "SUBSCRIBE")
}

thread_local! {
    static NEXT: std::cell::RefCell<Vec<Action>> = const { std::cell::RefCell::new(Vec::new()) };
}

fn world() -> World {
    World::new(|_, _| NEXT.with(|next| std::mem::take(&mut *next.borrow_mut())))
}

fn publish(world: &mut World, publish: Publish) {
    NEXT.with(|next| next.borrow_mut().push(Action::Publish(publish)));
    world.turn(|pbx, turn| pbx.told(turn, QuestionId(0), Answer::Done));
}

fn answer_notify(world: &mut World) -> String {
    let notify = world.the("NOTIFY ");
    world.receive(&reply(&notify, "200 OK", "", "", ""));
    notify
}

fn dialog(leg: u64, is_initiator: bool, state: DialogState, remote: Option<&str>) -> WatchedDialog {
    WatchedDialog {
        leg: LegId(leg),
        is_initiator,
        state,
        remote: remote.map(|user| {
            std::sync::Arc::new(Party {
                user: user.into(),
                host: String::new(),
                display: "A & <B>".into(),
            })
        }),
    }
}

fn extension(dialogs: &[WatchedDialog]) -> Publish {
    Publish::Extension {
        user: "200".into(),
        dialogs: dialogs.to_vec(),
    }
}

#[test]
fn strangers_see_that_somebody_talks_and_not_with_whom() {
    let mut world = world();
    world.receive(&subscribe("a", "dialog", 600).replace(
        "From: \"Ann\" <sip:100@example.org>",
        "From: <sip:x@elsewhere.example>",
    ));
    answer_notify(&mut world);
    publish(
        &mut world,
        extension(&[dialog(7, false, DialogState::Early, Some("0171"))]),
    );
    let notify = answer_notify(&mut world);
    assert!(body(&notify).contains("<state>early</state>"));
    assert!(!notify.contains("0171"));
    world.is_empty_in_time();
}

#[test]
fn an_extension_is_watched_with_full_state_and_versions() {
    let mut world = world();
    world.receive(&subscribe("a", "dialog;id=7", 600));
    let ok = world.the("SIP/2.0 200 ");
    assert_eq!(header(&ok, "Expires"), "600");
    let first = answer_notify(&mut world);
    assert_eq!(header(&first, "Event"), "dialog;id=7");
    assert!(body(&first).contains("version=\"0\" state=\"full\" entity=\"sip:200@example.org\""));
    let state = |state| extension(&[dialog(7, false, state, Some("0171"))]);
    publish(&mut world, state(DialogState::Early));
    let second = world.the("NOTIFY ");
    assert_eq!(
        body(&second),
        "<?xml version=\"1.0\"?>\r\n\
         <dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"1\" state=\"full\" entity=\"sip:200@example.org\">\r\n\
         <dialog id=\"7\" direction=\"recipient\">\r\n\
         <state>early</state>\r\n\
         <local><identity>sip:200@example.org</identity><target uri=\"sip:200@example.org\"/></local>\r\n\
         <remote><identity display=\"A &amp; &lt;B&gt;\">sip:0171@example.org</identity><target uri=\"sip:0171@example.org\"/></remote>\r\n\
         </dialog>\r\n\
         </dialog-info>\r\n"
    );
    // What changes meanwhile is told when the phone has answered.
    publish(&mut world, state(DialogState::Confirmed));
    assert!(world.sent.is_empty());
    world.receive(&reply(&second, "200 OK", "", "", ""));
    assert!(body(&answer_notify(&mut world)).contains("<state>confirmed</state>"));
    publish(&mut world, state(DialogState::Confirmed));
    assert!(world.sent.is_empty());
    // The end of a call is told once; then there is none.
    publish(&mut world, state(DialogState::Terminated));
    assert!(body(&answer_notify(&mut world)).contains("<state>terminated</state>"));
    publish(
        &mut world,
        extension(&[dialog(8, true, DialogState::Proceeding, None)]),
    );
    let private = answer_notify(&mut world);
    assert!(body(&private).contains("<dialog id=\"8\" direction=\"initiator\">"));
    assert!(!body(&private).contains("<remote>") && !body(&private).contains("id=\"7\""));
    publish(&mut world, extension(&[]));
    answer_notify(&mut world);
    world.receive(&within(
        "SUBSCRIBE",
        "a",
        &ok,
        2,
        "Event: dialog;id=7\r\nExpires: 0\r\n",
        "",
    ));
    let last = answer_notify(&mut world);
    assert_eq!(
        header(&last, "Subscription-State"),
        "terminated;reason=timeout"
    );
    world.is_empty_at_the_end();
}

#[test]
fn a_mailbox_is_watched_and_forgotten_in_time() {
    let mut world = world();
    world.receive(&subscribe("a", "message-summary", 60));
    let first = answer_notify(&mut world);
    assert!(body(&first).starts_with("Messages-Waiting: no\r\n"));
    // What is in the mailbox is asked for, since it may be from before a start.
    let mailbox = "200".to_owned();
    assert_eq!(world.happenings(), [Happening::Watched { mailbox }]);
    publish(
        &mut world,
        Publish::Mailbox {
            mailbox: "200".into(),
            new: 2,
            old: 1,
        },
    );
    let second = answer_notify(&mut world);
    assert!(
        body(&second).contains("Messages-Waiting: yes\r\n")
            && body(&second).contains("Voice-Message: 2/1 (0/0)\r\n")
    );
    publish(
        &mut world,
        Publish::Mailbox {
            mailbox: "200".into(),
            new: 0,
            old: 0,
        },
    );
    answer_notify(&mut world);
    world.pass(61_000);
    let last = world.those("NOTIFY ")[0].to_owned();
    assert_eq!(
        header(&last, "Subscription-State"),
        "terminated;reason=timeout"
    );
    world.is_empty_at_the_end();
}

#[test]
fn a_subscription_too_brief_too_many_or_for_another_thing_is_refused() {
    let mut world = world();
    world.settings.subscriptions_max = 1;
    world.receive(&subscribe("a", "dialog", 5));
    assert_eq!(header(&world.the("SIP/2.0 423 "), "Min-Expires"), "60");
    world.receive(&subscribe("b", "presence", 600));
    assert_eq!(
        header(&world.the("SIP/2.0 489 "), "Allow-Events"),
        "dialog, message-summary"
    );
    world.receive(&subscribe("c", "dialog", 600));
    let notify = world.the("NOTIFY ");
    world.receive(&subscribe("d", "dialog", 600));
    world.the("SIP/2.0 503 ");
    // A watcher that knows nothing of it any more.
    world.receive(&reply(&notify, "481 Gone", "", "", ""));
    world.is_empty_at_the_end();
}

#[test]
fn who_did_not_come_through_the_edge_watches_nothing() {
    let mut world = world();
    let trusted = std::mem::take(&mut world.settings.trusted);
    for event in ["dialog", "message-summary"] {
        world.receive(&subscribe(event, event, 600));
        world.the("SIP/2.0 403 ");
        assert!(world.those("NOTIFY ").is_empty());
    }
    world.settings.trusted = trusted;
    world.is_empty_at_the_end();
}

#[test]
fn a_watcher_that_requires_lists_is_told_that_there_are_none() {
    let mut world = world();
    let requires = |text: String| text.replace("Event: ", "Require: eventlist\r\nEvent: ");
    world.receive(&requires(subscribe("a", "dialog", 600)));
    assert_eq!(
        header(&world.the("SIP/2.0 420 "), "Unsupported"),
        "eventlist"
    );
    world.receive(&subscribe("b", "dialog", 600));
    let ok = world.the("SIP/2.0 200 ");
    answer_notify(&mut world);
    let again = within("SUBSCRIBE", "b", &ok, 2, "Event: dialog\r\n", "");
    world.receive(&requires(again));
    assert_eq!(
        header(&world.the("SIP/2.0 420 "), "Unsupported"),
        "eventlist"
    );
    assert!(world.those("NOTIFY ").is_empty());
    // That it could take lists asks for nothing (RFC 4662 section 4.1).
    let able = within(
        "SUBSCRIBE",
        "b",
        &ok,
        3,
        "Supported: eventlist\r\nEvent: dialog\r\n",
        "",
    );
    world.receive(&able);
    world.the("SIP/2.0 200 ");
    answer_notify(&mut world);
    world.is_empty_in_time();
}

#[test]
fn another_node_goes_on_with_the_counts_that_were_told() {
    let mut world = world();
    world.receive(&subscribe("a", "message-summary", 600));
    let ok = world.the("SIP/2.0 200 ");
    answer_notify(&mut world);
    let (new, old) = (2, 1);
    let mailbox = "200".to_owned();
    publish(&mut world, Publish::Mailbox { mailbox, new, old });
    answer_notify(&mut world);
    let mut after = World::with(world.settings.clone(), 2, |_, _| Vec::new());
    for ((kind, key), value) in &world.records {
        after.pbx.restore(records::Op {
            kind: *kind,
            key,
            value: Some(value),
        });
    }
    after.records = world.records.clone();
    after.turn(|pbx, turn| pbx.take_office(turn, 2));
    let again = within(
        "SUBSCRIBE",
        "a",
        &ok,
        2,
        "Event: message-summary\r\nExpires: 600\r\n",
        "",
    );
    after.receive(&again);
    assert!(body(&answer_notify(&mut after)).contains("Voice-Message: 2/1 (0/0)\r\n"));
    after.is_empty_in_time();
}
