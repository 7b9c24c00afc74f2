//! Images: encoded bytes, or rows of Spark's own `image` source.

use std::io::Cursor;

use arrow::{
    array::{Array, AsArray, LargeBinaryArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Schema},
};
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, Limits};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    super::{
        ElementType, RowShape, TensorField,
        cells::{CellFault, Cells, Values},
        columns::{position, typed},
    },
    ColumnReader,
    resize::{Picture, PixelRect},
    spark_image,
};
use crate::{DataProblem, Error, Result};

/// Images of at most so many pixels are decoded unless told otherwise: 64 Mi, 192 MiB of them in colour.
const MOST_PIXELS: u64 = 64 << 20;

/// Colours that are kept of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageColor {
    /// Red, green and blue.
    #[default]
    Rgb,
    /// One channel, ITU-R 601 luma as Pillow's `convert("L")` has it.
    Grey,
}

/// Conversion of an image to the target size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageFit {
    /// All of it is resized, whatever that does to its proportions: Pillow's `resize(size, BILINEAR)`.
    #[default]
    Stretch,
    /// The largest part in the middle that has the right proportions is resized: Pillow's `ImageOps.fit(…, BILINEAR)`.
    Cover,
    /// The middle is cut out unscaled; a smaller image is a fault.
    Crop,
}

/// The order of an image's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageLayout {
    /// Channels, rows, columns: what convolutions take.
    #[default]
    Chw,
    /// Rows, columns, channels.
    Hwc,
}

/// Reads images: PNG, JPEG or BMP bytes, or the rows of Spark's `image` source, whichever the column holds.
///
/// Gives single precision from 0 to 1, or bytes, of shape `[channels, height, width]` or `[height, width, channels]`.
/// Transparency is dropped, 16-bit channels are reduced to 8, the orientation in EXIF is not applied (as in Pillow).
/// A cell that cannot be decoded, is truncated, has no pixel or too many is a fault of its row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageReader {
    column: String,
    height: u32,
    width: u32,
    #[serde(default)]
    color: ImageColor,
    #[serde(default)]
    fit: ImageFit,
    #[serde(default)]
    layout: ImageLayout,
    #[serde(default)]
    bytes: bool,
    #[serde(default = "most_pixels")]
    max_pixels: u64,
}

fn most_pixels() -> u64 {
    MOST_PIXELS
}

impl ImageReader {
    /// Reads the images of a column in colour, resized to this many pixels.
    pub fn new(column: impl Into<String>, height: u32, width: u32) -> Self {
        let (color, fit, layout) = Default::default();
        Self { column: column.into(), height, width, color, fit, layout, bytes: false, max_pixels: MOST_PIXELS }
    }

    /// Keeps brightness only.
    pub fn grey(mut self) -> Self {
        self.color = ImageColor::Grey;
        self
    }

    /// Sets how images of other sizes are converted; [`ImageFit::Stretch`] by default.
    pub fn fit(mut self, fit: ImageFit) -> Self {
        self.fit = fit;
        self
    }

    /// Sets the order of the values; [`ImageLayout::Chw`] by default.
    pub fn layout(mut self, layout: ImageLayout) -> Self {
        self.layout = layout;
        self
    }

    /// Gives bytes from 0 to 255 in place of numbers from 0 to 1: a quarter of the memory.
    pub fn as_bytes(mut self) -> Self {
        self.bytes = true;
        self
    }

    /// Refuses images of more pixels, before memory is taken for them; 64 Mi by default.
    pub fn max_pixels(mut self, pixels: u64) -> Self {
        self.max_pixels = pixels;
        self
    }

    fn channels(&self) -> usize {
        match self.color {
            ImageColor::Rgb => 3,
            ImageColor::Grey => 1,
        }
    }

    fn count(&self) -> usize {
        self.channels() * self.height as usize * self.width as usize
    }

    /// Decodes one image into `out`, which has room for exactly its values; `values` are those of the 256 bytes.
    fn place<T: Copy>(&self, source: &ImageCells, row: usize, out: &mut [T], values: &[T; 256]) -> Result<(), String> {
        let picture = match source {
            ImageCells::Encoded(cells) => decode(cells.value(row), self.color, self.max_pixels)?,
            ImageCells::Spark(images) => images.picture(row, self.color, self.max_pixels)?,
        };
        let picture = self.to_size(picture)?;
        if self.layout == ImageLayout::Hwc || picture.channels == 1 {
            out.iter_mut().zip(&picture.pixels).for_each(|(o, v)| *o = values[usize::from(*v)]);
        } else {
            let plane = picture.width * picture.height;
            let (pixels, _) = picture.pixels.as_chunks::<3>();
            for (c, out) in out.chunks_exact_mut(plane).enumerate() {
                out.iter_mut().zip(pixels).for_each(|(o, pixel)| *o = values[usize::from(pixel[c])]);
            }
        }
        Ok(())
    }

    fn to_size(&self, picture: Picture) -> Result<Picture, String> {
        let (width, height) = (self.width as usize, self.height as usize);
        let (w, h) = (picture.width as f64, picture.height as f64);
        let part = match self.fit {
            ImageFit::Stretch => PixelRect(0.0, 0.0, w, h),
            ImageFit::Cover => {
                let ratio = width as f64 / height as f64;
                let (across, down) = if w / h == ratio {
                    (w, h)
                } else if w / h >= ratio {
                    (ratio * h, h)
                } else {
                    (w, w / ratio)
                };
                let (left, top) = ((w - across) * 0.5, (h - down) * 0.5);
                PixelRect(left, top, left + across, top + down)
            }
            ImageFit::Crop if picture.width < width || picture.height < height => {
                return Err(format!("is {w} × {h} pixels, too few to cut {width} × {height} out"));
            }
            ImageFit::Crop => {
                let left = ((picture.width - width) / 2) as f64;
                let top = ((picture.height - height) / 2) as f64;
                PixelRect(left, top, left + width as f64, top + height as f64)
            }
        };
        let whole = part == PixelRect(0.0, 0.0, w, h);
        if whole && (picture.width, picture.height) == (width, height) {
            return Ok(picture);
        }
        Ok(picture.resized(part, width, height))
    }

    fn read_all<T: Copy + Default + Send + Sync>(
        &self,
        batch: &RecordBatch,
        convert: fn(u8) -> T,
    ) -> Result<(Vec<T>, Vec<CellFault>)> {
        let column = batch.column(position(batch.schema_ref(), &self.column)?);
        let source = match column.data_type() {
            DataType::Struct(_) => ImageCells::Spark(Box::new(spark_image::Images::new(column, &self.column)?)),
            _ => {
                let bytes = cast(column, &DataType::LargeBinary)
                    .map_err(|e| Error::arrow(format!("reading the bytes of column `{}`", self.column), e))?;
                ImageCells::Encoded(bytes.as_binary().clone())
            }
        };
        let of_byte: [T; 256] = std::array::from_fn(|byte| convert(byte as u8));
        let rows = batch.num_rows();
        let values = rows.checked_mul(self.count()).filter(|n| *n <= i32::MAX as usize).ok_or_else(|| {
            Error::data(&self.column, DataProblem::too_many_numbers(rows.saturating_mul(self.count())))
        })?;
        let mut values = vec![T::default(); values];
        let cells = values.par_chunks_exact_mut(self.count()).enumerate();
        let faults = cells.filter_map(|(row, out)| {
            let read = match column.is_null(row) {
                true => Err("is null".to_owned()),
                false => self.place(&source, row, out, &of_byte),
            };
            read.err().map(|reason| CellFault { row, reason })
        });
        let faults: Vec<CellFault> = faults.collect();
        Ok((values, faults))
    }
}

/// The cells of a column of images.
enum ImageCells {
    Encoded(LargeBinaryArray),
    Spark(Box<spark_image::Images>),
}

impl ColumnReader for ImageReader {
    fn columns(&self) -> Vec<&str> {
        vec![&self.column]
    }

    fn bind(&self, name: &str, schema: &Schema) -> Result<TensorField> {
        if self.count() == 0 || self.count() > i32::MAX as usize {
            let size = format!("{} × {}", self.height, self.width);
            return Err(Error::param("height × width", size, "at least 1 × 1, and less than 2³¹ values"));
        }
        let fits: fn(&DataType) -> bool = |found| match found {
            DataType::Struct(fields) => spark_image::is_image(fields),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => true,
            _ => false,
        };
        typed(schema, &self.column, "bytes of images (binary), or Spark's image struct", fits)?;
        let (h, w) = (self.height as usize, self.width as usize);
        let dims = match self.layout {
            ImageLayout::Chw => vec![self.channels(), h, w],
            ImageLayout::Hwc => vec![h, w, self.channels()],
        };
        let element = if self.bytes { ElementType::U8 } else { ElementType::F32 };
        Ok(TensorField::new(name, element, RowShape::fixed(dims)))
    }

    fn read(&self, batch: &RecordBatch) -> Result<Cells> {
        let (values, faults) = if self.bytes {
            let (values, faults) = self.read_all(batch, |v| v)?;
            (Values::U8(values), faults)
        } else {
            let (values, faults) = self.read_all(batch, |v| f32::from(v) / 255.0)?;
            (Values::F32(values), faults)
        };
        Ok(Cells { values, offsets: None, faults })
    }
}

/// Decodes the bytes of one image; what went wrong, in words.
fn decode(bytes: &[u8], color: ImageColor, max_pixels: u64) -> Result<Picture, String> {
    let format = match bytes {
        [] => return Err("is empty".into()),
        [0x89, b'P', b'N', b'G', ..] => ImageFormat::Png,
        [0xff, 0xd8, ..] => ImageFormat::Jpeg,
        [b'B', b'M', ..] => ImageFormat::Bmp,
        _ => return Err(format!("is no PNG, JPEG or BMP: it begins with {:02x?}", &bytes[..bytes.len().min(4)])),
    };
    if format == ImageFormat::Jpeg && !jpeg_is_whole(bytes) {
        return Err("is a JPEG that ends before its image does: it is truncated".into());
    }
    let decoded = match format {
        ImageFormat::Png => image::codecs::png::PngDecoder::new(Cursor::new(bytes)).map(|d| read(d, color, max_pixels)),
        ImageFormat::Jpeg => {
            image::codecs::jpeg::JpegDecoder::new(Cursor::new(bytes)).map(|d| read(d, color, max_pixels))
        }
        _ => image::codecs::bmp::BmpDecoder::new(Cursor::new(bytes)).map(|d| read(d, color, max_pixels)),
    };
    decoded.unwrap_or_else(|e| Err(Failure::Image(e))).map_err(|e| match e {
        Failure::Image(e) => format!("is a {format:?} that cannot be decoded: {e}"),
        Failure::Words(words) => words,
    })
}

enum Failure {
    Image(image::ImageError),
    Words(String),
}

impl From<image::ImageError> for Failure {
    fn from(error: image::ImageError) -> Self {
        Failure::Image(error)
    }
}

/// Refuses sizes that are nothing, or more than is allowed.
pub(super) fn check_size(width: u64, height: u64, max_pixels: u64) -> Result<(), String> {
    match width.saturating_mul(height) {
        0 => Err(format!("is {width} × {height} pixels: there is nothing to see")),
        pixels if pixels > max_pixels => Err(format!(
            "is {width} × {height} pixels, more than the {max_pixels} allowed; raise max_pixels if it is meant"
        )),
        _ => Ok(()),
    }
}

fn read(mut decoder: impl ImageDecoder, color: ImageColor, max_pixels: u64) -> Result<Picture, Failure> {
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into(), max_pixels).map_err(Failure::Words)?;
    let mut limits = Limits::no_limits();
    // 16 bits in four channels, and as much again for the decoder's own work.
    limits.max_alloc = Some(max_pixels.saturating_mul(16).max(1 << 20));
    decoder.set_limits(limits)?;
    let (kind, (width, height)) = (decoder.color_type(), (width as usize, height as usize));
    let mut pixels = match kind {
        ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => {
            let mut pixels = vec![0; width * height * usize::from(kind.channel_count())];
            decoder.read_image(&mut pixels)?;
            pixels
        }
        _ => {
            let wide = DynamicImage::from_decoder(decoder)?;
            return Ok(to_color(wide.into_rgb8().into_raw(), width, height, 3, color));
        }
    };
    let channels = usize::from(kind.channel_count());
    if kind.has_alpha() {
        let opaque = channels - 1;
        pixels = pixels.chunks_exact(channels).flat_map(|pixel| &pixel[..opaque]).copied().collect();
        return Ok(to_color(pixels, width, height, opaque, color));
    }
    Ok(to_color(pixels, width, height, channels, color))
}

/// Returns one or three channels, as `color` says.
pub(super) fn to_color(pixels: Vec<u8>, width: usize, height: usize, found: usize, color: ImageColor) -> Picture {
    let (channels, pixels) = match (found, color) {
        (3, ImageColor::Grey) => (1, pixels.as_chunks::<3>().0.iter().map(|pixel| luma(*pixel)).collect()),
        (1, ImageColor::Rgb) => (3, pixels.iter().flat_map(|v| [*v; 3]).collect()),
        (found, _) => (found, pixels),
    };
    Picture { width, height, channels, pixels }
}

fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

/// Returns whether a JPEG's compressed data ends with the marker that says so. Decoders fill missing parts with grey.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    let mut at = 2;
    // Segments before the first scan may hold whole thumbnails, with their own end.
    while let Some([0xff, marker, high, low]) = bytes.get(at..at + 4) {
        match *marker {
            START_OF_SCAN => return bytes[at..].windows(2).rev().any(|pair| pair == [0xff, 0xd9]),
            // Fill bytes may stand before a marker.
            0xff => at += 1,
            _ => at += 2 + usize::from(u16::from_be_bytes([*high, *low])),
        }
    }
    false
}

#[cfg(test)]
mod tests;
