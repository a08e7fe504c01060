//! Transfers, and legs that take another's place.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails so")]

mod rig;

use pbx::control::{Action, Cause, DiversionReason, Happening, LegId, Party};
use rig::*;

fn answered(world: &mut World, call_id: &str) -> String {
    world.receive(&invite(call_id, "200", "", &sdp("192.0.2.9", 4000, "8")));
    let ok = world.the("SIP/2.0 200 ");
    world.receive(&within("ACK", call_id, &ok, 1, "", ""));
    ok
}

fn answering(then: impl FnMut(&Happening) -> Vec<Action> + 'static) -> World {
    let mut then = then;
    World::new(move |happening, _| match happening {
        Happening::Incoming(incoming) if incoming.replaces.is_none() => {
            vec![Action::Answer { leg: incoming.leg }]
        }
        happening => then(happening),
    })
}

fn end(world: &mut World, call_id: &str, ok: &str, cseq: u32) {
    world.receive(&within("BYE", call_id, ok, cseq, "", ""));
    world.the("SIP/2.0 200 ");
}

#[test]
fn a_blind_transfer_is_told_how_it_goes() {
    let mut world = answering(|happening| match happening {
        Happening::TransferTo { leg, .. } => {
            vec![
                Action::TransferResult {
                    leg: *leg,
                    status: 180,
                },
                Action::TransferResult {
                    leg: *leg,
                    status: 200,
                },
            ]
        }
        _ => Vec::new(),
    });
    let ok = answered(&mut world, "a");
    world.happenings();
    world.receive(&within(
        "REFER",
        "a",
        &ok,
        2,
        "Refer-To: <sip:300@example.org>\r\nReferred-By: <sip:100@example.org>\r\n",
        "",
    ));
    world.the("SIP/2.0 202 ");
    let told: Vec<String> = world
        .those("NOTIFY ")
        .iter()
        .map(|text| text.to_string())
        .collect();
    let bodies: Vec<&str> = told.iter().map(|text| body(text)).collect();
    assert_eq!(
        bodies,
        [
            "SIP/2.0 100 Trying\r\n",
            "SIP/2.0 180 Ringing\r\n",
            "SIP/2.0 200 OK\r\n"
        ]
    );
    assert_eq!(header(&told[0], "Event"), "refer;id=2");
    assert_eq!(
        header(&told[2], "Subscription-State"),
        "terminated;reason=noresource"
    );
    assert!(
        matches!(&world.happenings()[..], [Happening::TransferTo { target, replaces: None, .. }] if target == "300")
    );
    for notify in told {
        world.receive(&reply(&notify, "200 OK", "", "", ""));
    }
    end(&mut world, "a", &ok, 3);
    world.is_empty_at_the_end();
}

#[test]
fn a_transfer_without_a_subscription_is_not_told() {
    let mut world = answering(|_| Vec::new());
    let ok = answered(&mut world, "a");
    world.receive(&within(
        "REFER",
        "a",
        &ok,
        2,
        "Refer-To: <sip:300@elsewhere.example>\r\nRefer-Sub: false\r\n",
        "",
    ));
    assert_eq!(header(&world.the("SIP/2.0 202 "), "Refer-Sub"), "false");
    assert!(world.those("NOTIFY ").is_empty());
    assert!(world.happenings().iter().any(|happening| matches!(happening, Happening::TransferTo { target, .. } if target == "300@elsewhere.example")));
    end(&mut world, "a", &ok, 3);
    world.is_empty_at_the_end();
}

#[test]
fn an_attended_transfer_names_the_leg_to_be_replaced() {
    let mut world = answering(|_| Vec::new());
    let ok = answered(&mut world, "a");
    let other = answered(&mut world, "b");
    let tag = header(&other, "To")
        .split(";tag=")
        .nth(1)
        .unwrap()
        .to_owned();
    world.happenings();
    let refer =
        format!("Refer-To: <sip:200@example.org?Replaces=b%3Bto-tag%3D{tag}%3Bfrom-tag%3Dann>\r\n");
    world.receive(&within("REFER", "a", &ok, 2, &refer, ""));
    world.the("SIP/2.0 202 ");
    let second = world.pbx.calls()[1].leg;
    assert!(
        matches!(&world.happenings()[..], [Happening::TransferTo { replaces, .. }] if *replaces == Some(second))
    );
    world.receive(&within("REFER", "a", &ok, 3, &refer, ""));
    world.the("SIP/2.0 491 ");
    end(&mut world, "a", &ok, 4);
    end(&mut world, "b", &other, 3);
    world.is_empty_at_the_end();
}

#[test]
fn an_invite_may_take_the_place_of_a_leg() {
    let mut world = answering(|happening| match happening {
        Happening::Incoming(incoming) => {
            let cause = Cause {
                status: 200,
                q850: 16,
                text: "replaced".into(),
            };
            vec![
                Action::Answer { leg: incoming.leg },
                Action::Hangup {
                    leg: incoming.replaces.unwrap(),
                    cause,
                },
            ]
        }
        _ => Vec::new(),
    });
    let ok = answered(&mut world, "a");
    let tag = header(&ok, "To").split(";tag=").nth(1).unwrap().to_owned();
    let replaces = format!("Require: replaces\r\nReplaces: a;to-tag={tag};from-tag=ann\r\n");
    // Not for whom the edge does not vouch, whatever they know.
    let trusted = std::mem::take(&mut world.settings.trusted);
    let body = sdp("192.0.2.10", 4000, "8");
    world.receive(&invite("stranger", "200", &replaces, &body));
    world.the("SIP/2.0 403 ");
    world.settings.trusted = trusted;
    world.receive(&invite(
        "b",
        "200",
        &replaces,
        &sdp("192.0.2.10", 4000, "8"),
    ));
    let bye = world.the("BYE ");
    assert_eq!(header(&bye, "Reason"), "Q.850;cause=16;text=\"replaced\"");
    let other = world.the("SIP/2.0 200 ");
    world.receive(&reply(&bye, "200 OK", "", "", ""));
    world.receive(&within("ACK", "b", &other, 1, "", ""));
    let tag = header(&other, "To")
        .split(";tag=")
        .nth(1)
        .unwrap()
        .to_owned();
    let early = format!("Replaces: b;to-tag={tag};from-tag=ann;early-only\r\n");
    world.receive(&invite("c", "200", &early, &sdp("192.0.2.10", 4000, "8")));
    world.the("SIP/2.0 486 ");
    end(&mut world, "b", &other, 2);
    world.is_empty_at_the_end();
}

#[test]
fn who_calls_and_who_was_called_before_is_told() {
    let mut world = World::new(|happening, ids| match happening {
        Happening::Incoming(incoming) => vec![Action::Dial {
            leg: LegId(ids.issue()),
            for_leg: None,
            target: "300".into(),
            caller: incoming.caller.clone(),
            is_private: incoming.is_private,
            diversions: incoming.diversions.clone(),
            auto_answer: true,
            referral: Default::default(),
        }],
        Happening::Failed { .. } | Happening::Ended { .. } => Vec::new(),
        _ => Vec::new(),
    });
    let extra = "P-Asserted-Identity: \"A \\\"B\\\"\" <sip:+49123@example.org>\r\nPrivacy: id\r\nDiversion: <sip:200@example.org>;reason=no-answer\r\nCall-Info: <sip:x>;answer-after=0\r\n";
    world.receive(&invite("a", "300", extra, &sdp("192.0.2.9", 4000, "8")));
    let happenings = world.happenings();
    let [Happening::Incoming(incoming)] = &happenings[..] else {
        panic!("{happenings:?}")
    };
    let caller = Party {
        user: "+49123".into(),
        host: "example.org".into(),
        display: "A \"B\"".into(),
    };
    assert_eq!(incoming.caller, caller);
    assert!(incoming.is_private && incoming.is_trusted && incoming.auto_answer);
    assert_eq!(incoming.diversions.len(), 1);
    assert_eq!(incoming.diversions[0].1, DiversionReason::NoAnswer);
    let to_phone = world.the("INVITE ");
    assert!(
        header(&to_phone, "From")
            .starts_with("\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=")
    );
    // The edge brings it to the phone as it is.
    assert_eq!(find_header(&to_phone, "P-Asserted-Identity"), None);
    for (name, value) in [
        ("Privacy", "id"),
        ("Diversion", "<sip:200@example.org>;reason=no-answer"),
        (
            "History-Info",
            "<sip:200@example.org?Reason=SIP%3Bcause%3D408>;index=1",
        ),
        ("Call-Info", "<sip:example.org>;answer-after=0"),
    ] {
        assert_eq!(header(&to_phone, name), value);
    }
    assert!(to_phone.contains("History-Info: <sip:300@example.org>;index=1.1\r\n"));
    world.receive(&reply(&to_phone, "404 Not Found", "x", "", ""));
    world.receive(
        &invite("a", "300", "", "")
            .replace("INVITE sip", "CANCEL sip")
            .replace("1 INVITE", "1 CANCEL"),
    );
    world.is_empty_at_the_end();
}

#[test]
fn a_number_without_a_domain_is_no_user_of_ours() {
    let mut world = answering(|_| Vec::new());
    let extra = "P-Asserted-Identity: <tel:100>\r\n";
    world.receive(&invite("a", "300", extra, &sdp("192.0.2.9", 4000, "8")));
    let happenings = world.happenings();
    let [Happening::Incoming(incoming)] = &happenings[..] else {
        panic!("{happenings:?}")
    };
    assert_eq!(incoming.caller.user, "100");
    assert!(!incoming.is_trusted);
    world.receive(
        &invite("a", "300", "", "")
            .replace("INVITE sip", "CANCEL sip")
            .replace("1 INVITE", "1 CANCEL"),
    );
    world.is_empty_at_the_end();
}
