//! Plots, as SVG to stand inside a page.

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

/// Width and height in pixels.
const SIZE: (u32, u32) = (760, 300);
/// The least and the most milliseconds that a distribution shows.
const TIMES_MS: (f64, f64) = (1.0, 100_000.0);

/// A line of a plot.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
    /// It is what others published, drawn black.
    pub(super) is_published: bool,
}

/// Steps of a distribution that are drawn.
const STEPS_MAX: usize = 100;

type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// What share of durations is not longer than so many milliseconds, a line each.
pub(super) fn distribution(lines: &[Line]) -> String {
    plot(|svg| draw_distribution(svg, lines))
}

/// Values over seconds, a line each.
pub(super) fn over_time(lines: &[Line], what: &str) -> String {
    plot(|svg| draw_over_time(svg, lines, what))
}

fn plot(draw: impl FnOnce(&mut String) -> Drawn) -> String {
    let mut svg = String::new();
    match draw(&mut svg) {
        Ok(()) => svg,
        // Of text in memory it is not to be expected.
        Err(error) => format!("<p>no plot: {error}</p>"),
    }
}

/// The points of a distribution: a step up at each duration, the shortest first.
pub(super) fn steps(sorted_ms: impl ExactSizeIterator<Item = f64>) -> Vec<(f64, f64)> {
    let (all, mut points) = (sorted_ms.len(), Vec::new());
    // What lies closer is one point on the page.
    let every = all.div_ceil(STEPS_MAX).max(1);
    for (number, ms) in sorted_ms.enumerate() {
        if number % every != 0 && number + 1 != all {
            continue;
        }
        let ms = ms.clamp(TIMES_MS.0, TIMES_MS.1);
        for reached in [number, number + 1] {
            points.push((ms, share(reached, all)));
        }
    }
    points
}

#[expect(clippy::cast_precision_loss, reason = "no run has 2^52 calls")]
fn share(part: usize, all: usize) -> f64 {
    part as f64 * 100.0 / all as f64
}

fn color(number: usize, line: &Line) -> RGBColor {
    if line.is_published {
        return BLACK;
    }
    let colors = [
        RGBColor(31, 119, 180),
        RGBColor(255, 127, 14),
        RGBColor(44, 160, 44),
        RGBColor(148, 103, 189),
        RGBColor(140, 86, 75),
        RGBColor(227, 119, 194),
        RGBColor(188, 189, 34),
        RGBColor(23, 190, 207),
    ];
    colors[number % colors.len()]
}

fn draw_distribution(svg: &mut String, lines: &[Line]) -> Drawn {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d((TIMES_MS.0..TIMES_MS.1).log_scale(), 0.0..100.0)?;
    let mut mesh = chart.configure_mesh();
    mesh.x_desc("milliseconds").y_desc("per cent");
    mesh.max_light_lines(0).x_labels(6).draw()?;
    draw_lines(&mut chart, lines, SeriesLabelPosition::LowerRight)?;
    root.present()
}

fn draw_over_time(svg: &mut String, lines: &[Line], what: &str) -> Drawn {
    let all = || lines.iter().flat_map(|line| &line.points);
    let end_s = all().fold(1.0, |most: f64, point| most.max(point.0));
    let most = all().fold(1.0, |most: f64, point| most.max(point.1));
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..end_s, 0.0..most * 1.1)?;
    let mut mesh = chart.configure_mesh();
    mesh.x_desc("seconds").y_desc(what);
    mesh.max_light_lines(0).draw()?;
    draw_lines(&mut chart, lines, SeriesLabelPosition::UpperLeft)?;
    root.present()
}

/// The lines, and what each is called.
fn draw_lines<'a, X: Ranged<ValueType = f64>>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, RangedCoordf64>>,
    lines: &[Line],
    names_at: SeriesLabelPosition,
) -> Drawn {
    for (number, line) in lines.iter().enumerate() {
        let color = color(number, line);
        let series = LineSeries::new(line.points.iter().copied(), color.stroke_width(2));
        let drawn = chart.draw_series(series)?;
        drawn.label(line.name.clone()).legend(move |(x, y)| {
            PathElement::new(vec![(x, y), (x + 16, y)], color.stroke_width(2))
        });
    }
    let mut names = chart.configure_series_labels();
    names.position(names_at);
    names.background_style(WHITE.mix(0.8)).border_style(WHITE);
    names.draw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_goes_up_by_a_step_at_each_duration() {
        let points = steps([0.1, 5.0].into_iter());
        assert_eq!(points, [(1.0, 0.0), (1.0, 50.0), (5.0, 50.0), (5.0, 100.0)]);
    }

    #[test]
    fn a_plot_of_no_lines_is_one() {
        assert!(distribution(&[]).contains("</svg>"));
        assert!(over_time(&[], "calls").contains("</svg>"));
    }
}
