//! Random sequences of REGISTER against a model that is too simple to be wrong, and against what the
//! store would hold after a crash.

mod fixture;

use std::collections::BTreeMap;

use fixture::{AOR, Registrar, request};
use proptest::prelude::*;
use registrar::{BindingRow, Change, EventKind, Location, Outcome};

/// Spellings of four contacts.
const CONTACTS: [&[&str]; 4] = [
    &["sip:a@192.0.2.7", "sip:%61@192.0.2.7", "SIP:a@192.0.2.7"],
    &["sip:b@phone.example.org", "sip:b@PHONE.example.org;x=1"],
    &["sips:c@192.0.2.9:5070"],
    &["tel:+15551234", "tel:+1-555-1234"],
];
const CALL_IDS: [&str; 2] = ["one", "two"];
const BINDINGS_MAX: usize = 3;

#[derive(Debug, Clone)]
struct Asked {
    class: usize,
    spelling: usize,
    expires_s: Option<u32>,
    q: Option<u16>,
}

#[derive(Debug, Clone)]
enum Step {
    Register {
        call_id: usize,
        cseq: u32,
        contacts: Vec<Asked>,
    },
    RemoveAll {
        call_id: usize,
        cseq: u32,
    },
    Wait(u64),
    Restart,
}

fn asked() -> impl Strategy<Value = Asked> {
    let expires_s = prop_oneof![
        4 => Just(None),
        2 => Just(Some(0)),
        1 => Just(Some(30)),
        4 => (60u32..400).prop_map(Some),
        1 => Just(Some(100_000)),
    ];
    let q = prop_oneof![3 => Just(None), 1 => Just(Some(500))];
    (0..CONTACTS.len(), 0..3usize, expires_s, q).prop_map(|(class, spelling, expires_s, q)| Asked {
        class,
        spelling,
        expires_s,
        q,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..2usize, 1..8u32, prop::collection::vec(asked(), 0..4))
            .prop_map(|(call_id, cseq, contacts)| Step::Register { call_id, cseq, contacts }),
        1 => (0..2usize, 1..8u32).prop_map(|(call_id, cseq)| Step::RemoveAll { call_id, cseq }),
        3 => (0..300u64).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

impl Asked {
    fn uri(&self) -> &'static str {
        CONTACTS[self.class][self.spelling % CONTACTS[self.class].len()]
    }

    fn line(&self) -> String {
        let expires = self
            .expires_s
            .map_or(String::new(), |seconds| format!(";expires={seconds}"));
        let q = self.q.map_or(String::new(), |q| format!(";q=0.{q:03}"));
        format!("Contact: <{}>{q}{expires}", self.uri())
    }

    fn granted_s(&self) -> u64 {
        self.expires_s.unwrap_or(3_600).min(7_200).into()
    }
}

#[derive(Debug, Clone)]
struct Bound {
    asked: Asked,
    call_id: usize,
    cseq: u32,
    made_at: u64,
}

impl Bound {
    fn ends_at(&self) -> u64 {
        self.made_at + self.asked.granted_s()
    }

    fn is_made_by(&self, now: u64, asked: &Asked, call_id: usize, cseq: u32) -> bool {
        (self.call_id, self.cseq, self.asked.uri(), self.asked.q)
            == (call_id, cseq, asked.uri(), asked.q)
            && asked.granted_s() > 0
            && self.ends_at() <= now + asked.granted_s()
    }
}

/// One user's contacts by class.
#[derive(Debug, Clone, Default)]
struct Model {
    bound: BTreeMap<usize, Bound>,
}

impl Model {
    fn register(&mut self, now: u64, call_id: usize, cseq: u32, contacts: &[Asked]) -> u16 {
        self.bound.retain(|_, bound| bound.ends_at() > now);
        if contacts
            .iter()
            .any(|asked| (1..60).contains(&asked.granted_s()))
        {
            return 423;
        }
        let mut next = self.bound.clone();
        let wanted: BTreeMap<_, _> = contacts.iter().map(|asked| (asked.class, asked)).collect();
        let mut grows = false;
        for (class, &asked) in &wanted {
            if let Some(bound) = self.bound.get(class)
                && bound.call_id == call_id
                && cseq <= bound.cseq
            {
                if !bound.is_made_by(now, asked, call_id, cseq) {
                    return 500;
                }
                continue;
            }
            grows |= !self.bound.contains_key(class) && asked.granted_s() > 0;
            next.insert(
                *class,
                Bound {
                    asked: asked.clone(),
                    call_id,
                    cseq,
                    made_at: now,
                },
            );
        }
        next.retain(|_, bound| bound.asked.granted_s() > 0);
        if grows && next.len() > BINDINGS_MAX {
            return 403;
        }
        self.bound = next;
        200
    }

    fn remove_all(&mut self, now: u64, call_id: usize, cseq: u32) -> u16 {
        self.bound.retain(|_, bound| bound.ends_at() > now);
        if self
            .bound
            .values()
            .any(|bound| bound.call_id == call_id && cseq <= bound.cseq)
        {
            return 500;
        }
        self.bound.clear();
        200
    }

    fn list(&self, now: u64) -> Vec<(String, u64)> {
        let live = self.bound.values().filter(|bound| bound.ends_at() > now);
        let mut list: Vec<_> = live
            .map(|bound| (bound.asked.uri().to_owned(), bound.ends_at() - now))
            .collect();
        list.sort();
        list
    }
}

/// What the store holds: deferred changes get there too, unless there is a crash.
#[derive(Default)]
struct Rows {
    rows: BTreeMap<u64, BindingRow>,
}

impl Rows {
    fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Put(row) => _ = self.rows.insert(row.id, (**row).clone()),
                Change::Refresh {
                    id,
                    expires_at_unix_s,
                    call_id,
                    cseq,
                } => {
                    let row = self
                        .rows
                        .get_mut(id)
                        .expect("only rows that are there are renewed");
                    row.expires_at_unix_s = *expires_at_unix_s;
                    row.cseq = *cseq;
                    if let Some(call_id) = call_id {
                        row.call_id = call_id.clone();
                    }
                }
                Change::Delete { id } => _ = self.rows.remove(id),
            }
        }
    }

    fn restored(&self) -> Location {
        let mut location = Location::new((5, 6));
        for row in self.rows.values() {
            // The store does not keep when a binding was made.
            let row = BindingRow {
                refreshed_at_unix_s: 0,
                ..row.clone()
            };
            assert!(location.restore(&row));
        }
        location
    }
}

struct Run {
    registrar: Registrar,
    model: Model,
    /// All that was noted.
    written: Rows,
    /// Only what was waited for.
    durable: Rows,
}

impl Run {
    fn new() -> Run {
        let mut registrar = Registrar::new();
        registrar.commits = false;
        registrar.policy.bindings_per_aor_max = BINDINGS_MAX as u16;
        Run {
            registrar,
            model: Model::default(),
            written: Rows::default(),
            durable: Rows::default(),
        }
    }

    fn step(&mut self, step: &Step) {
        let now = self.registrar.now;
        match step {
            Step::Wait(seconds) => self.registrar.now += seconds,
            Step::Restart => {
                // The deferred changes had been written.
                self.registrar.location = self.written.restored();
                self.durable.rows.clone_from(&self.written.rows);
            }
            Step::Register {
                call_id,
                cseq,
                contacts,
            } => {
                let lines: Vec<_> = contacts.iter().map(Asked::line).collect();
                let lines: Vec<_> = lines.iter().map(String::as_str).collect();
                let outcome = self
                    .registrar
                    .send(&request(CALL_IDS[*call_id], *cseq, &lines));
                let expected = match contacts.is_empty() {
                    true => 200,
                    false => self.model.register(now, *call_id, *cseq, contacts),
                };
                self.check(outcome, expected);
            }
            Step::RemoveAll { call_id, cseq } => {
                let lines = ["Contact: *", "Expires: 0"];
                let outcome = self
                    .registrar
                    .send(&request(CALL_IDS[*call_id], *cseq, &lines));
                let expected = self.model.remove_all(now, *call_id, *cseq);
                self.check(outcome, expected);
            }
        }
    }

    fn check(&mut self, outcome: Outcome, expected: u16) {
        assert_eq!(outcome.status, expected);
        let now = self.registrar.now;
        let mut list = self.registrar.contacts();
        list.sort();
        assert_eq!(list, self.model.list(now));
        if outcome.status != 200 {
            assert!(self.registrar.reply.changes.is_empty() && !outcome.durable);
            return;
        }
        let mut listed: Vec<_> = list
            .iter()
            .map(|(uri, left_s)| format!("Contact: <{uri}>;expires={left_s}"))
            .collect();
        listed.sort();
        let mut sent: Vec<_> = self
            .registrar
            .headers()
            .lines()
            .map(|line| line.replace(";q=0.5", ""))
            .collect();
        sent.sort();
        assert_eq!(sent, listed);
        self.written.apply(&self.registrar.reply.changes);
        if outcome.durable {
            self.durable.apply(&self.registrar.reply.changes);
            self.registrar.commit(AOR);
        }
        self.check_durable();
        let restored = self.written.restored();
        let mut rows: Vec<_> = restored
            .lookup(AOR, now)
            .map(|binding| (binding.id(), binding.expires_at_unix_s()))
            .collect();
        rows.sort_unstable();
        let live = self.registrar.location.lookup(AOR, now);
        let mut held: Vec<_> = live
            .map(|binding| (binding.id(), binding.expires_at_unix_s()))
            .collect();
        held.sort_unstable();
        assert_eq!(rows, held, "the store and the table agree");
    }

    /// What was just answered outlives a crash before anything deferred is written.
    fn check_durable(&self) {
        let now = self.registrar.now;
        for event in &self.registrar.reply.events {
            let row = self.durable.rows.get(&event.id);
            match event.kind {
                EventKind::Registered | EventKind::Refreshed => {
                    let row = row.expect("an acknowledged binding is in the store");
                    assert!(row.expires_at_unix_s >= now + registrar::DURABLE_MARGIN_S);
                    assert_eq!(&row.contact[..], self.registrar.reply.contact(event));
                    let mut live = self.registrar.location.lookup(AOR, now);
                    let binding = live.find(|binding| binding.id() == event.id);
                    let ends_at = binding.expect("it is there").expires_at_unix_s();
                    assert!(
                        row.expires_at_unix_s <= ends_at,
                        "no longer than was promised"
                    );
                }
                EventKind::Unregistered => assert_eq!(row, None),
                EventKind::Expired => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_registrar_does_as_the_model_says(steps in prop::collection::vec(step(), 1..40)) {
        let mut run = Run::new();
        for step in &steps {
            run.step(step);
        }
        run.registrar.now += 10_000;
        run.registrar.location.sweep(run.registrar.now, registrar::Cursor::START, usize::MAX, |_, _| ());
        prop_assert_eq!((run.registrar.location.aors(), run.registrar.location.bindings()), (0, 0));
    }

    #[test]
    fn no_contact_does_harm(line in "[ -~\t\"<>;,=*@:%]{0,80}", expires in "[ -~]{0,12}") {
        let mut registrar = Registrar::new();
        let bytes = request("c", 1, &[&format!("Contact: {line}"), &format!("Expires: {expires}")]);
        let outcome = registrar.send(&bytes);
        prop_assert!([200, 400, 403, 423].contains(&outcome.status));
        prop_assert_eq!(registrar.headers().lines().all(|line| line.contains(": ")), true);
    }
}
