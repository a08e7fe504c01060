//! What calls allocate, as a counting allocator sees it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails so")]

mod rig;

use std::sync::Arc;

use allocation_counter::measure;
use pbx::app::Switchboard;
use pbx::plan::{Plan, Source};
use pbx::{Now, Output, Pbx, Settings, Turn};
use rig::*;
use transaction::Time;

const PLAN: &str = r#"
[[pbx.extension]]
number = "100"

[[pbx.extension]]
number = "200"

[[pbx.menu]]
name = "main"
prompt = "welcome"
keys = { 1 = "menu main", 22 = "menu main" }

[[pbx.route]]
pattern = "800"
steps = ["menu main"]
"#;

/// Most allocations of a call from its INVITE to the last answer, both legs, records and what is told of it.
const CALL_MAX: u64 = 220;

/// Most of a key in a menu that asks again.
const KEY_MAX: u64 = 16;

/// A PBX that is driven as a thread drives it: one output, used again and again.
struct Bare {
    pbx: Pbx<Switchboard>,
    settings: Settings,
    output: Output,
    around: Around,
    now_ms: u64,
}

impl Bare {
    fn new() -> Bare {
        let source = Source {
            name: "test",
            text: PLAN,
            is_shared: false,
        };
        let plan = Plan::build(&[source], &|_| true).unwrap();
        let settings = Settings::new("example.org", flow());
        let now = Now {
            time: Time::from_ms(1_000),
            unix_ms: 1_700_000_000_000,
        };
        let board = Switchboard::new(Arc::new(plan));
        Bare {
            pbx: Pbx::new(now, (1, 2), 1, &settings, board),
            settings,
            output: Output::default(),
            around: Around::default(),
            now_ms: 1_000,
        }
    }

    fn turn(&mut self, then: impl FnOnce(&mut Pbx<Switchboard>, &mut Turn<'_>)) {
        self.output.clear();
        let mut turn = Turn {
            settings: &self.settings,
            now: Now {
                time: Time::from_ms(self.now_ms),
                unix_ms: 1_700_000_000_000 + self.now_ms,
            },
            around: &mut self.around,
            output: &mut self.output,
        };
        then(&mut self.pbx, &mut turn);
    }

    fn receive(&mut self, text: &str) {
        self.turn(|pbx, turn| pbx.receive(turn, text.as_bytes(), flow()));
    }

    fn sent(&self) -> Vec<String> {
        let sent = self.output.outbox.iter();
        sent.map(|(bytes, _)| String::from_utf8_lossy(bytes).into_owned())
            .collect()
    }

    fn the(&self, begins: &str) -> String {
        let sent = self.sent();
        sent.into_iter()
            .find(|text| text.starts_with(begins))
            .unwrap()
    }

    /// A call of 100 to 200, answered.
    fn call(&mut self, call_id: &str) -> String {
        self.receive(&invite(
            call_id,
            "200",
            "",
            &sdp("192.0.2.9", 4000, "8 101"),
        ));
        let to_phone = self.the("INVITE ");
        let answer = sdp("192.0.2.20", 5000, "8 101");
        self.receive(&reply(&to_phone, "180 Ringing", "bob", "", ""));
        self.receive(&reply(&to_phone, "200 OK", "bob", "", &answer));
        let ok = self.the("SIP/2.0 200 ");
        self.receive(&within("ACK", call_id, &ok, 1, "", ""));
        ok
    }
}

/// Allocations of the messages, all in; their texts are made before.
fn counted(bare: &mut Bare, texts: &[String]) -> u64 {
    let info = measure(|| {
        for text in texts {
            bare.turn(|pbx, turn| pbx.receive(turn, text.as_bytes(), flow()));
        }
    });
    info.count_total
}

#[test]
fn messages_within_a_dialog_allocate_little() {
    let mut bare = Bare::new();
    let ok = bare.call("a");
    // Of each a copy of the answer is kept for its transaction.
    for (method, extra, most) in [
        ("OPTIONS", "", 3),
        ("INFO", "", 2),
        ("UPDATE", "Supported: timer\r\nSession-Expires: 1800\r\n", 4),
    ] {
        let texts = |from: u32| -> Vec<String> {
            let numbers = from..from + 100;
            numbers
                .map(|cseq| within(method, "a", &ok, cseq, extra, ""))
                .collect()
        };
        let first = match method {
            "OPTIONS" => 100,
            "INFO" => 1_000,
            _ => 2_000,
        };
        counted(&mut bare, &texts(first));
        let count = counted(&mut bare, &texts(first + 100));
        assert!(count <= 100 * most, "{method}: {count} in 100 messages");
        bare.now_ms += 40_000;
        bare.turn(|pbx, turn| pbx.poll(turn));
    }
}

#[test]
fn keys_and_ticks_allocate_nothing_or_little() {
    let mut bare = Bare::new();
    bare.call("a");
    bare.turn(|pbx, turn| pbx.poll(turn));
    let info = measure(|| {
        for _ in 0..1_000 {
            bare.now_ms += 1;
            bare.turn(|pbx, turn| pbx.poll(turn));
        }
    });
    assert!(info.count_total <= 5, "{} in 1,000 ticks", info.count_total);
    bare.receive(&invite("b", "800", "", &sdp("192.0.2.9", 4000, "8 101")));
    let ok = bare.the("SIP/2.0 200 ");
    bare.receive(&within("ACK", "b", &ok, 1, "", ""));
    let key = |cseq| {
        within("INFO", "b", &ok, cseq, "", "Signal=2\r\n")
            .replace("application/sdp", "application/dtmf-relay")
    };
    let warm: Vec<String> = (2..20).map(key).collect();
    counted(&mut bare, &warm);
    let texts: Vec<String> = (20..120).map(key).collect();
    let count = counted(&mut bare, &texts);
    assert!(count <= 100 * KEY_MAX, "{count} for 100 keys");
}

#[test]
fn a_call_allocates_no_more_than_it_says() {
    let mut bare = Bare::new();
    for number in 0..20 {
        let call_id = format!("w{number}");
        let ok = bare.call(&call_id);
        bare.receive(&within("BYE", &call_id, &ok, 2, "", ""));
        let bye = bare.the("BYE ");
        bare.receive(&reply(&bye, "200 OK", "", "", ""));
        bare.now_ms += 40_000;
        bare.turn(|pbx, turn| pbx.poll(turn));
    }
    let mut total = 0;
    let call_id = "x";
    let mut step = |bare: &mut Bare, text: String| {
        let one = counted(bare, std::slice::from_ref(&text));
        total += one;
    };
    step(
        &mut bare,
        invite(call_id, "200", "", &sdp("192.0.2.9", 4000, "8 101")),
    );
    let to_phone = bare.the("INVITE ");
    let answer = sdp("192.0.2.20", 5000, "8 101");
    step(&mut bare, reply(&to_phone, "180 Ringing", "bob", "", ""));
    step(&mut bare, reply(&to_phone, "200 OK", "bob", "", &answer));
    let ok = bare.the("SIP/2.0 200 ");
    step(&mut bare, within("ACK", call_id, &ok, 1, "", ""));
    step(&mut bare, within("BYE", call_id, &ok, 2, "", ""));
    let bye = bare.the("BYE ");
    step(&mut bare, reply(&bye, "200 OK", "", "", ""));
    assert!(total <= CALL_MAX, "{total}");
}
