//! What a steady load allocates, as a counting allocator sees it.

use allocation_counter::measure;

use super::*;

/// Until the timers of the first calls have run out, and all tables are as large as they become.
const WARM_UP_MS: u64 = 80_000;
const MEASURED_MS: u64 = 10_000;

/// Lets two stations talk, each message a copy that is made outside of what is measured. Gives what they allocated.
fn passes(scene: &mut Scene, ms: u64) -> u64 {
    let mut allocated = 0;
    let end_us = scene.now_us + ms * 1_000;
    while scene.now_us < end_us {
        scene.now_us += 2_000;
        let now = Now { us: scene.now_us };
        for from in 0..2 {
            let station = &mut scene.stations[from];
            allocated += measure(|| {
                station.poll(now);
                let _ = station.next_us(now);
            })
            .count_total;
            scene.gather(from);
        }
        while let Some((to, flow, bytes)) = scene.wire.pop_front() {
            let station = &mut scene.stations[to];
            allocated += measure(|| station.receive(now, flow, &bytes)).count_total;
            scene.gather(to);
        }
    }
    allocated
}

#[test]
fn calls_of_every_kind_allocate_nothing_once_tables_are_as_large_as_they_become() {
    let calling = Calling {
        per_s: 50.0,
        total: None,
        cancel_per_mille: 200,
        cancel_after_ms: 50,
        reinvite_per_mille: 500,
        reinvite_after_ms: 100,
        duration_ms: 300,
        to: Some("sip:user{n:5}@127.0.0.1:5080".to_owned()),
        ..calling()
    };
    let answering = Answering {
        ring_ms: 60,
        status: 486,
        refuse_per_mille: 100,
        hang_up_per_mille: 300,
        hang_up_after_ms: 200,
        ..Answering::default()
    };
    let (mut caller, mut callee) = (settings(), settings());
    (caller.is_told, callee.is_told) = (false, false);
    (caller.answering, callee.answering) = (answering, answering);
    caller.calling = Some(calling);
    let mut scene = Scene::new(caller, callee);
    passes(&mut scene, WARM_UP_MS);
    let before = scene.stations[0].tally.calls.completed;
    assert_eq!(passes(&mut scene, MEASURED_MS), 0);
    let calls = &scene.stations[0].tally.calls;
    assert!(calls.completed - before > 300, "{}", calls.completed);
    assert!(calls.cancelled > 0 && calls.reinvited > 0 && calls.ended_by_peer > 0);
    scene.stations[0].stop();
    scene.pass(2_000);
    assert!(scene.is_empty());
}

#[test]
fn challenged_registrations_allocate_nothing_once_every_user_has_done_it() {
    let mut register = settings();
    register.is_told = false;
    register.registering = Some(Registering {
        per_s: 50.0,
        expires_s: 60,
        is_cycling: true,
    });
    let mut scene = Scene::new(register, settings());
    let station = &mut scene.stations[0];
    let challenge =
        "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\", algorithm=SHA-256\r\n";
    let mut allocated = 0;
    for round in 0..4_000 {
        let now = Now { us: round * 20_000 };
        let count = measure(|| station.poll(now)).count_total;
        let texts = ["401 Unauthorized", "200 OK"].map(|status| {
            let more = if status.starts_with('4') {
                challenge
            } else {
                ""
            };
            let text = response(station, status, more);
            let flow = Flow {
                transport: Transport::Udp,
                remote: at(CALLEE),
                local: at(CALLER),
            };
            let received = measure(|| station.receive(now, flow, text.as_bytes()));
            received.count_total
        });
        if round > 2_000 {
            allocated += count + texts.iter().sum::<u64>();
        }
    }
    assert_eq!(allocated, 0);
    assert_eq!(station.tally.registrations.succeeded, 4_000);
    station.stop();
    assert!(scene.is_empty());
}
