//! A confusion matrix as coloured cells.

use plotters::{
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::{Area, Drawn, FONT, INK, shortened};
use crate::model::ConfusionMatrix;

/// More classes than this leave no room for a number in a cell.
const NUMBERED: usize = 24;

pub(super) fn draw<B: DrawingBackend>(area: &Area<B>, matrix: &ConfusionMatrix, names: &[String]) -> Drawn<B> {
    let counts = matrix.counts();
    let classes = counts.len().max(1) as i32;
    let (width, height) = (area.dim_in_pixel().0 as i32, area.dim_in_pixel().1 as i32);
    let (left, top) = (130, 56);
    let cell = ((width - left - 24) / classes).min((height - top - 110) / classes).max(2);
    let font = |size: i32| (FONT, size).into_font().color(&INK);
    let middle = Pos::new(HPos::Center, VPos::Center);
    let side = cell * classes;

    let title = match matrix.rows() {
        0 => "no rows".into(),
        rows => format!("{:.1} % of {rows} rows right", 100.0 * matrix.accuracy()),
    };
    area.draw(&Text::new(title, (left + side / 2, 26), font(17).pos(middle)))?;
    for (truth, line) in counts.iter().enumerate() {
        let rows: u64 = line.iter().sum();
        let y = top + cell * truth as i32;
        for (predicted, &count) in line.iter().enumerate() {
            let x = left + cell * predicted as i32;
            let share = count as f64 / rows.max(1) as f64;
            area.draw(&Rectangle::new([(x, y), (x + cell - 1, y + cell - 1)], shade(share).filled()))?;
            if counts.len() <= NUMBERED {
                let ink = if share > 0.55 { WHITE } else { INK };
                let style = (FONT, (cell / 3).clamp(9, 18)).into_font().color(&ink).pos(middle);
                area.draw(&Text::new(count.to_string(), (x + cell / 2, y + cell / 2), style))?;
            }
        }
    }
    // Where cells are narrow, only some names fit.
    let every = (16 + cell) / cell;
    for class in (0..counts.len()).step_by(every as usize) {
        let name = shortened(&names.get(class).cloned().unwrap_or_else(|| class.to_string()), 14);
        let at = cell * class as i32 + cell / 2;
        let style = font(13).pos(Pos::new(HPos::Right, VPos::Center));
        area.draw(&Text::new(name.clone(), (left - 8, top + at), style))?;
        let upright = (FONT, 13).into_font().transform(FontTransform::Rotate270).color(&INK);
        let style = upright.pos(Pos::new(HPos::Right, VPos::Center));
        area.draw(&Text::new(name, (left + at, top + side + 8), style))?;
    }
    area.draw(&Text::new("predicted", (left + side / 2, height - 12), font(14).pos(middle)))?;
    let upright = (FONT, 14).into_font().transform(FontTransform::Rotate270).color(&INK).pos(middle);
    area.draw(&Text::new("true", (14, top + side / 2), upright))
}

/// From almost white to deep blue.
fn shade(share: f64) -> RGBColor {
    let mix = |from: f64, to: f64| (from + (to - from) * share.clamp(0.0, 1.0).sqrt()) as u8;
    RGBColor(mix(243.0, 8.0), mix(246.0, 72.0), mix(251.0, 140.0))
}
