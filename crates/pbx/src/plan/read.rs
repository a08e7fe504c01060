//! From texts to a draft of the dialplan.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::check::{Node, Use};
use super::hours::{Holiday, Hours, Span, Zone};
use super::mistake::{Fault, Mistake};
use super::parts::{
    Class, Extension, Mailbox, Menu, Music, Pin, PinRule, Queue, QueueOrder, Room, Route,
};
use super::pattern::Pattern;
use super::section::{Placed, Section};
use super::step::{Order, Step, is_name};
use super::{AGENTS_MAX, KNOWN, PARTS_MAX, Plan, Source};

/// What has been read so far.
#[derive(Default)]
pub(super) struct Draft {
    plan: Plan,
    source: usize,
    uses: Vec<Use>,
    mistakes: Vec<Mistake>,
    /// Where each route is, for what is found later.
    routes: Vec<(usize, Range<usize>)>,
}

/// Reads one section.
type Read = fn(&mut Draft, &mut Section<'_>);

/// The tables of `[pbx]` that are the dialplan's.
const TABLES: &[(&str, Read)] = &[
    ("class", Draft::class),
    ("extension", Draft::extension),
    ("hours", Draft::hours),
    ("mailbox", Draft::mailbox),
    ("menu", Draft::menu),
    ("music", Draft::music),
    ("pin", Draft::pin),
    ("queue", Draft::queue),
    ("room", Draft::room),
    ("route", Draft::route),
];

/// The other keys of `[pbx]` that are the dialplan's.
const KEYS: &[&str] = &["features", "parking", "recording_max_s", "zone"];

/// The longest recording, in seconds: a longer one is larger than what the media store keeps as one object, and would be refused at its end.
const RECORDING_S_MAX: u32 = 16_200;

/// Keys of `[pbx]` that are read here; other readers pass them over.
pub(super) fn is_ours(key: &str) -> bool {
    KEYS.contains(&key) || TABLES.iter().any(|(name, _)| *name == key)
}

impl Draft {
    /// Reads one text.
    pub(super) fn read(&mut self, number: usize, source: &Source<'_>) {
        self.source = number;
        if number == 0 {
            self.plan.recording_max_ms = 4 * 3_600_000;
        }
        let (document, errors) = DeTable::parse_recoverable(source.text);
        for error in &errors {
            self.add(
                error.span().unwrap_or(0..0),
                Fault::Syntax {
                    message: error.message().trim().replace('\n', ", "),
                },
            );
        }
        if !errors.is_empty() {
            return;
        }
        for (key, value) in document.get_ref().iter() {
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("pbx", DeValue::Table(table)) => self.pbx(table, value.span(), source.is_shared),
                _ if source.is_shared => {}
                (path, _) => {
                    let (path, known) = (path.to_owned(), "pbx".to_owned());
                    self.add(key.span(), Fault::UnknownKey { path, known });
                }
            }
        }
    }

    fn add(&mut self, span: Range<usize>, fault: Fault) {
        self.mistakes.push(Mistake {
            source: self.source,
            span,
            fault,
        });
    }

    fn pbx(&mut self, table: &DeTable<'_>, span: Range<usize>, is_shared: bool) {
        let mut own = Section::new("pbx", table, span, self.source);
        if let Some(zone) = own.parsed("zone", Zone::parse) {
            self.plan.zone = zone;
        }
        let max_s = self.plan.recording_max_ms / 1_000;
        self.plan.recording_max_ms =
            own.number("recording_max_s", max_s, 10, RECORDING_S_MAX) * 1_000;
        self.mistakes.append(&mut own.mistakes);
        for (key, value) in table.iter() {
            let name: &str = key.get_ref();
            match (name, value.get_ref()) {
                ("features", DeValue::Table(table)) => {
                    self.one(name, table, value, Draft::features)
                }
                ("parking", DeValue::Table(table)) => self.one(name, table, value, Draft::parking),
                (_, DeValue::Array(items)) if TABLES.iter().any(|(known, _)| *known == name) => {
                    self.many(name, items);
                }
                ("zone" | "recording_max_s", _) => {}
                _ if is_ours(name) => {
                    let want = format!(
                        "sections: [[pbx.{name}]], or [pbx.{name}] for parking and features"
                    );
                    let path = format!("pbx.{name}");
                    let found = "something else".to_owned();
                    self.add(value.span(), Fault::Malformed { path, found, want });
                }
                _ if is_shared => {}
                _ => {
                    let known = TABLES
                        .iter()
                        .map(|(name, _)| *name)
                        .chain(KEYS.iter().copied());
                    let known = known.collect::<Vec<_>>().join(", ");
                    let path = format!("pbx.{name}");
                    self.add(key.span(), Fault::UnknownKey { path, known });
                }
            }
        }
    }

    fn many(&mut self, name: &str, items: &toml::de::DeArray<'_>) {
        let Some((_, read)) = TABLES.iter().find(|(known, _)| *known == name) else {
            return;
        };
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(table) => self.one(name, table, item, *read),
                _ => {
                    let (path, want) = (format!("pbx.{name}"), format!("[[pbx.{name}]]"));
                    let found = "a value".to_owned();
                    self.add(item.span(), Fault::Malformed { path, found, want });
                }
            }
        }
        if items.len() > PARTS_MAX {
            let max = PARTS_MAX;
            self.add(
                0..0,
                Fault::TooMany {
                    what: "sections",
                    max,
                },
            );
        }
    }

    fn one(&mut self, name: &str, table: &DeTable<'_>, value: &Spanned<DeValue<'_>>, read: Read) {
        let path = format!("pbx.{name}");
        let mut section = Section::new(&path, table, value.span(), self.source);
        read(self, &mut section);
        self.mistakes.extend(section.finish());
    }

    fn use_(&mut self, node: &Node, span: &Range<usize>, step: Step) {
        self.uses.push(Use {
            source: self.source,
            span: span.clone(),
            node: node.clone(),
            step,
        });
    }

    /// Notes what a place uses besides its steps.
    fn name(&mut self, node: &Node, span: &Range<usize>, step: Step) {
        self.use_(&Node::Aside(Box::new(node.clone())), span, step);
    }

    fn steps(&mut self, node: &Node, placed: Option<Placed>) -> Vec<Step> {
        let placed = placed.unwrap_or_default();
        for (step, span) in &placed {
            self.use_(node, span, step.clone());
        }
        placed.into_iter().map(|(step, _)| step).collect()
    }

    fn prompts(&mut self, prompts: Vec<(String, Range<usize>)>) {
        for (name, span) in prompts {
            let piece = super::Piece::Prompt(name);
            self.use_(&Node::Nowhere, &span, Step::Play(vec![piece]));
        }
    }

    fn duplicate(&mut self, section: &Section<'_>, kind: &'static str, name: &str) {
        let name = name.to_owned();
        self.add(section.span.clone(), Fault::Duplicate { kind, name });
    }

    fn extension(&mut self, section: &mut Section<'_>) {
        let number = section.name("number");
        let text = section.text("name").unwrap_or_default();
        let phones = section.list("phones", user);
        let order = section.parsed("order", order).unwrap_or_default();
        let ring_s = section.number("ring_s", 30, 1, 600);
        let class = section.some_name("class");
        let group = section.some_name("group");
        let mailbox = section.some_name("mailbox");
        let always = section.steps("always");
        let no_answer = section.steps("no_answer");
        let busy = section.steps("busy");
        let unreachable = section.steps("unreachable");
        let otherwise = section.steps("otherwise");
        let Some(number) = number else { return };
        let node = Node::Extension(number.clone());
        let span = section.span.clone();
        if let Some(class) = &class {
            self.uses.push(Use::class(self.source, span.clone(), class));
        }
        if let Some(mailbox) = &mailbox {
            let step = Step::Voicemail(super::Template(mailbox.clone()));
            self.name(&node, &span, step);
        }
        let own = mailbox
            .clone()
            .map(|mailbox| Step::Voicemail(super::Template(mailbox)));
        let otherwise = match (otherwise, own) {
            (Some(placed), _) => self.steps(&Node::Aside(Box::new(node.clone())), Some(placed)),
            (None, own) => own.into_iter().collect(),
        };
        let forward = |draft: &mut Draft, placed: Option<Placed>| match placed {
            Some(_) => draft.steps(&Node::Aside(Box::new(node.clone())), placed),
            None => otherwise.clone(),
        };
        let extension = Extension {
            phones: phones.unwrap_or_else(|| vec![number.clone()]),
            name: text,
            order,
            ring_s,
            class,
            group,
            mailbox,
            no_answer: forward(self, no_answer),
            busy: forward(self, busy),
            unreachable: forward(self, unreachable),
            always: self.steps(&node, always),
            number: number.clone(),
        };
        for user in &extension.phones {
            self.plan.users.insert(user.clone(), number.clone());
        }
        if self
            .plan
            .extensions
            .insert(number.clone(), extension)
            .is_some()
        {
            self.duplicate(section, "extension", &number);
        }
    }

    fn route(&mut self, section: &mut Section<'_>) {
        if !section.has("pattern") {
            let (path, key) = ("pbx.route".to_owned(), "pattern");
            self.add(section.span.clone(), Fault::Missing { path, key });
        }
        let patterns = section.list("pattern", Pattern::parse).unwrap_or_default();
        let classes = section.list("for", name_of);
        let hours = section.some_name("hours");
        let steps = section.steps("steps");
        let span = section.span.clone();
        for class in classes.iter().flatten() {
            self.uses.push(Use::class(self.source, span.clone(), class));
        }
        let is_open = classes.is_none();
        let classes = classes.unwrap_or_else(|| vec![super::ANYONE.to_owned()]);
        if steps.as_ref().is_none_or(Vec::is_empty) {
            let (path, key) = ("pbx.route".to_owned(), "steps");
            self.add(span.clone(), Fault::Missing { path, key });
        }
        let place = self.routes.len();
        let node = Node::Route(place);
        if let Some(hours) = &hours {
            self.uses.push(Use::hours(self.source, span.clone(), hours));
        }
        if is_open && let Some((target, at)) = leads_outside(steps.as_ref()) {
            self.add(at, Fault::Open { target });
        }
        let steps = self.steps(&node, steps);
        for pattern in patterns {
            self.routes.push((self.source, span.clone()));
            self.plan.routes.push(Route {
                pattern,
                classes: classes.clone(),
                hours: hours.clone(),
                steps: steps.clone(),
                place: Some(place),
            });
        }
    }

    fn menu(&mut self, section: &mut Section<'_>) {
        let name = section.name("name");
        let mut prompts = Vec::new();
        let menu = Menu {
            prompt: section.pieces("prompt", &mut prompts).unwrap_or_default(),
            timeout_ms: section.number("timeout_s", 5, 1, 60) * 1_000,
            between_ms: section.number("between_s", 2, 1, 30) * 1_000,
            tries: section.number("tries", 3, 1, 10),
            barge_in: section.flag("barge_in", true),
            direct: section.flag("direct", false),
            wrong: section
                .pieces("wrong", &mut prompts)
                .unwrap_or_else(|| vec![super::Piece::Prompt("menu/wrong-key".to_owned())]),
            ..Menu::default()
        };
        let keys = section.keys("keys");
        let timeout = section.steps("timeout");
        let invalid = section.steps("invalid");
        self.prompts(prompts);
        let Some(name) = name else { return };
        let node = Node::Menu(name.clone());
        if keys.is_empty() && !menu.direct {
            let path = format!("pbx.menu {name}");
            self.add(section.span.clone(), Fault::Missing { path, key: "keys" });
        }
        let menu = Menu {
            name: name.clone(),
            keys: keys
                .into_iter()
                .map(|(key, placed)| (key, self.steps(&node.after_key(), Some(placed))))
                .collect(),
            on_timeout: self.steps(&node.after_key(), timeout),
            on_invalid: self.steps(&node.after_key(), invalid),
            ..menu
        };
        if self.plan.menus.insert(name.clone(), menu).is_some() {
            self.duplicate(section, "menu", &name);
        }
    }

    fn queue(&mut self, section: &mut Section<'_>) {
        let name = section.name("name");
        let mut prompts = Vec::new();
        let order = section.parsed("order", queue_order).unwrap_or_default();
        let queue = Queue {
            agents: section.list("agents", user).unwrap_or_default(),
            always_in: section.flag("always_in", false),
            order,
            ring_ms: section.number("ring_s", 20, 1, 300) * 1_000,
            wrap_up_ms: section.number("wrap_up_s", 10, 0, 3_600) * 1_000,
            retry_ms: section.number("retry_s", 5, 0, 600) * 1_000,
            music: section.some_name("music").unwrap_or_else(default_name),
            welcome: section.pieces("welcome", &mut prompts).unwrap_or_default(),
            announce_ms: section.number("announce_s", 45, 0, 3_600) * 1_000,
            callers_max: section.number("callers_max", 100, 1, 10_000) as usize,
            wait_max_ms: section.number("wait_max_s", 0, 0, 86_400) * 1_000,
            join_empty: section.flag("join_empty", true),
            ..Queue::default()
        };
        let overflow = section.steps("overflow");
        self.prompts(prompts);
        let Some(name) = name else { return };
        let node = Node::Queue(name.clone());
        self.name(&node, &section.span, Step::Music(queue.music.clone()));
        if queue.agents.is_empty() {
            let path = format!("pbx.queue {name}");
            self.add(
                section.span.clone(),
                Fault::Missing {
                    path,
                    key: "agents",
                },
            );
        }
        if queue.agents.len() > AGENTS_MAX {
            let (what, max) = ("agents", AGENTS_MAX);
            self.add(section.span.clone(), Fault::TooMany { what, max });
        }
        let queue = Queue {
            overflow: self.steps(&node, overflow),
            name: name.clone(),
            ..queue
        };
        if self.plan.queues.insert(name.clone(), queue).is_some() {
            self.duplicate(section, "queue", &name);
        }
    }

    fn mailbox(&mut self, section: &mut Section<'_>) {
        let number = section.name("number");
        let mailbox = Mailbox {
            pin: section.pin(PinRule::Stored),
            message_max_ms: section.number("message_max_s", 300, 5, 3_600) * 1_000,
            message_min_ms: section.number("message_min_s", 2, 0, 60) * 1_000,
            silence_ms: section.number("silence_s", 10, 0, 60) * 1_000,
            review: section.flag("review", true),
            email: section.parsed("email", email),
            ..Mailbox::default()
        };
        let Some(number) = number else { return };
        let mailbox = Mailbox {
            number: number.clone(),
            ..mailbox
        };
        if self
            .plan
            .mailboxes
            .insert(number.clone(), mailbox)
            .is_some()
        {
            self.duplicate(section, "mailbox", &number);
        }
    }

    fn room(&mut self, section: &mut Section<'_>) {
        let number = section.name("number");
        let room = Room {
            pin: section.pin(PinRule::None),
            members_max: section.number("members_max", 50, 2, 1_000) as usize,
            announce: section.flag("announce", true),
            muted: section.flag("muted", false),
            music: section.some_name("music"),
            ..Room::default()
        };
        let Some(number) = number else { return };
        if let Some(music) = &room.music {
            let node = Node::Nowhere;
            self.name(&node, &section.span, Step::Music(music.clone()));
        }
        let room = Room {
            number: number.clone(),
            ..room
        };
        if self.plan.rooms.insert(number.clone(), room).is_some() {
            self.duplicate(section, "room", &number);
        }
    }

    fn hours(&mut self, section: &mut Section<'_>) {
        let name = section.name("name");
        let hours = Hours {
            open: section.list("open", Span::parse).unwrap_or_default(),
            holidays: section.list("holidays", Holiday::parse).unwrap_or_default(),
        };
        let Some(name) = name else { return };
        if self.plan.hours.insert(name.clone(), hours).is_some() {
            self.duplicate(section, "hours", &name);
        }
    }

    fn class(&mut self, section: &mut Section<'_>) {
        let name = section.name("name");
        let class = Class {
            callers: section.list("callers", Pattern::parse).unwrap_or_default(),
            trusted: section.flag("trusted", true),
        };
        let Some(name) = name else { return };
        if [super::ANYONE, KNOWN].contains(&name.as_str())
            || self.plan.classes.insert(name.clone(), class).is_some()
        {
            self.duplicate(section, "class", &name);
        }
    }

    fn pin(&mut self, section: &mut Section<'_>) {
        let name = section.name("name");
        let rule = section.pin(PinRule::Stored);
        let Some(name) = name else { return };
        let pin = Pin {
            name: name.clone(),
            rule,
        };
        if self.plan.pins.insert(name.clone(), pin).is_some() {
            self.duplicate(section, "pin", &name);
        }
    }

    fn music(&mut self, section: &mut Section<'_>) {
        let name = section.name("name");
        let mut prompts = Vec::new();
        let sounds = section.pieces("sounds", &mut prompts).unwrap_or_default();
        self.prompts(prompts);
        let Some(name) = name else { return };
        if sounds.is_empty() {
            let path = format!("pbx.music {name}");
            self.add(
                section.span.clone(),
                Fault::Missing {
                    path,
                    key: "sounds",
                },
            );
        }
        let music = Music {
            name: name.clone(),
            sounds,
        };
        if self.plan.music.insert(name.clone(), music).is_some() {
            self.duplicate(section, "music", &name);
        }
    }

    fn features(&mut self, section: &mut Section<'_>) {
        let features = &mut self.plan.features;
        let codes: [(&'static str, &mut String); 9] = [
            ("record", &mut features.record),
            ("attended", &mut features.attended),
            ("park", &mut features.park),
            ("mute", &mut features.mute),
            ("own_mailbox", &mut features.own_mailbox),
            ("any_mailbox", &mut features.any_mailbox),
            ("pickup", &mut features.pickup),
            ("login", &mut features.login),
            ("logout", &mut features.logout),
        ];
        for (key, code) in codes {
            if let Some(text) = section.parsed(key, code_of) {
                *code = text;
            }
        }
        if let Some(blind) = section.list("blind", code_of) {
            features.blind = blind;
        }
        features.between_ms = section.number("between_ms", features.between_ms, 300, 10_000);
        features.recall_s = section.number("recall_s", features.recall_s, 0, 600);
    }

    fn parking(&mut self, section: &mut Section<'_>) {
        let parking = &mut self.plan.parking;
        if let Some(number) = section.parsed("number", code_of) {
            parking.number = number;
        }
        if let Some((first, last)) = section.parsed("slots", slots) {
            (parking.first, parking.last) = (first, last);
        }
        parking.timeout_ms =
            section.number("timeout_s", parking.timeout_ms / 1_000, 5, 3_600) * 1_000;
        if let Some(music) = section.some_name("music") {
            parking.music = music.clone();
            self.name(&Node::Nowhere, &section.span, Step::Music(music));
        }
    }

    /// The draft as a plan, what it uses where, and what was wrong so far.
    pub(super) fn finish(mut self) -> (Plan, Vec<Use>, Vec<Mistake>) {
        super::check::routes(&self.plan, &self.routes, &mut self.mistakes);
        self.plan.routes.extend(services(&self.plan));
        // Stable: of equally specific ones the first in the text comes first.
        self.plan
            .routes
            .sort_by(|one, two| one.pattern.specificity(&two.pattern));
        (self.plan, self.uses, self.mistakes)
    }
}

/// Routes of the services, where the operator has none of the same pattern.
fn services(plan: &Plan) -> Vec<Route> {
    let features = &plan.features;
    let mut routes = Vec::new();
    let mut add = |text: &str, class: &str, steps: &str| {
        let (Ok(pattern), Ok(step)) = (Pattern::parse(text), Step::parse(steps)) else {
            return;
        };
        if !plan
            .routes
            .iter()
            .any(|route| route.pattern.is_same(&pattern))
            && !plan.extensions.contains_key(text)
        {
            routes.push(Route {
                pattern,
                classes: vec![class.to_owned()],
                hours: None,
                steps: vec![step],
                place: None,
            });
        }
    };
    add(&features.own_mailbox, KNOWN, "mailbox own");
    add(&features.any_mailbox, KNOWN, "mailbox");
    add(&features.pickup, KNOWN, "pickup");
    if !features.pickup.is_empty() {
        add(&format!("{}.", features.pickup), KNOWN, "pickup $rest");
    }
    add(&features.login, KNOWN, "login");
    add(&features.logout, KNOWN, "logout");
    add(&plan.parking.number, KNOWN, "park");
    for slot in plan.parking.first..=plan.parking.last {
        add(&slot.to_string(), KNOWN, "unpark $number");
    }
    routes
}

/// The first target of steps that is somewhere else.
fn leads_outside(steps: Option<&Placed>) -> Option<(String, Range<usize>)> {
    let outside = |step: &Step| {
        let mut targets = step.ring()?.targets.iter();
        Some(targets.find(|target| target.0.contains('@'))?.0.clone())
    };
    steps?
        .iter()
        .find_map(|(step, span)| Some((outside(step)?, span.clone())))
}

fn default_name() -> String {
    "default".to_owned()
}

fn name_of(text: &str) -> Result<String, &'static str> {
    if is_name(text) {
        Ok(text.to_owned())
    } else {
        Err("names of 1 to 64 letters, digits, - and _")
    }
}

fn user(text: &str) -> Result<String, &'static str> {
    let ok = (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.+".contains(&b));
    ok.then(|| text.to_owned())
        .ok_or("users of 1 to 64 letters, digits, - _ . and +")
}

fn order(text: &str) -> Result<Order, &'static str> {
    match text {
        "all" => Ok(Order::All),
        "in-order" => Ok(Order::InOrder),
        "least-recent" => Ok(Order::LeastRecent),
        _ => Err("all, in-order or least-recent"),
    }
}

fn queue_order(text: &str) -> Result<QueueOrder, &'static str> {
    match text {
        "all" => Ok(QueueOrder::All),
        "in-order" => Ok(QueueOrder::InOrder),
        "least-recent" => Ok(QueueOrder::LeastRecent),
        "fewest-calls" => Ok(QueueOrder::FewestCalls),
        "rotary" => Ok(QueueOrder::Rotary),
        _ => Err("all, in-order, least-recent, fewest-calls or rotary"),
    }
}

fn code_of(text: &str) -> Result<String, &'static str> {
    let ok = text.len() <= 8
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || b"*#".contains(&b));
    ok.then(|| text.to_owned())
        .ok_or("up to eight of 0 to 9, * and #; empty to switch it off")
}

fn slots(text: &str) -> Result<(u32, u32), &'static str> {
    const WANTED: &str = "slots as \"701-720\", at most 200";
    let (first, last) = text.split_once('-').ok_or(WANTED)?;
    let first: u32 = first.parse().map_err(|_| WANTED)?;
    let last: u32 = last.parse().map_err(|_| WANTED)?;
    if first == 0 || last < first || last - first >= 200 || last > 99_999_999 {
        return Err(WANTED);
    }
    Ok((first, last))
}

/// An address of e-mail, as far as it can do no harm in a letter's head.
fn email(text: &str) -> Result<String, &'static str> {
    const WANT: &str = "an address of e-mail: \"ann@example.org\"";
    let fits = |c: char| c.is_ascii_alphanumeric() || ".!#$%&'*+-/=?^_`{|}~@".contains(c);
    let is_whole = |(user, host): (&str, &str)| {
        !user.is_empty() && host.len() > 1 && !host.contains('@') && !host.starts_with('.')
    };
    let is_address = text.len() <= 254 && text.chars().all(fits);
    match is_address && text.split_once('@').is_some_and(is_whole) {
        true => Ok(text.to_owned()),
        false => Err(WANT),
    }
}
