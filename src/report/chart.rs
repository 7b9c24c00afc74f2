//! Charts as SVG whose colours are the page's.

use std::fmt::Write;

use super::html::escaped;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
/// Room for the axes: left, right, top, bottom.
const MARGIN: [f64; 4] = [58.0, 12.0, 12.0, 40.0];

/// One line of a chart.
#[derive(Debug, Clone)]
pub(super) struct ChartLine {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// A chart with axes.
#[derive(Debug, Clone)]
pub(super) struct Chart<'a> {
    /// Content in words, for readers who do not see it.
    pub(super) title: &'a str,
    pub(super) x: &'a str,
    pub(super) y: &'a str,
    pub(super) lines: Vec<ChartLine>,
    /// Points without a line.
    pub(super) dots: Vec<(f64, f64)>,
    /// Draws the line from the lower left to the upper right.
    pub(super) diagonal: bool,
    /// Ends of both axes; those of the points unless set.
    pub(super) range: Option<((f64, f64), (f64, f64))>,
}

impl Chart<'_> {
    /// Returns the chart and, for several lines, their names below it.
    pub(super) fn svg(&self) -> String {
        let points = || {
            self.lines
                .iter()
                .flat_map(|line| &line.points)
                .chain(&self.dots)
                .filter(|(x, y)| x.is_finite() && y.is_finite())
        };
        if points().next().is_none() {
            return String::new();
        }
        let span = |values: &mut dyn Iterator<Item = f64>| {
            let (low, high) =
                values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
            if low < high { (low, high) } else { (low - 0.5, high + 0.5) }
        };
        let ((x0, x1), (y0, y1)) =
            self.range.unwrap_or_else(|| (span(&mut points().map(|(x, _)| *x)), span(&mut points().map(|(_, y)| *y))));
        let [left, right, top, bottom] = MARGIN;
        let at = |x: f64, y: f64| {
            let px = left + (x - x0) / (x1 - x0) * (WIDTH - left - right);
            let py = HEIGHT - bottom - (y - y0) / (y1 - y0) * (HEIGHT - top - bottom);
            (px.clamp(-1e4, 1e4), py.clamp(-1e4, 1e4))
        };
        let mut svg = format!(
            "<figure><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escaped(self.title)
        );
        for tick in ticks(y0, y1) {
            let (x, y) = at(x0, tick);
            _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                WIDTH - right,
                x - 6.0,
                y + 4.0,
                number(tick)
            );
        }
        for tick in ticks(x0, x1) {
            let (x, y) = at(tick, y0);
            _ = write!(svg, "<text class=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>", y + 16.0, number(tick));
        }
        let (x, y) = at(x0, y0);
        _ = write!(svg, "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>", WIDTH - right);
        if self.diagonal {
            let (begin, end) = (x0.max(y0), x1.min(y1));
            let ((ax, ay), (bx, by)) = (at(begin, begin), at(end, end));
            _ = write!(svg, "<line class=\"diagonal\" x1=\"{ax:.1}\" y1=\"{ay:.1}\" x2=\"{bx:.1}\" y2=\"{by:.1}\"/>");
        }
        for (x, y) in self.dots.iter().filter(|(x, y)| x.is_finite() && y.is_finite()) {
            let (x, y) = at(*x, *y);
            _ = write!(svg, "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"/>");
        }
        for (place, line) in self.lines.iter().enumerate() {
            let points = line.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite());
            let points: Vec<String> = points.map(|(x, y)| at(*x, *y)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            match points.as_slice() {
                [only] => {
                    let (x, y) = only.split_once(',').unwrap_or(("0", "0"));
                    _ = write!(svg, "<circle class=\"c{}\" cx=\"{x}\" cy=\"{y}\" r=\"3\"/>", place % 12);
                }
                points => _ = write!(svg, "<polyline class=\"l c{}\" points=\"{}\"/>", place % 12, points.join(" ")),
            }
        }
        _ = write!(
            svg,
            "<text class=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text><text class=\"middle\" transform=\"translate(13 {:.1}) rotate(-90)\">{}</text></svg>",
            left + (WIDTH - left - right) / 2.0,
            HEIGHT - 6.0,
            escaped(self.x),
            top + (HEIGHT - top - bottom) / 2.0,
            escaped(self.y)
        );
        if self.lines.len() > 1 {
            svg.push_str("<figcaption>");
            for (place, line) in self.lines.iter().enumerate() {
                _ = write!(
                    svg,
                    "<span class=\"key\"><span class=\"swatch c{}\"></span>{}</span>",
                    place % 12,
                    escaped(&line.name)
                );
            }
            svg.push_str("</figcaption>");
        }
        svg.push_str("</figure>");
        svg
    }
}

/// Returns counts as a row of small bars.
pub(super) fn bars(counts: &[u64], name: &str) -> String {
    let most = counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let width = 6 * counts.len();
    let mut svg = format!(
        "<svg class=\"bars\" viewBox=\"0 0 {width} 20\" role=\"img\" aria-label=\"Distribution of {}\">",
        escaped(name)
    );
    for (place, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let height = (20.0 * *count as f64 / most).max(1.0);
        _ = write!(svg, "<rect x=\"{}\" y=\"{:.1}\" width=\"5\" height=\"{height:.1}\"/>", 6 * place, 20.0 - height);
    }
    svg + "</svg>"
}

/// Returns about five round numbers within a range.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    if !(step > 0.0 && step.is_finite()) {
        return Vec::new();
    }
    let first = (low / step).ceil();
    (0..20).map(|place| (first + f64::from(place)) * step).take_while(|tick| *tick <= high + step * 1e-9).collect()
}

/// Returns a number of an axis, short.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".into()
    } else if !value.is_finite() {
        value.to_string()
    } else if (1e-3..1e6).contains(&size) {
        let digits = if size >= 100.0 { 1 } else { 4 };
        let text = format!("{value:.digits$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    } else {
        format!("{value:.2e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(ticks(0.0, 1.0), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks(-3.0, 12.0), [0.0, 5.0, 10.0].iter().map(|x| x - 0.0).collect::<Vec<_>>());
        assert!(ticks(f64::NAN, 1.0).is_empty());
    }

    #[test]
    fn chart_without_points_is_nothing_and_names_are_text() {
        let chart = |points| Chart {
            title: "a<b",
            x: "x",
            y: "y",
            lines: vec![ChartLine { name: "l".into(), points }],
            dots: Vec::new(),
            diagonal: false,
            range: None,
        };
        assert!(chart(vec![(0.0, f64::NAN)]).svg().is_empty());
        assert!(chart(vec![(0.0, 1.0), (1.0, 2.0)]).svg().contains("aria-label=\"a&lt;b\""));
    }
}
