//! Subscriptions to extensions and mailboxes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails so")]

mod rig;

use pbx::control::{Action, Answer, ExtensionState, Happening, Publish, QuestionId};
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

#[test]
fn an_extension_is_watched_with_full_state_and_versions() {
    let mut world = world();
    world.receive(&subscribe("a", "dialog;id=7", 600));
    let ok = world.the("SIP/2.0 200 ");
    assert_eq!(header(&ok, "Expires"), "600");
    let first = answer_notify(&mut world);
    assert_eq!(header(&first, "Event"), "dialog;id=7");
    assert!(body(&first).contains("version=\"0\" state=\"full\" entity=\"sip:200@example.org\""));
    let state = |state| Publish::Extension {
        user: "200".into(),
        state,
    };
    publish(&mut world, state(ExtensionState::Ringing));
    let second = world.the("NOTIFY ");
    assert!(
        body(&second).contains("version=\"1\"") && body(&second).contains("<state>early</state>")
    );
    // What changes meanwhile is told when the phone has answered.
    publish(&mut world, state(ExtensionState::Busy));
    assert!(world.sent.is_empty());
    world.receive(&reply(&second, "200 OK", "", "", ""));
    assert!(body(&answer_notify(&mut world)).contains("<state>confirmed</state>"));
    publish(&mut world, state(ExtensionState::Busy));
    assert!(world.sent.is_empty());
    publish(&mut world, state(ExtensionState::Idle));
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
