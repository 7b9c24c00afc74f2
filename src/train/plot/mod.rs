//! Pictures of a training run: curves, confusion matrix, ROC; as SVG or PNG.

mod curves;
mod matrix;
mod roc;

use std::{fs, io, path::Path, sync::Once};

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use plotters::{
    coord::Shift,
    prelude::{BitMapBackend, DrawingArea, DrawingBackend, IntoDrawingArea, RGBColor, SVGBackend, WHITE},
    style::{FontStyle, register_font},
};

use crate::{
    Error, Result,
    model::{ConfusionMatrix, History, RocCurve},
};

/// Fonts that a viewer of an SVG looks for; pictures are measured and PNGs drawn with the first.
const FONT: &str = "DejaVu Sans, sans-serif";
const INK: RGBColor = RGBColor(60, 64, 72);
const GRID: RGBColor = RGBColor(226, 229, 234);
/// Colours that the colour-blind can distinguish (Okabe and Ito), the first two for training and validation rows.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 120, 120),
];

/// A picture, drawn on demand. Needs no display and no font of the system.
#[derive(Debug, Clone)]
pub struct Plot {
    content: Content,
    width: u32,
    height: u32,
}

#[derive(Debug, Clone)]
enum Content {
    Curves(History),
    Matrix(ConfusionMatrix, Vec<String>),
    Roc(Vec<(String, RocCurve)>),
}

type Area<B> = DrawingArea<B, Shift>;
type Drawn<B> = std::result::Result<(), plotters::drawing::DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

impl Plot {
    /// Loss, accuracy and learning rate by epoch, 1200 × 400 pixels.
    pub fn curves(history: &History) -> Self {
        Self { content: Content::Curves(history.clone()), width: 1200, height: 400 }
    }

    /// Counts by true and predicted class, darker the larger the share of the true class. `names` are the classes' by
    /// label; those that are missing are called by their number.
    pub fn confusion(matrix: &ConfusionMatrix, names: &[String]) -> Self {
        let side = (260 + 56 * matrix.counts().len() as u32).clamp(420, 1400);
        Self { content: Content::Matrix(matrix.clone(), names.to_vec()), width: side, height: side }
    }

    /// Draws one ROC curve or several, each with its name and its area, 600 × 600 pixels.
    pub fn roc(curves: impl IntoIterator<Item = (String, RocCurve)>) -> Self {
        Self { content: Content::Roc(curves.into_iter().collect()), width: 600, height: 600 }
    }

    /// Changes the size in pixels, each side between 100 and 10,000.
    pub fn size(mut self, width: u32, height: u32) -> Self {
        (self.width, self.height) = (width.clamp(100, 10_000), height.clamp(100, 10_000));
        self
    }

    /// Draws it as SVG.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be drawn.
    pub fn svg(&self) -> Result<String> {
        let mut text = String::new();
        self.draw(SVGBackend::with_string(&mut text, (self.width, self.height)).into_drawing_area())?;
        Ok(text)
    }

    /// Draws it as PNG.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be drawn.
    pub fn png(&self) -> Result<Vec<u8>> {
        let (width, height) = (self.width, self.height);
        let mut pixels = vec![255; width as usize * height as usize * 3];
        self.draw(BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area())?;
        let mut png = Vec::new();
        let encoded = PngEncoder::new(&mut png).write_image(&pixels, width, height, ExtendedColorType::Rgb8);
        encoded.map_err(|e| Error::io("plot", io::Error::other(e)))?;
        Ok(png)
    }

    /// Writes it to a file, as PNG or SVG by the name's ending.
    ///
    /// # Errors
    /// [`Error::Param`] for another ending, [`Error::Io`] when it cannot be drawn or written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let bytes = match path.extension().and_then(|e| e.to_str()) {
            Some("svg") => self.svg()?.into_bytes(),
            Some("png") => self.png()?,
            _ => return Err(Error::param("path", path.display(), "a name that ends in `.svg` or `.png`")),
        };
        fs::write(path, bytes).map_err(|e| Error::io(path, e))
    }

    fn draw<B: DrawingBackend>(&self, area: Area<B>) -> Result<()> {
        static FONTS: Once = Once::new();
        FONTS.call_once(|| {
            // The bytes are a part of the crate and read: a test draws with them.
            let _ = register_font(FONT, FontStyle::Normal, include_bytes!("font/DejaVuSans-subset.ttf"));
        });
        let drawn = area.fill(&WHITE).and_then(|()| match &self.content {
            Content::Curves(history) => curves::draw(&area, history),
            Content::Matrix(matrix, names) => matrix::draw(&area, matrix, names),
            Content::Roc(lines) => roc::draw(&area, lines),
        });
        let done = drawn.and_then(|()| area.present());
        done.map_err(|e| Error::io("plot", io::Error::other(e.to_string())))
    }
}

/// Returns a name short enough for its place.
fn shortened(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        return name.to_string();
    }
    name.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests;
