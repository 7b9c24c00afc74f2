//! Rows of Spark's `image` source: `struct<origin, height, width, nChannels, mode, data>`, decoded on the cluster.

use arrow::{
    array::{ArrayRef, AsArray, Int32Array, LargeBinaryArray, StructArray},
    compute::cast,
    datatypes::{DataType, Fields, Int32Type},
};

use super::{
    image::{ImageColor, check_size, to_color},
    resize::Picture,
};
use crate::{Error, Result};

/// Returns whether a struct is an image of Spark's.
pub(super) fn is_image(fields: &Fields) -> bool {
    let has = |name: &str, fits: fn(&DataType) -> bool| {
        fields.iter().any(|field| field.name() == name && fits(field.data_type()))
    };
    let binary: fn(&DataType) -> bool =
        |t| matches!(t, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    ["height", "width", "nChannels"].iter().all(|name| has(name, |t| *t == DataType::Int32)) && has("data", binary)
}

/// The images of one batch. Their pixels are interleaved: grey, or blue, green, red and perhaps transparency.
pub(super) struct Images {
    height: Int32Array,
    width: Int32Array,
    channels: Int32Array,
    data: LargeBinaryArray,
}

impl Images {
    pub(super) fn new(column: &ArrayRef, name: &str) -> Result<Self> {
        let parts: &StructArray = column.as_struct();
        let part = |part: &str| {
            let found = parts.column_by_name(part);
            found.ok_or_else(|| Error::schema(name, format!("an image with `{part}`"), column.data_type().to_string()))
        };
        let whole = |name: &str| Ok::<_, Error>(part(name)?.as_primitive::<Int32Type>().clone());
        let data = cast(part("data")?, &DataType::LargeBinary)
            .map_err(|e| Error::arrow(format!("reading the pixels of column `{name}`"), e))?;
        Ok(Self {
            height: whole("height")?,
            width: whole("width")?,
            channels: whole("nChannels")?,
            data: data.as_binary().clone(),
        })
    }

    pub(super) fn picture(&self, row: usize, color: ImageColor, max_pixels: u64) -> Result<Picture, String> {
        let (width, height) = (self.width.value(row), self.height.value(row));
        let (Ok(w), Ok(h)) = (u64::try_from(width), u64::try_from(height)) else {
            return Err("is an image that Spark could not decode".into());
        };
        check_size(w, h, max_pixels)?;
        let (data, channels) = (self.data.value(row), self.channels.value(row));
        let expected = w * h * u64::try_from(channels).unwrap_or(0);
        if expected != data.len() as u64 || !matches!(channels, 1 | 3 | 4) {
            return Err(format!("has {} bytes for {w} × {h} pixels of {channels} channels", data.len()));
        }
        let pixels = match channels {
            1 => data.to_vec(),
            channels => data.chunks_exact(channels as usize).flat_map(|p| [p[2], p[1], p[0]]).collect(),
        };
        Ok(to_color(pixels, w as usize, h as usize, if channels == 1 { 1 } else { 3 }, color))
    }
}
