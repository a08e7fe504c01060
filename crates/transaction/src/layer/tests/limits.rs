//! Bounds: of transactions, of timers, of allocations.

use allocation_counter::measure;

use super::*;

#[test]
fn a_layer_is_full_at_its_limit_of_either_kind() {
    let mut rig = Rig::with_room_for(2);
    rig.begin_client("BYE", UDP, 1);
    rig.begin_server(&request("BYE", "z9hG4bK1"), UDP, 1);
    assert!(!rig.layer.is_full());
    rig.begin_client("BYE", UDP, 2);
    assert!(rig.layer.is_full());
    rig.pass(40_000);
    assert!(!rig.layer.is_full());
    let second = rig.begin_server(&request("BYE", "z9hG4bK2"), UDP, 2);
    assert!(rig.layer.is_full());
    assert_eq!(rig.layer.len(), (2, 0));
    rig.respond(second, 200);
    let Request::Retransmission = rig.receive(&request("BYE", "z9hG4bK1")) else {
        unreachable!("the first is still there");
    };
    let mut servers = rig.layer.servers.iter().map(|(id, _)| id);
    let first = servers.next().expect("the first");
    drop(servers);
    rig.respond(first, 200);
    rig.assert_empty();
}

/// A call that rings for a second and is refused, over UDP: timers A and C leave stale entries.
fn refused_call(rig: &mut Rig) {
    let (client, _) = rig.begin_client("INVITE", UDP, 1);
    rig.answer(client, 180, "INVITE");
    rig.pass(1_000);
    rig.answer(client, 486, "INVITE");
    rig.sent();
}

#[test]
fn entries_of_ended_transactions_leave_the_wheel() {
    let mut rig = Rig::with_room_for(256);
    let mut most = 0;
    for _ in 0..500 {
        refused_call(&mut rig);
        most = most.max(rig.layer.wheel.len());
        assert!(!rig.layer.is_full());
    }
    // About 33 transactions of 32 s at a time, each with a stale entry or two.
    assert!(most < 33 * 3, "{most}");
    rig.assert_empty();
}

#[test]
fn a_wheel_full_of_stale_entries_refuses_transactions_and_loses_no_timer() {
    let mut rig = Rig::with_room_for(4);
    let mut count = 0;
    // Over TCP a transaction that is answered is gone, its timer's entry is not.
    while !rig.layer.is_full() {
        let (client, _) = rig.begin_client("BYE", TCP, 1);
        rig.answer(client, 200, "BYE");
        count += 1;
    }
    assert_eq!(count, 32);
    let (last, _) = rig.begin_client("INVITE", UDP, 7);
    let (_, fired) = rig.pass(40_000);
    assert!(times(&fired).contains(&Fired::ClientTimeout {
        client: last,
        user: 7
    }));
    assert!(!rig.layer.is_full());
    rig.assert_empty();
}

/// A proxied call and its end, as one thread of a proxy would see them; texts made beforehand.
struct Call {
    invite: String,
    bye: String,
    ringing: String,
    ok: String,
    ok_bye: String,
}

impl Call {
    fn make(number: usize) -> Call {
        Call {
            invite: request("INVITE", &format!("z9hG4bKi{number}")),
            bye: request("BYE", &format!("z9hG4bKb{number}")),
            ringing: response(180, "INVITE"),
            ok: response(200, "INVITE"),
            ok_bye: response(200, "BYE"),
        }
    }

    fn leg(&self, rig: &mut Rig, index: &mut Index, is_invite: bool, splices: &Splices) {
        let text = if is_invite { &self.invite } else { &self.bye };
        let message = parse(index, text);
        let via = message.via().expect("the test's own message");
        let (now, outbox) = (rig.now, &mut rig.outbox);
        let Request::New(key) = rig.layer.receive_request(now, &message, &via, outbox) else {
            unreachable!("the test's request is new");
        };
        let server = rig.layer.begin_server(key, &message, splices, flow(UDP), 1);
        let branch = rig.layer.new_branch();
        let client =
            rig.layer
                .begin_client(now, is_invite, (branch, 2), flow(UDP), outbox, |out| {
                    out.extend_from_slice(text.as_bytes());
                });
        if is_invite {
            rig.layer.respond(now, server, 100, "Trying", b"", outbox);
        }
        let answers: &[(u16, &String)] = if is_invite {
            &[(180, &self.ringing), (200, &self.ok)]
        } else {
            &[(200, &self.ok_bye)]
        };
        for &(status, text) in answers {
            let message = parse(index, text);
            assert!(rig.layer.receive_response(now, client, &message, outbox));
            rig.layer.respond_with(now, server, status, outbox, |out| {
                out.extend_from_slice(text.as_bytes());
            });
        }
    }

    fn run(&self, rig: &mut Rig, index: &mut Index) {
        let splices = Splices::new();
        self.leg(rig, index, true, &splices);
        self.leg(rig, index, false, &splices);
        rig.now = rig.now.plus_ms(100);
        while rig.layer.poll(rig.now, &mut rig.outbox).is_some() {}
        rig.outbox.clear();
    }
}

#[test]
fn a_transaction_allocates_nothing_after_warm_up() {
    let calls: Vec<Call> = (0..4_000).map(Call::make).collect();
    let mut rig = Rig::with_room_for(2_000);
    let mut index = Index::new();
    for call in &calls[..2_000] {
        call.run(&mut rig, &mut index);
    }
    let info = measure(|| {
        for call in &calls[2_000..] {
            call.run(&mut rig, &mut index);
        }
    });
    assert_eq!(info.count_total, 0);
    rig.assert_empty();
}
