//! ROC curves.

use plotters::prelude::*;

use super::{Area, COLOURS, Drawn, FONT, GRID, INK, shortened};
use crate::model::RocCurve;

pub(super) fn draw<B: DrawingBackend>(area: &Area<B>, curves: &[(String, RocCurve)]) -> Drawn<B> {
    let mut chart = ChartBuilder::on(area)
        .caption("ROC", (FONT, 18).into_font().color(&INK))
        .margin(18)
        .x_label_area_size(42)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .x_desc("share of wrong rows taken")
        .y_desc("share of right rows found")
        .label_style((FONT, 13).into_font().color(&INK))
        .x_labels(6)
        .y_labels(6)
        .x_label_formatter(&|x| format!("{x:.1}"))
        .y_label_formatter(&|y| format!("{y:.1}"))
        .draw()?;
    chart.draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], INK.mix(0.3)))?;
    for (i, (name, curve)) in curves.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        chart
            .draw_series(LineSeries::new(curve.points().iter().copied(), colour.stroke_width(2)))?
            .label(format!("{} {:.3}", shortened(name, 20), curve.area()))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    let style = (FONT, 13).into_font().color(&INK);
    let corner = SeriesLabelPosition::LowerRight;
    chart.configure_series_labels().position(corner).margin(10).label_font(style).background_style(WHITE).draw()
}
