//! The view: a snapshot as lines of a terminal. A pure function. It is made for 80 columns and 24 rows at least; in a smaller terminal lines
//! are cut off.

use super::snapshot::{NodeState, Snapshot, clock};

/// Beyond it a stream that hears nothing is told of.
const SILENT_US: u64 = 200_000;
/// Beyond it, lines are not read well.
const COLUMNS_MAX: usize = 120;

/// How a piece of a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    /// Of less interest.
    Dim,
    /// A heading.
    Bold,
    Good,
    Warning,
    Bad,
    /// The line that keys are for.
    Selected,
}

/// A line: pieces after one another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Line(pub(super) Vec<(Style, String)>);

impl Line {
    fn of(style: Style, text: impl Into<String>) -> Line {
        Line(vec![(style, text.into())])
    }

    fn with(mut self, style: Style, text: impl Into<String>) -> Line {
        self.0.push((style, text.into()));
        self
    }

    /// The text alone.
    #[cfg(test)]
    pub(super) fn text(&self) -> String {
        self.0.iter().map(|(_, text)| text.as_str()).collect()
    }

    /// At most so many characters of it.
    fn cut(self, columns: usize) -> Line {
        let mut room = columns;
        let mut cut = Vec::new();
        for (style, text) in self.0 {
            let length = text.chars().count();
            let kept = if length <= room {
                text
            } else {
                text.chars().take(room).collect()
            };
            room -= length.min(room);
            cut.push((style, kept));
        }
        Line(cut)
    }
}

/// The lines for a terminal of so many columns and rows; never more, and never longer.
pub(super) fn frame(
    snapshot: &Snapshot,
    selected: usize,
    (columns, rows): (usize, usize),
) -> Vec<Line> {
    let columns = columns.min(COLUMNS_MAX);
    let rule = || Line::of(Style::Dim, "─".repeat(columns));
    let mut lines = head(snapshot);
    lines.push(rule());
    lines.extend(nodes(snapshot, selected));
    lines.extend(services(snapshot));
    lines.push(targets(snapshot));
    lines.push(rule());
    lines.extend(calls(snapshot));
    lines.push(rule());
    // The keys stay, whatever else there is no room for.
    let room = rows.saturating_sub(lines.len() + 1);
    let events = &snapshot.events;
    let last = events.iter().skip(events.len().saturating_sub(room));
    let told = last.map(|(at_ms, text)| {
        Line::of(Style::Dim, format!("{:>6}  ", clock(*at_ms))).with(Style::Plain, text.clone())
    });
    lines.extend(told);
    lines.truncate(rows.saturating_sub(1));
    lines.resize(rows.saturating_sub(1), Line::default());
    lines.push(keys());
    lines.truncate(rows);
    lines.into_iter().map(|line| line.cut(columns)).collect()
}

fn head(snapshot: &Snapshot) -> Vec<Line> {
    let join = &snapshot.join;
    let verdict = match snapshot.calls.lost {
        0 => (Style::Good, "no call lost".to_owned()),
        lost => (Style::Bad, format!("{lost} calls lost")),
    };
    let first = Line::of(
        Style::Bold,
        format!("Holdline demo  {}  ", clock(snapshot.at_ms)),
    )
    .with(verdict.0, verdict.1)
    .with(
        Style::Plain,
        format!("   register at {} (UDP, TCP)", join.at),
    );
    let mut second = Line::of(Style::Dim, "join: ");
    for (user, password) in &join.users {
        let (style, mark) = match join.here.contains(user) {
            true => (Style::Good, " (here)"),
            false => (Style::Plain, ""),
        };
        second = second.with(style, format!("{user} {password}{mark}  "));
    }
    let dial = "dial 600 echo, 601 menu, 602 music, 603 room";
    vec![first, second.with(Style::Dim, dial)]
}

fn nodes(snapshot: &Snapshot, selected: usize) -> Vec<Line> {
    let head = format!(
        "  {:<7}{:<9}{:>8}{:>7}{:>6}{:>8}  WHAT IT IS",
        "NODE", "STATE", "PROCESS", "UP", "CALLS", "PACKETS"
    );
    let mut lines = vec![Line::of(Style::Bold, head)];
    for (at, node) in snapshot.nodes.iter().enumerate() {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let is_selected = at == selected;
        let (mark, style) = match is_selected {
            true => ("> ", Style::Selected),
            false => ("  ", Style::Plain),
        };
        let state = match node.state {
            NodeState::Up => Style::Good,
            NodeState::Starting | NodeState::Drained => Style::Warning,
            NodeState::Down | NodeState::Frozen => Style::Bad,
        };
        let rest = format!(
            "{:>8}{:>7}{:>6}{:>8}  {}",
            or_none(node.process.map(|process| process.to_string())),
            or_none(node.uptime_s.map(|s| clock(s * 1_000))),
            node.calls,
            or_none(node.packets_per_s.map(|packets| format!("{packets}/s"))),
            snapshot.part_of(&node.name)
        );
        lines.push(
            Line::of(style, format!("{mark}{:<7}", node.name))
                .with(state, format!("{:<9}", node.state.word()))
                .with(style, rest),
        );
    }
    lines
}

fn services(snapshot: &Snapshot) -> Vec<Line> {
    let head = format!(
        "  {:<9}{:<9}{:>6}{:>9}{:>11}  IN SYNC",
        "SERVICE", "OWNER", "EPOCH", "RECORDS", "COMMIT"
    );
    let mut lines = vec![Line::of(Style::Bold, head)];
    for service in &snapshot.services {
        let (owner, style) = match &service.owner {
            Some(owner) => (owner.as_str(), Style::Good),
            None => ("nobody", Style::Bad),
        };
        let in_sync = match service.is_whole() {
            true => Style::Plain,
            false => Style::Warning,
        };
        lines.push(
            Line::of(Style::Plain, format!("  {:<9}", service.name))
                .with(style, format!("{owner:<9}"))
                .with(
                    Style::Plain,
                    format!(
                        "{:>6}{:>9}{:>8} µs  ",
                        service.epoch, service.records, service.commit_us
                    ),
                )
                .with(in_sync, service.in_sync.join(" ")),
        );
    }
    lines
}

fn targets(snapshot: &Snapshot) -> Line {
    let pool = snapshot
        .targets
        .first()
        .map_or("pbx", |target| &target.pool);
    let mut line = Line::of(Style::Bold, format!("  POOL {pool:<4}"));
    for target in &snapshot.targets {
        let style = match target.state.as_str() {
            "up" => Style::Good,
            "warming" | "busy" | "draining" => Style::Warning,
            _ => Style::Bad,
        };
        line = line
            .with(Style::Plain, format!("{} ", target.target))
            .with(style, target.state.clone())
            .with(Style::Plain, format!(" {} calls  ", target.calls));
    }
    line
}

fn calls(snapshot: &Snapshot) -> Vec<Line> {
    let calls = &snapshot.calls;
    let ms = |us: u64| us.div_ceil(1_000);
    let lost = match calls.lost {
        0 => Style::Good,
        _ => Style::Bad,
    };
    let counts = format!(
        "{} active, {} begun, {} done, ",
        calls.active, calls.begun, calls.completed
    );
    let (half, most) = calls.set_up_us;
    let first = Line::of(Style::Bold, "  CALLS   ")
        .with(Style::Plain, counts)
        .with(lost, format!("{} lost", calls.lost))
        .with(
            Style::Plain,
            format!("; set-up {} ms (p99 {})", ms(half), ms(most)),
        );
    let mos = calls.mos.map_or_else(
        || "MOS -".to_owned(),
        |(mean, worst)| format!("MOS {mean:.1} (worst {worst:.1})"),
    );
    let (half, most) = calls.gap_us;
    let gap = match calls.silent_us > SILENT_US {
        true => (Style::Bad, format!("silent for {} ms", ms(calls.silent_us))),
        false => (
            Style::Plain,
            format!("gap p50 {} ms, max {} ms", ms(half), ms(most)),
        ),
    };
    let second = Line::of(Style::Bold, "  SOUND   ")
        .with(Style::Plain, format!("{mos}; "))
        .with(gap.0, gap.1)
        .with(
            Style::Plain,
            format!("; {} phones registered", calls.phones),
        );
    let mut lines = vec![first, second];
    lines.extend(felt(snapshot));
    lines
}

/// What was done last, and what the calls felt.
fn felt(snapshot: &Snapshot) -> [Line; 2] {
    let head = Line::of(Style::Bold, "  FELT    ");
    let Some(felt) = &snapshot.felt else {
        let nothing = head.with(Style::Dim, "nothing yet: kill something");
        return [nothing, Line::default()];
    };
    let style = match (felt.lost, felt.is_back) {
        (0, true) => Style::Good,
        (0, false) => Style::Warning,
        _ => Style::Bad,
    };
    let ago_s = snapshot.at_ms.saturating_sub(felt.at_ms) / 1_000;
    let what = head.with(Style::Plain, format!("{} {ago_s} s ago", felt.what));
    let consequences = format!("          {}", felt.consequences());
    [what, Line::of(style, consequences)]
}

fn keys() -> Line {
    let mut line = Line::default();
    for (key, what) in [
        ("↑↓", "select"),
        ("k", "kill"),
        ("p", "power cut"),
        ("f", "freeze"),
        ("t", "thaw"),
        ("d", "drain"),
        ("h", "heal"),
        ("q", "quit"),
    ] {
        line = line
            .with(Style::Bold, format!(" {key} "))
            .with(Style::Dim, format!("{what} "));
    }
    line
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
