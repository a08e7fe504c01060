//! The report for people: one page of HTML that needs nothing else.

use std::cmp::Ordering;
use std::fmt::Write as _;

use super::plot::{self, Line};
use super::{Limits, NOTES_MAX, Report, Row, Series, StressRow, Times};

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:72em;padding:0 1em;color:#222}\
h1,h2,h3{line-height:1.2}table{border-collapse:collapse;margin:1em 0;font-size:13px;width:100%}\
th,td{border-bottom:1px solid #ddd;padding:.25em .5em;text-align:right;white-space:nowrap}\
th:first-child,td:first-child,td.text{text-align:left}td.text{white-space:normal}\
th{background:#f3f3f3;position:sticky;top:0}td.paper{color:#555;background:#fafafa}\
tr.bad td{background:#fde2e1;color:#8d0000}.verdict{font-size:1.2em;font-weight:bold}\
.bad{color:#b00000}.good{color:#0a6b2d}.absent{color:#777}svg{max-width:100%;height:auto}ul{padding-left:1.2em}";

/// Rows of one kind of stress whose calls over time are drawn.
const SERIES_MAX: usize = 3;

/// The page.
#[must_use]
pub fn page(report: &Report, limits: &Limits) -> String {
    let mut html = String::new();
    head(&mut html, report, limits);
    contingency(&mut html, report, limits);
    stress(&mut html, report);
    what_failed(&mut html, report, limits);
    absent(&mut html, report);
    html += "</body>\n</html>\n";
    html
}

/// Writing to a `String` does not fail.
macro_rules! put {
    ($html:expr, $($all:tt)*) => {
        let _ = writeln!($html, $($all)*);
    };
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

fn head(html: &mut String, report: &Report, limits: &Limits) {
    let (failed, all) = (
        report.failed(limits),
        report.rows.len() + report.stress.len(),
    );
    put!(
        html,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Holdline: the published experiments</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>Holdline: the published experiments</h1>"
    );
    let class = if failed == 0 { "good" } else { "bad" };
    let verdict = match failed {
        0 => format!("All {all} rows are within their limits."),
        _ => format!("{failed} of {all} rows are not as they should be."),
    };
    put!(html, "<p class=\"verdict {class}\">{verdict}</p>\n<table>");
    for (name, value) in &report.machine {
        put!(
            html,
            "<tr><td>{}</td><td class=\"text\">{}</td></tr>",
            escaped(name),
            escaped(value)
        );
    }
    put!(
        html,
        "</table>\n<p>Limits, of 99 in 100: users wait {} ms, no service for {} ms, silence of {} ms; no call lost, nobody has to act, \
         never two owners of an address. Columns with a grey ground are what the published work (Kamailio, Asterisk, Pacemaker, MySQL) \
         measured; where they are empty no figure of it is known here.</p>",
        limits.user.as_millis(),
        limits.service.as_millis(),
        limits.media_gap.as_millis()
    );
}

/// p50, p99 and max, as cells.
fn times(times: &Times) -> String {
    let cells = [500, 990, 1_000].map(|permille| match times.at_ms(permille) {
        Some(ms) => format!("<td>{ms:.0}</td>"),
        None => "<td></td>".to_owned(),
    });
    cells.concat()
}

fn published(ms: Option<f64>) -> String {
    let text = ms.map_or_else(String::new, |ms| format!("{ms:.0}"));
    format!("<td class=\"paper\">{text}</td>")
}

/// What a row is part of: `scenario-2`.
fn part(id: &str) -> &str {
    let end = id.match_indices('-').nth(1).map_or(id.len(), |(at, _)| at);
    &id[..end]
}

fn contingency(html: &mut String, report: &Report, limits: &Limits) {
    let mut parts: Vec<&str> = Vec::new();
    for row in &report.rows {
        if !parts.contains(&part(&row.id)) {
            parts.push(part(&row.id));
        }
    }
    if !parts.is_empty() {
        put!(html, "<h2>Contingency</h2>");
    }
    for name in parts {
        let rows = report.rows.iter().filter(|row| part(&row.id) == name);
        let mut rows: Vec<&Row> = rows.collect();
        rows.sort_by(|one, other| one.id.cmp(&other.id));
        put!(html, "<h3>{}</h3>", escaped(heading(name)));
        table(html, &rows, limits);
        type Of = fn(&Row) -> &Times;
        let plots: [(&str, Of); 3] = [
            ("How long users waited", |row| &row.user),
            ("How long there was no service", |row| &row.service),
            ("How long there was no sound", |row| &row.media_gap),
        ];
        for (title, of) in plots {
            distributions(html, title, &rows, of);
        }
    }
}

fn heading(part: &str) -> &str {
    match part {
        "scenario-1" => "Scenario 1: a PBX fails",
        "scenario-2" => "Scenario 2: the active edge fails",
        "scenario-3" => "Scenario 3: a PBX and the active edge fail at once",
        "failover-situation" => "Transactional situations 1 and 2",
        other => other,
    }
}

fn table(html: &mut String, rows: &[&Row], limits: &Limits) {
    put!(
        html,
        "<table>\n<tr><th>row</th><th>runs</th><th>user acts</th><th>paper</th>\
         <th>user p50</th><th>p99</th><th>max&nbsp;ms</th><th>paper</th>\
         <th>service p50</th><th>p99</th><th>max&nbsp;ms</th><th>paper</th>\
         <th>silence p50</th><th>p99</th><th>max&nbsp;ms</th><th>lost</th><th>calls</th></tr>"
    );
    for row in rows {
        let class = match row.faults(limits).is_empty() {
            true => "",
            false => " class=\"bad\"",
        };
        let paper = row.published;
        let acts = if row.user_actions > 0 { "yes" } else { "no" };
        put!(
            html,
            "<tr{class}><td title=\"{}\">{}</td><td>{}</td><td>{acts}</td><td class=\"paper\">{}</td>{}{}{}{}{}<td>{}</td><td>{}</td></tr>",
            escaped(&row.title),
            escaped(&row.id),
            row.runs,
            paper.and_then(|paper| paper.user_action).unwrap_or(""),
            times(&row.user),
            published(paper.and_then(|paper| paper.user_ms)),
            times(&row.service),
            published(paper.and_then(|paper| paper.service_ms)),
            times(&row.media_gap),
            row.lost.len(),
            row.calls
        );
    }
    put!(html, "</table>");
}

/// One line for each kind of failure, all tests together: 24 lines would show nothing.
fn distributions(html: &mut String, title: &str, rows: &[&Row], of: fn(&Row) -> &Times) {
    let mut lines: Vec<(String, Times)> = Vec::new();
    for row in rows {
        let name = row.id.splitn(5, '-').last().unwrap_or(&row.id).to_owned();
        let at = lines.iter().position(|(other, _)| *other == name);
        let at = at.unwrap_or_else(|| {
            lines.push((name, Times::default()));
            lines.len() - 1
        });
        lines[at].1.merge(of(row));
    }
    lines.retain(|(_, times)| !times.is_empty());
    if lines.is_empty() {
        return;
    }
    let mut drawn: Vec<Line> = lines
        .into_iter()
        .map(|(name, times)| Line {
            name,
            points: plot::steps(times.all_ms()),
            is_published: false,
        })
        .collect();
    // What was published is a mean: a line straight up.
    let user = rows
        .iter()
        .filter_map(|row| row.published.and_then(|paper| paper.user_ms));
    let service = rows
        .iter()
        .filter_map(|row| row.published.and_then(|paper| paper.service_ms));
    let mut means: Vec<f64> = match title {
        "How long users waited" => user.collect(),
        "How long there was no service" => service.collect(),
        _ => Vec::new(),
    };
    means.sort_by(f64::total_cmp);
    means.dedup();
    drawn.extend(means.into_iter().map(|ms| Line {
        name: format!("published: {ms:.0} ms"),
        points: vec![(ms, 0.0), (ms, 100.0)],
        is_published: true,
    }));
    put!(html, "<h4>{title}</h4>\n{}", plot::distribution(&drawn));
}

fn stress(html: &mut String, report: &Report) {
    if report.stress.is_empty() {
        return;
    }
    put!(html, "<h2>Stress</h2>");
    for (title, prefix) in [
        ("By INVITE", "stress-invite"),
        ("By REGISTER", "stress-register"),
    ] {
        let is_part = |row: &&StressRow| row.id.starts_with(prefix);
        let rows: Vec<_> = report.stress.iter().filter(is_part).collect();
        if rows.is_empty() {
            continue;
        }
        put!(html, "<h3>{title}</h3>");
        stress_table(html, &rows);
        let mut drawn: Vec<_> = rows.iter().filter(|row| !row.series.is_empty()).collect();
        // The hardest ones, so that the page stays small; the others are in the JSON.
        drawn.sort_by(|one, other| {
            let failing = |row: &StressRow| row.id.ends_with("-failures");
            let both = (failing(other), other.offered_per_s);
            both.partial_cmp(&(failing(one), one.offered_per_s))
                .unwrap_or(Ordering::Equal)
        });
        for row in drawn.into_iter().take(SERIES_MAX) {
            put!(
                html,
                "<h4>{}: calls of each PBX at one time (the published figure 13)</h4>",
                escaped(&row.id)
            );
            put!(html, "{}", series(&row.series, "calls", |at| at.active));
            put!(
                html,
                "<h4>{}: calls of each PBX so far (the published figure 13)</h4>",
                escaped(&row.id)
            );
            put!(html, "{}", series(&row.series, "calls", |at| at.processed));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "no run has 2^52 calls")]
fn series(all: &[Series], what: &str, of: fn(&super::Sample) -> u64) -> String {
    let lines: Vec<Line> = all
        .iter()
        .map(|series| Line {
            name: series.name.clone(),
            points: series
                .samples
                .iter()
                .map(|at| (at.at_s, of(at) as f64))
                .collect(),
            is_published: false,
        })
        .collect();
    plot::over_time(&lines, what)
}

fn stress_table(html: &mut String, rows: &[&StressRow]) {
    put!(
        html,
        "<table>\n<tr><th>row</th><th>offered/s</th><th>begun/s</th><th>carried/s</th><th>at once</th><th>seconds</th><th>begun</th><th>succeeded</th>\
         <th>failed</th><th>%</th><th>sent again</th><th>p50</th><th>p99</th><th>max&nbsp;ms</th><th>silence p99</th><th>CPU&nbsp;µs</th><th>processors&nbsp;%</th><th>paper</th></tr>"
    );
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.0}"));
    for row in rows {
        let class = match row.faults().is_empty() {
            true => "",
            false => " class=\"bad\"",
        };
        let [p50, p99, max] = match row.response_ms {
            Some(all) => all.map(|ms| format!("{ms:.1}")),
            None => Default::default(),
        };
        let paper = row.published.iter();
        let paper: Vec<_> = paper
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        put!(
            html,
            "<tr{class}><td title=\"{}\">{}</td><td>{:.0}</td><td>{:.0}</td><td>{:.0}</td><td>{}</td><td>{:.0}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td>{:.2}</td><td>{}</td><td>{p50}</td><td>{p99}</td><td>{max}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"paper text\">{}</td></tr>",
            escaped(&row.title),
            escaped(&row.id),
            row.offered_per_s,
            row.achieved_per_s,
            row.carried_per_s(),
            row.active_max
                .map_or_else(String::new, |most| most.to_string()),
            row.span_s,
            row.count.attempted,
            row.count.succeeded,
            row.count.failed,
            row.failed_percent(),
            row.retransmissions,
            number(row.sound.map(|sound| sound.gap_ms[1])),
            number(row.cpu_us),
            number(row.busy_percent),
            escaped(&paper.join("; "))
        );
    }
    put!(html, "</table>");
}

fn what_failed(html: &mut String, report: &Report, limits: &Limits) {
    let rows = report
        .rows
        .iter()
        .map(|row| (&row.id, row.faults(limits), &row.lost, &row.notes));
    let none = Vec::new();
    let stress = report
        .stress
        .iter()
        .map(|row| (&row.id, row.faults(), &none, &row.notes));
    let told: Vec<_> = rows
        .chain(stress)
        .filter(|(_, faults, _, notes)| !faults.is_empty() || !notes.is_empty())
        .collect();
    if told.is_empty() {
        return;
    }
    put!(html, "<h2>What failed, and what else was seen</h2>");
    for (id, faults, lost, notes) in told {
        put!(html, "<h4>{}</h4>\n<ul>", escaped(id));
        for fault in faults {
            put!(html, "<li class=\"bad\">{}</li>", escaped(&fault));
        }
        for line in lost.iter().chain(notes).take(NOTES_MAX) {
            put!(html, "<li>{}</li>", escaped(line));
        }
        put!(html, "</ul>");
    }
}

fn absent(html: &mut String, report: &Report) {
    if report.absent.is_empty() {
        return;
    }
    put!(html, "<h2>What was not tried</h2>\n<ul class=\"absent\">");
    for (id, why) in &report.absent {
        put!(html, "<li>{}: {}</li>", escaped(id), escaped(why));
    }
    put!(html, "</ul>");
}
