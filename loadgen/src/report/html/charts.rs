//! Lines drawn as SVG; what is around them is HTML.

use maud::{Markup, PreEscaped, html};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::super::Report;
use super::series::{Chart, Line, charts};
use super::server;

/// How wide a chart is; the page scales it.
const WIDTH: u32 = 900;
/// Where a phase is.
const BAND: RGBColor = RGBColor(238, 242, 249);
const GRID: RGBColor = RGBColor(228, 231, 236);
const TEXT: RGBColor = RGBColor(90, 98, 110);

/// The charts of each report; those of one title have the same axes.
pub(super) fn all(reports: &[&Report]) -> Vec<Markup> {
    let each: Vec<Vec<Chart>> = reports.iter().map(|report| charts(report)).collect();
    let seconds = reports.iter().filter_map(|report| report.timeline.last()).map(|last| last.second as f64 + 1.0);
    let seconds = seconds.fold(1.0, f64::max);
    let with_axes = |report: &&Report, charts: &Vec<Chart>| {
        let figures = charts.iter().map(|chart| {
            let same = each.iter().flatten().filter(|other| other.title == chart.title);
            let points: Vec<(f64, f64)> =
                same.flat_map(|other| &other.lines).flat_map(|line| line.points.clone()).collect();
            figure(report, chart, &Axes::of(chart, &points, seconds))
        });
        html! {
            section.charts {
                @for figure in figures { (figure) }
                @if let Some(sentence) = server::quiet(report) { p.dim { (sentence) } }
                @if let Some(asked) = report.metrics.as_ref().filter(|asked| asked.failed > 0) { p.dim { (asked.sentence()) } }
            }
        }
    };
    reports.iter().zip(&each).map(|(report, charts)| with_axes(report, charts)).collect()
}

/// What the axes reach over, in drawn units.
struct Axes {
    x_max: f64,
    y: (f64, f64),
}

impl Axes {
    fn of(chart: &Chart, points: &[(f64, f64)], seconds: f64) -> Self {
        let x_max = if chart.nines { points.iter().map(|(x, _)| *x).fold(1.0, f64::max) } else { seconds };
        let most = points.iter().map(|(_, y)| *y).fold(0.0, f64::max);
        let least = points.iter().map(|(_, y)| *y).fold(f64::INFINITY, f64::min);
        let y = if chart.log {
            (drawn(least.min(1.0), true).floor(), drawn(most * 1.2, true).max(0.3))
        } else {
            (0.0, if most > 0.0 { most * 1.1 } else { 1.0 })
        };
        Self { x_max, y }
    }
}

/// A value where it is drawn.
fn drawn(value: f64, log: bool) -> f64 {
    if log { value.max(LEAST_MS).log10() } else { value }
}

/// Nothing is measured below a microsecond.
const LEAST_MS: f64 = 0.001;

fn figure(report: &Report, chart: &Chart, axes: &Axes) -> Markup {
    let mut named: Vec<&Line> = Vec::new();
    for line in &chart.lines {
        if !named.iter().any(|other| other.name == line.name) {
            named.push(line);
        }
    }
    html! {
        figure {
            figcaption {
                (chart.title)
                div.legend {
                    @for line in named {
                        span {
                            i class=[line.dashed.then_some("dashed")] style={ "border-color:rgb" (format!("{:?}", line.color)) } {}
                            (line.name)
                        }
                    }
                }
            }
            (PreEscaped(svg(report, chart, axes)))
        }
    }
}

fn svg(report: &Report, chart: &Chart, axes: &Axes) -> String {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (WIDTH, chart.height)).into_drawing_area();
        // Writing into memory cannot fail, and the ranges are never empty.
        draw(&area, report, chart, axes).expect("a chart can be drawn into memory");
    }
    text
}

type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn draw<'a>(area: &DrawingArea<SVGBackend<'a>, Shift>, report: &Report, chart: &Chart, axes: &Axes) -> Drawn<'a> {
    let mut context = ChartBuilder::on(area)
        .margin(6)
        .margin_right(14)
        .x_label_area_size(24)
        .y_label_area_size(58)
        .build_cartesian_2d(0.0..axes.x_max, axes.y.0..axes.y.1)?;
    if !chart.nines {
        let bands = report.phases.iter().map(|phase| {
            let (from, to) = phase.window_s;
            Rectangle::new([(from, axes.y.0), (to, axes.y.1)], BAND.filled())
        });
        context.draw_series(bands)?;
        if report.phases.len() > 1 {
            let style = ("sans-serif", 12).into_font().color(&TEXT);
            let names = report.phases.iter().map(|phase| {
                let below_top = axes.y.1 - (axes.y.1 - axes.y.0) * 0.03;
                Text::new(phase.stage.name.clone(), (phase.window_s.0 + axes.x_max * 0.004, below_top), style.clone())
            });
            context.draw_series(names)?;
        }
    }
    let label = |value: &f64| value_label(*value, chart.log);
    let x_label = |value: &f64| if chart.nines { nines_label(*value) } else { seconds_label(*value) };
    context
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .label_style(("sans-serif", 12).into_font().color(&TEXT))
        .x_labels(10)
        .y_labels(5)
        .x_label_formatter(&x_label)
        .y_label_formatter(&label)
        .draw()?;
    for line in &chart.lines {
        let (red, green, blue) = line.color;
        let style = RGBColor(red, green, blue).stroke_width(2);
        for part in parts(line, chart.nines) {
            let points = part.iter().map(|(x, y)| (*x, drawn(*y, chart.log)));
            if let [(x, y)] = *part.as_slice() {
                context.draw_series([Circle::new((x, drawn(y, chart.log)), 2, style.filled())])?;
            } else if line.dashed {
                context.draw_series(DashedLineSeries::new(points, 6, 4, style))?;
            } else {
                context.draw_series(LineSeries::new(points, style))?;
            }
        }
    }
    area.present()
}

/// Seconds without a word that a line does not bridge.
const GAP_S: f64 = 5.0;

/// A line is cut where seconds are missing: nothing was heard, or the server did not answer.
fn parts(line: &Line, whole: bool) -> Vec<Vec<(f64, f64)>> {
    let mut parts: Vec<Vec<(f64, f64)>> = Vec::new();
    for point in &line.points {
        match parts.last_mut() {
            Some(part) if whole || line.dashed || part.last().is_some_and(|last| point.0 - last.0 < GAP_S) => {
                part.push(*point)
            }
            _ => parts.push(vec![*point]),
        }
    }
    parts
}

fn value_label(value: f64, log: bool) -> String {
    let value = if log { 10_f64.powf(value) } else { value };
    match value {
        large if large >= 10_000_000.0 => format!("{:.0} M", large / 1e6),
        large if large >= 1_000_000.0 => format!("{:.1} M", large / 1e6),
        large if large >= 10_000.0 => format!("{:.0} k", large / 1e3),
        large if large >= 1_000.0 => format!("{:.1} k", large / 1e3),
        middle if middle >= 10.0 || middle == 0.0 => format!("{middle:.0}"),
        small if small >= 1.0 => format!("{small:.1}"),
        small => format!("{small:.2}"),
    }
}

fn seconds_label(seconds: f64) -> String {
    if seconds.fract().abs() < 1e-6 { format!("{seconds:.0} s") } else { format!("{seconds:.1} s") }
}

/// `1` is 90 %, `2` is 99 %.
fn nines_label(nines: f64) -> String {
    if nines.fract().abs() > 1e-6 {
        return String::new();
    }
    match nines as u32 {
        0 => "0 %".to_owned(),
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        more => format!("99.{} %", "9".repeat(more as usize - 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_short_and_true() {
        for (value, said) in
            [(0.0, "0"), (0.25, "0.25"), (5.0, "5.0"), (50.0, "50"), (2_500.0, "2.5 k"), (12e6, "12 M")]
        {
            assert_eq!(value_label(value, false), said);
        }
        assert_eq!(value_label(2.0, true), "100");
        assert_eq!([2.0, 2.5].map(seconds_label), ["2 s", "2.5 s"]);
        assert_eq!([0.0, 0.5, 1.0, 2.0, 4.0].map(nines_label), ["0 %", "", "90 %", "99 %", "99.99 %"]);
    }

    #[test]
    fn a_line_is_cut_where_seconds_are_missing() {
        let points = vec![(0.5, 1.0), (1.5, 1.0), (8.5, 1.0)];
        let line = Line { name: String::new(), color: (0, 0, 0), dashed: false, points };
        assert_eq!(parts(&line, false).iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(parts(&line, true).len(), 1);
    }
}
