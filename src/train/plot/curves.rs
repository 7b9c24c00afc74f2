//! Loss, metric and learning rate by epoch.

use plotters::prelude::*;

use super::{Area, COLOURS, Drawn, FONT, GRID, INK};
use crate::model::{EpochRecord, Evaluation, History};

/// Its name, its colour and its points.
type Line = (&'static str, RGBColor, Vec<(f64, f64)>);

struct Panel {
    title: &'static str,
    lines: Vec<Line>,
    /// Values that the axis shows in any case.
    shown: &'static [f64],
}

pub(super) fn draw<B: DrawingBackend>(area: &Area<B>, history: &History) -> Drawn<B> {
    let points = |value: &dyn Fn(&EpochRecord) -> Option<f64>| -> Vec<(f64, f64)> {
        let point = |e: &EpochRecord| Some((e.epoch as f64 + 1.0, value(e).filter(|v| v.is_finite())?));
        history.epochs.iter().filter_map(point).collect()
    };
    let both = |value: fn(&Evaluation) -> f64| {
        vec![
            ("training", COLOURS[0], points(&|e| Some(value(&e.training)))),
            ("held out", COLOURS[1], points(&|e| e.held_out.as_ref().map(value))),
        ]
    };
    let share = history.metric.is_share();
    let panels = [
        Panel { title: "loss", lines: both(|e| e.loss), shown: &[0.0] },
        Panel { title: history.metric.name(), lines: both(|e| e.metric), shown: if share { &[1.0] } else { &[0.0] } },
        Panel {
            title: "learning rate",
            lines: vec![("", COLOURS[2], points(&|e| (e.learning_rate > 0.0).then_some(e.learning_rate)))],
            shown: &[0.0],
        },
    ];
    for (panel, part) in panels.iter().zip(area.split_evenly((1, 3))) {
        panel.draw(&part, history.epochs.len())?;
    }
    Ok(())
}

impl Panel {
    fn draw<B: DrawingBackend>(&self, area: &Area<B>, epochs: usize) -> Drawn<B> {
        let values = self.lines.iter().flat_map(|line| &line.2).map(|point| point.1);
        let (low, high) = values
            .chain(self.shown.iter().copied())
            .fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        let room = if high > low { 0.05 * (high - low) } else { 0.05 * high.abs().max(1.0) };
        let last = epochs.max(1) as f64;
        let (first, last) = if epochs > 1 { (1.0, last) } else { (0.5, last + 0.5) };
        let digits = (1.0 - high.abs().max(low.abs()).max(1e-12).log10()).ceil().clamp(1.0, 8.0) as usize + 1;
        let mut chart = ChartBuilder::on(area)
            .caption(self.title, (FONT, 18).into_font().color(&INK))
            .margin(14)
            .x_label_area_size(38)
            .y_label_area_size(62)
            .build_cartesian_2d(first..last, (low - room)..(high + room))?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .x_desc("epoch")
            .label_style((FONT, 13).into_font().color(&INK))
            .x_labels(6)
            .y_labels(6)
            // Between two epochs there is nothing to name.
            .x_label_formatter(&|x| if (x - x.round()).abs() < 1e-6 { format!("{x:.0}") } else { String::new() })
            .y_label_formatter(&|y| format!("{y:.digits$}"))
            .draw()?;
        for (name, colour, points) in self.lines.iter().filter(|line| !line.2.is_empty()) {
            let colour = *colour;
            let drawn = chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?;
            if !name.is_empty() {
                drawn
                    .label(*name)
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
            }
            if points.len() <= 20 {
                chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
            }
        }
        if self.lines.iter().filter(|line| !line.0.is_empty() && !line.2.is_empty()).count() > 0 {
            let style = (FONT, 13).into_font().color(&INK);
            let corner =
                if self.shown == [1.0] { SeriesLabelPosition::LowerRight } else { SeriesLabelPosition::UpperRight };
            chart
                .configure_series_labels()
                .position(corner)
                .margin(8)
                .label_font(style)
                .background_style(WHITE)
                .draw()?;
        }
        Ok(())
    }
}
