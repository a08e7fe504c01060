//! What the records of calls say.

use super::*;

const PLAN: &str = r#"
[[pbx.extension]]
number = "101"

[[pbx.extension]]
number = "102"
ring_s = 20

[[pbx.route]]
pattern = "600"
steps = ["echo"]

[[pbx.route]]
pattern = "601"
steps = ["play welcome"]
"#;

fn ended(t: &Desk) -> (u16, u8, EndedBy, bool) {
    let cdr = t.cdrs.last().expect("a record");
    (
        cdr.cause.status,
        cdr.cause.q850,
        cdr.ended_by,
        cdr.answered_unix_ms.is_some(),
    )
}

#[test]
fn a_record_says_what_the_caller_was_told_and_whose_word_it_was() {
    script(PLAN, |t| {
        // Answered: 200, whoever ended it.
        let a = t.call("101", "102");
        t.answers("102");
        t.hangs_up(a);
        assert_eq!(ended(t), (200, 16, EndedBy::Caller, true));
        t.call("101", "102");
        t.answers("102/2");
        let b = t.leg("102/2");
        t.happen(Happening::Ended {
            leg: b,
            cause: Cause {
                status: 200,
                q850: 31,
                text: String::new(),
            },
        });
        assert_eq!(ended(t), (200, 31, EndedBy::Callee, true));
        // Nobody took it: the caller's refusal, with the phone's cause.
        t.call("101", "102");
        t.fails("102/3", 600);
        assert_eq!(ended(t), (486, 17, EndedBy::Pbx, false));
        let phone = &t.cdrs.last().expect("a record").legs[0].cause;
        assert_eq!(phone.status, 600);
        t.call("101", "102");
        let b = t.leg("102/4");
        t.happen(Happening::Failed {
            leg: b,
            cause: Cause {
                status: 404,
                q850: 3,
                text: String::new(),
            },
            contacts: Vec::new(),
        });
        assert_eq!(ended(t), (480, 3, EndedBy::Pbx, false));
        t.call("101", "102");
        t.wait(20_000);
        assert_eq!(ended(t), (480, 19, EndedBy::Pbx, false));
        // The caller gave up.
        let a = t.call("101", "102");
        t.happen(Happening::Ended {
            leg: a,
            cause: super::super::end::cause(487),
        });
        assert_eq!(ended(t), (487, 31, EndedBy::Caller, false));
    });
}

#[test]
fn a_record_of_a_service_or_a_refusal_says_so() {
    script(PLAN, |t| {
        let a = t.call("101", "600");
        t.hangs_up(a);
        assert_eq!(ended(t), (200, 16, EndedBy::Caller, true));
        let a = t.call("101", "601");
        t.heard(a);
        assert_eq!(ended(t), (200, 16, EndedBy::Pbx, true));
        t.call("101", "999");
        assert_eq!(ended(t), (404, 1, EndedBy::Pbx, false));
        t.call("101", "../etc");
        assert_eq!(ended(t), (404, 1, EndedBy::Pbx, false));
        assert_eq!(t.cdrs.last().expect("a record").called.user, "../etc");
    });
}
