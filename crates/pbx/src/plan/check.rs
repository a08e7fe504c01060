//! What can only be seen when all of a dialplan is there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::mistake::{Fault, Mistake};
use super::step::{Piece, Step, Template};
use super::{ANYONE, Found, KNOWN, Plan};

/// Where a step is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    Extension(String),
    /// By its number in the order of the texts.
    Route(usize),
    Menu(String),
    Queue(String),
    /// Done only after time has passed in the node.
    Aside(Box<Node>),
    /// Not in a list of steps.
    Nowhere,
}

impl Node {
    pub(super) fn after_key(&self) -> Node {
        Node::Aside(Box::new(self.clone()))
    }
}

/// A step that was read.
#[derive(Clone, Debug)]
pub(super) struct Use {
    pub(super) source: usize,
    pub(super) span: Range<usize>,
    pub(super) node: Node,
    pub(super) step: Step,
}

/// Classes are looked up as pins with this before the name: names have no space.
const CLASS: &str = "class ";

impl Use {
    pub(super) fn class(source: usize, span: Range<usize>, name: &str) -> Use {
        Use {
            source,
            span,
            node: Node::Nowhere,
            step: Step::Pin(format!("{CLASS}{name}")),
        }
    }

    pub(super) fn hours(source: usize, span: Range<usize>, name: &str) -> Use {
        Use {
            source,
            span,
            node: Node::Nowhere,
            step: Step::When {
                hours: name.to_owned(),
                is_open: true,
                step: Box::new(Step::Answer),
            },
        }
    }

    fn mistake(&self, fault: Fault) -> Mistake {
        Mistake {
            source: self.source,
            span: self.span.clone(),
            fault,
        }
    }
}

/// Routes that an earlier one leaves nothing, and extensions that hide one.
pub(super) fn routes(plan: &Plan, places: &[(usize, Range<usize>)], mistakes: &mut Vec<Mistake>) {
    // Only equal patterns can hide one another: of two that differ the more specific one comes first.
    let mut seen: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, route) in plan.routes.iter().enumerate() {
        let text = route.pattern.text();
        let because = if plan.extensions.contains_key(text) {
            Some(format!("extension {text} has the same number"))
        } else {
            let earlier = seen.entry(text).or_default();
            let hides = earlier.iter().map(|at| &plan.routes[*at]).any(|other| {
                let is_for_all = other.classes.iter().any(|class| class == ANYONE);
                let is_for_these = is_for_all
                    || route
                        .classes
                        .iter()
                        .all(|class| other.classes.contains(class));
                is_for_these && (other.hours.is_none() || other.hours == route.hours)
            });
            earlier.push(at);
            hides.then(|| "an earlier route of the same pattern takes all its calls".to_owned())
        };
        if let Some(because) = because
            && let Some((source, span)) = places.get(at)
        {
            mistakes.push(Mistake {
                source: *source,
                span: span.clone(),
                fault: Fault::Unreachable {
                    what: format!("the route {text}"),
                    because,
                },
            });
        }
    }
}

/// Looks for names that are not there, steps that are never reached, and loops.
pub(super) fn check(
    plan: &Plan,
    uses: &[Use],
    has_prompt: &dyn Fn(&str) -> bool,
    mistakes: &mut Vec<Mistake>,
) {
    for use_ in uses {
        names(plan, use_, &use_.step, has_prompt, mistakes);
    }
    after_last(uses, mistakes);
    loops(plan, uses, mistakes);
}

fn unknown(use_: &Use, kind: &'static str, name: &str, mistakes: &mut Vec<Mistake>) {
    mistakes.push(use_.mistake(Fault::Unknown {
        kind,
        name: name.to_owned(),
    }));
}

fn names(
    plan: &Plan,
    use_: &Use,
    step: &Step,
    has_prompt: &dyn Fn(&str) -> bool,
    mistakes: &mut Vec<Mistake>,
) {
    let mut need = |is_there: bool, kind: &'static str, name: &str| {
        if !is_there {
            unknown(use_, kind, name, mistakes);
        }
    };
    match step {
        Step::Pin(name) => match name.strip_prefix(CLASS) {
            Some(class) => {
                let is_built_in = [ANYONE, KNOWN].contains(&class);
                need(
                    is_built_in || plan.classes.contains_key(class),
                    "class",
                    class,
                );
            }
            None => need(plan.pins.contains_key(name), "pin", name),
        },
        Step::Menu(name) => need(plan.menus.contains_key(name), "menu", name),
        Step::Queue(name) => need(plan.queues.contains_key(name), "queue", name),
        Step::Agent {
            queue: Some(name), ..
        } => need(plan.queues.contains_key(name), "queue", name),
        Step::Music(name) => {
            let is_there = name == "default" || plan.music.contains_key(name);
            need(is_there, "music", name);
        }
        Step::Extension(text) if text.is_fixed() => {
            need(plan.extension(&text.0).is_some(), "extension", &text.0);
        }
        Step::Voicemail(text) | Step::Mailbox(Some(text)) if text.is_fixed() => {
            let is_there = text.0 == "own" || plan.mailboxes.contains_key(&text.0);
            need(is_there, "mailbox", &text.0);
        }
        Step::Room(text) if text.is_fixed() => {
            need(plan.rooms.contains_key(&text.0), "room", &text.0);
        }
        Step::Goto(text) if text.is_fixed() => {
            // The hours may not hold now: there has to be something at all.
            let is_there = plan.extension(&text.0).is_some()
                || plan
                    .routes
                    .iter()
                    .any(|route| route.pattern.matches(&text.0));
            need(is_there, "extension or route", &text.0);
        }
        Step::When { hours, step, .. } => {
            need(plan.hours.contains_key(hours), "hours", hours);
            names(plan, use_, step, has_prompt, mistakes);
        }
        Step::On { step, .. } => names(plan, use_, step, has_prompt, mistakes),
        Step::Play(pieces) | Step::Announce(pieces) => {
            prompts(use_, pieces, has_prompt, mistakes);
        }
        _ => {}
    }
}

fn prompts(
    use_: &Use,
    pieces: &[Piece],
    has_prompt: &dyn Fn(&str) -> bool,
    mistakes: &mut Vec<Mistake>,
) {
    for piece in pieces {
        if let Piece::Prompt(name) = piece
            && !has_prompt(name)
        {
            let name = name.clone();
            mistakes.push(use_.mistake(Fault::MissingPrompt { name }));
        }
    }
}

/// Steps of a list after one that does not go on. Lists follow each other in `uses` with spans that grow.
fn after_last(uses: &[Use], mistakes: &mut Vec<Mistake>) {
    for pair in uses.windows(2) {
        let [one, two] = pair else { continue };
        let is_list = matches!(one.node, Node::Route(_));
        if is_list && one.node == two.node && one.step.is_last() {
            mistakes.push(two.mistake(Fault::Unreachable {
                what: format!("the step `{}`", two.step),
                because: format!("`{}` does not come back", one.step),
            }));
        }
    }
}

/// A step of no time, and where it leads.
struct Edge<'u> {
    to: Node,
    use_: &'u Use,
}

fn loops(plan: &Plan, uses: &[Use], mistakes: &mut Vec<Mistake>) {
    let mut edges: BTreeMap<Node, Vec<Edge<'_>>> = BTreeMap::new();
    let mut passed: BTreeSet<&Node> = BTreeSet::new();
    for use_ in uses {
        if matches!(use_.node, Node::Aside(_) | Node::Nowhere) || passed.contains(&use_.node) {
            continue;
        }
        if let Some(to) = leads_to(plan, &use_.step) {
            let from = use_.node.clone();
            edges.entry(from).or_default().push(Edge { to, use_ });
        }
        if use_.step.takes_time() {
            passed.insert(&use_.node);
        }
    }
    let mut done = BTreeSet::new();
    for node in edges.keys() {
        let mut way = Vec::new();
        walk(plan, &edges, node, &mut way, &mut done, mistakes);
    }
}

fn walk<'e>(
    plan: &Plan,
    edges: &'e BTreeMap<Node, Vec<Edge<'e>>>,
    node: &Node,
    way: &mut Vec<Node>,
    done: &mut BTreeSet<Node>,
    mistakes: &mut Vec<Mistake>,
) {
    // A way longer than this is found as a loop at run time.
    if done.contains(node) || way.len() > 256 {
        return;
    }
    way.push(node.clone());
    for edge in edges.get(node).into_iter().flatten() {
        if let Some(at) = way.iter().position(|passed| *passed == edge.to) {
            let mut names: Vec<String> = way[at..].iter().map(|node| shown(plan, node)).collect();
            names.push(shown(plan, &edge.to));
            let path = names.join(" -> ");
            mistakes.push(edge.use_.mistake(Fault::Loop { path }));
        } else {
            walk(plan, edges, &edge.to, way, done, mistakes);
        }
    }
    way.pop();
    done.insert(node.clone());
}

fn shown(plan: &Plan, node: &Node) -> String {
    match node {
        Node::Extension(number) => format!("extension {number}"),
        Node::Route(place) => {
            let route = plan.routes.iter().find(|route| route.place == Some(*place));
            format!("route {}", route.map_or("", |route| route.pattern.text()))
        }
        Node::Menu(name) => format!("menu {name}"),
        Node::Queue(name) => format!("queue {name}"),
        Node::Aside(node) => shown(plan, node),
        Node::Nowhere => String::new(),
    }
}

/// Where a step leads without taking time.
fn leads_to(plan: &Plan, step: &Step) -> Option<Node> {
    match step {
        Step::Goto(Template(text)) | Step::Extension(Template(text)) if !text.contains('$') => {
            match plan.find(text, None, 0) {
                Found::Extension(extension) => Some(Node::Extension(extension.number.clone())),
                _ => route_of(plan, text).map(Node::Route),
            }
        }
        Step::When { step, .. } => leads_to(plan, step),
        _ => None,
    }
}

fn route_of(plan: &Plan, number: &str) -> Option<usize> {
    plan.routes
        .iter()
        .find(|route| route.pattern.matches(number))
        .and_then(|route| route.place)
}
