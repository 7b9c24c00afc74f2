//! The columns of canonical batches: what a network eats, as ordinary Arrow.
//!
//! A canonical batch has columns without nulls, one per [`TensorField`]:
//!
//! | rows | Arrow type | field metadata |
//! |---|---|---|
//! | one number | the element's own | |
//! | one shape for all | `FixedSizeList` of the element, row-major | the canonical extension `arrow.fixed_shape_tensor`; without it the shape is `[n]` |
//! | one shape for all, mostly zeros | `List` of `Struct<index: UInt32, value: Float32>` | [`SPARSE_KEY`], the number of values |
//! | ragged: only the first dimension differs between rows | `List` of the element, row-major | [`SHAPE_KEY`], as in `[null,12]` |

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field};
use serde::{Deserialize, Serialize};

use super::sparse::sparse_type;
use crate::{Error, Result};

/// The name of a canonical batch's column of labels: `u32` scalars are classes, `f64` or `f32` are targets.
pub(crate) const LABEL: &str = "label";
/// The name of a canonical batch's column of row weights, `f32` scalars.
pub(crate) const WEIGHT: &str = "weight";
/// The name of a canonical batch's column that is 1 for the rows to hold out and 0 for the others, `u8` scalars.
pub(crate) const HELD_OUT: &str = "held_out";

/// The field metadata that holds a ragged column's shape: a JSON array whose first entry is null.
pub(crate) const SHAPE_KEY: &str = "tinderbox.shape";
/// The field metadata that holds the number of values of a sparse row, zeros included.
pub(crate) const SPARSE_KEY: &str = "tinderbox.sparse";
const EXTENSION_NAME: &str = "ARROW:extension:name";
const EXTENSION_METADATA: &str = "ARROW:extension:metadata";
const FIXED_SHAPE: &str = "arrow.fixed_shape_tensor";

/// The type of a tensor's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ElementType {
    /// Single precision.
    F32,
    /// Double precision: targets, whose offset is removed before they become single.
    F64,
    /// Bytes, such as the pixels of an image.
    U8,
    /// Classes and token ids.
    U32,
}

impl ElementType {
    /// Returns the Arrow type of one value.
    pub fn data_type(self) -> DataType {
        match self {
            ElementType::F32 => DataType::Float32,
            ElementType::F64 => DataType::Float64,
            ElementType::U8 => DataType::UInt8,
            ElementType::U32 => DataType::UInt32,
        }
    }

    /// Bytes of one value.
    pub fn bytes(self) -> usize {
        match self {
            ElementType::U8 => 1,
            ElementType::F32 | ElementType::U32 => 4,
            ElementType::F64 => 8,
        }
    }

    fn from_data_type(data_type: &DataType) -> Option<Self> {
        let all = [ElementType::F32, ElementType::F64, ElementType::U8, ElementType::U32];
        all.into_iter().find(|element| element.data_type() == *data_type)
    }
}

/// The shape of one row.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RowShape {
    /// The dimensions; of a ragged row those after the first. A scalar has none.
    pub dims: Vec<usize>,
    /// True if each row has a separate first dimension before `dims`, as sequences do.
    pub ragged: bool,
}

impl RowShape {
    /// Creates the shape of one number a row.
    pub fn scalar() -> Self {
        Self::default()
    }

    /// Creates the shape of rows with the same dimensions.
    pub fn fixed(dims: impl Into<Vec<usize>>) -> Self {
        Self { dims: dims.into(), ragged: false }
    }

    /// As many steps as each row has, of these dimensions each.
    pub fn ragged(step: impl Into<Vec<usize>>) -> Self {
        Self { dims: step.into(), ragged: true }
    }

    /// Returns the number of values of a row, or of a step when ragged. Saturates.
    pub fn count(&self) -> usize {
        self.dims.iter().fold(1, |count, dim| count.saturating_mul(*dim))
    }
}

/// One column of a canonical batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorField {
    /// The column's name; the roles of `label`, `weight` and `held_out` go by it, all else is input.
    pub name: String,
    /// The type of the values.
    pub element: ElementType,
    /// The shape of one row.
    pub shape: RowShape,
    /// True if only the values that are not zero are kept, as [`SparseRows`](super::SparseRows).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sparse: bool,
}

impl TensorField {
    /// Puts a field together.
    pub fn new(name: impl Into<String>, element: ElementType, shape: RowShape) -> Self {
        Self { name: name.into(), element, shape, sparse: false }
    }

    /// Creates a field of rows of `width` numbers in single precision, most of them zero.
    pub fn sparse(name: impl Into<String>, width: usize) -> Self {
        Self { sparse: true, ..Self::new(name, ElementType::F32, RowShape::fixed([width])) }
    }

    /// Returns the number of values of a row, or of a step when ragged.
    pub fn count(&self) -> usize {
        self.shape.count()
    }

    /// Returns whether the column is input to the network rather than a label, a weight or a mark.
    pub fn is_input(&self) -> bool {
        ![LABEL, WEIGHT, HELD_OUT].contains(&self.name.as_str())
    }

    /// Returns the Arrow field, not nullable, that holds such rows. Arrow counts a fixed row's values in 31 bits: a row
    /// of more is laid out as the largest there can be, which no data fits.
    pub fn to_arrow(&self) -> Field {
        let item = Arc::new(Field::new_list_field(self.element.data_type(), false));
        let RowShape { dims, ragged } = &self.shape;
        if self.sparse {
            let metadata = HashMap::from([(SPARSE_KEY.to_owned(), self.count().to_string())]);
            return Field::new(&self.name, sparse_type(), false).with_metadata(metadata);
        }
        if *ragged {
            let shape = serde_json::Value::from_iter([None].into_iter().chain(dims.iter().copied().map(Some)));
            let metadata = HashMap::from([(SHAPE_KEY.to_owned(), shape.to_string())]);
            return Field::new(&self.name, DataType::List(item), false).with_metadata(metadata);
        }
        if dims.is_empty() {
            return Field::new(&self.name, self.element.data_type(), false);
        }
        let width = i32::try_from(self.count()).unwrap_or(i32::MAX);
        let metadata = HashMap::from([
            (EXTENSION_NAME.to_owned(), FIXED_SHAPE.to_owned()),
            (EXTENSION_METADATA.to_owned(), serde_json::json!({ "shape": dims }).to_string()),
        ]);
        Field::new(&self.name, DataType::FixedSizeList(item, width), false).with_metadata(metadata)
    }

    /// Reads the element and the shape off an Arrow field. Whether it is nullable is not looked at.
    ///
    /// # Errors
    /// [`Error::Schema`] with the column when its type is none of those above, or its metadata contradicts the type.
    pub fn from_arrow(field: &Field) -> Result<Self> {
        let name = field.name();
        let refused = |found: String| {
            let expected = "float, unsigned 8-bit or unsigned 32-bit numbers, fixed-size lists of them with a shape \
                            that fits, or lists of them";
            Error::schema(name, expected, found)
        };
        let element = |data_type: &DataType| {
            ElementType::from_data_type(data_type).ok_or_else(|| refused(field.data_type().to_string()))
        };
        let dims = |entries: &[Option<usize>]| entries.iter().copied().collect::<Option<Vec<usize>>>();
        match field.data_type() {
            list if *list == sparse_type() => {
                let width = field.metadata().get(SPARSE_KEY).and_then(|width| width.parse().ok());
                let width = width.filter(|width| *width > 0);
                let width =
                    width.ok_or_else(|| refused(format!("sparse rows without their width (`{SPARSE_KEY}`)")))?;
                Ok(Self::sparse(name, width))
            }
            DataType::FixedSizeList(item, width) => {
                let shape = match fixed_shape(field) {
                    None => vec![*width as usize],
                    Some(text) => shape_of_extension(&text)
                        .ok_or_else(|| refused(format!("the tensor metadata `{text}`, not in row-major order")))?,
                };
                let shape = RowShape::fixed(shape);
                if shape.count() != *width as usize || shape.count() == 0 || shape.dims.is_empty() {
                    return Err(refused(format!("shape {:?} for rows of {width} values", shape.dims)));
                }
                Ok(Self::new(name, element(item.data_type())?, shape))
            }
            DataType::List(item) => {
                let shape = match field.metadata().get(SHAPE_KEY) {
                    None => Vec::new(),
                    Some(text) => match serde_json::from_str::<Vec<Option<usize>>>(text).as_deref() {
                        Ok([None, step @ ..]) => dims(step),
                        _ => None,
                    }
                    .filter(|step| !step.contains(&0))
                    .ok_or_else(|| refused(format!("the shape `{text}`; such as [null,12] would fit")))?,
                };
                Ok(Self::new(name, element(item.data_type())?, RowShape::ragged(shape)))
            }
            other => Ok(Self::new(name, element(other)?, RowShape::scalar())),
        }
    }
}

/// Returns the metadata of Arrow's fixed-shape tensor, when the field is one.
fn fixed_shape(field: &Field) -> Option<String> {
    let metadata = field.metadata();
    (metadata.get(EXTENSION_NAME)? == FIXED_SHAPE)
        .then(|| metadata.get(EXTENSION_METADATA).cloned().unwrap_or_default())
}

/// Returns the shape of Arrow's fixed-shape tensor; none when it cannot be read or the values are not in row-major
/// order.
fn shape_of_extension(text: &str) -> Option<Vec<usize>> {
    #[derive(Deserialize)]
    struct Extension {
        shape: Vec<usize>,
        permutation: Option<Vec<usize>>,
    }
    let Extension { shape, permutation } = serde_json::from_str(text).ok()?;
    permutation.is_none_or(|p| p.into_iter().eq(0..shape.len())).then_some(shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_comes_back_from_arrow() {
        for element in [ElementType::F32, ElementType::F64, ElementType::U8, ElementType::U32] {
            for shape in [
                RowShape::scalar(),
                RowShape::fixed([4]),
                RowShape::fixed([3, 8, 5]),
                RowShape::ragged([]),
                RowShape::ragged([12]),
                RowShape::ragged([2, 3]),
            ] {
                let field = TensorField::new("x", element, shape);
                let arrow = field.to_arrow();
                assert!(!arrow.is_nullable());
                assert_eq!(TensorField::from_arrow(&arrow).unwrap(), field);
            }
        }
    }

    #[test]
    fn the_metadata_is_that_of_arrow() {
        let image = TensorField::new("image", ElementType::U8, RowShape::fixed([3, 2, 2])).to_arrow();
        assert_eq!(image.metadata()["ARROW:extension:name"], "arrow.fixed_shape_tensor");
        assert_eq!(image.metadata()["ARROW:extension:metadata"], r#"{"shape":[3,2,2]}"#);
        let frames = TensorField::new("frames", ElementType::F32, RowShape::ragged([12])).to_arrow();
        assert_eq!(frames.metadata()["tinderbox.shape"], "[null,12]");
        let bare = Field::new_fixed_size_list("x", Field::new_list_field(DataType::Float32, true), 7, true);
        assert_eq!(TensorField::from_arrow(&bare).unwrap().shape, RowShape::fixed([7]));
    }

    #[test]
    fn types_and_shapes_that_do_not_fit_are_refused_with_the_column() {
        let with = |field: &Field, key: &str, value: &str| {
            let mut metadata = field.metadata().clone();
            metadata.insert(key.into(), value.into());
            field.clone().with_metadata(metadata)
        };
        let image = TensorField::new("x", ElementType::U8, RowShape::fixed([3, 2])).to_arrow();
        let frames = TensorField::new("x", ElementType::F32, RowShape::ragged([2])).to_arrow();
        let widthless = TensorField::sparse("x", 3).to_arrow().with_metadata(HashMap::new());
        assert!(TensorField::from_arrow(&widthless).unwrap_err().to_string().contains("without their width"));
        assert_eq!(
            TensorField::from_arrow(&TensorField::sparse("x", 3).to_arrow()).unwrap(),
            TensorField::sparse("x", 3)
        );
        let list_of = |item| DataType::List(Arc::new(Field::new_list_field(item, false)));
        for (field, words) in [
            (Field::new("x", DataType::Utf8, false), "Utf8"),
            (Field::new("x", list_of(DataType::Float16), false), "Float16"),
            (with(&image, EXTENSION_METADATA, r#"{"shape":[3,3]}"#), "[3, 3] for rows of 6"),
            (with(&image, EXTENSION_METADATA, r#"{"shape":[3,2],"permutation":[1,0]}"#), "row-major"),
            (with(&image, EXTENSION_METADATA, "?"), "`?`"),
            (with(&frames, SHAPE_KEY, "[2]"), "`[2]`"),
            (with(&frames, SHAPE_KEY, "[null,0]"), "`[null,0]`"),
        ] {
            let message = TensorField::from_arrow(&field).unwrap_err().to_string();
            assert!(message.contains("`x`") && message.contains(words), "{message}");
        }
        let transposed = with(&image, EXTENSION_METADATA, r#"{"shape":[3,2],"permutation":[0,1]}"#);
        assert_eq!(TensorField::from_arrow(&transposed).unwrap().shape, RowShape::fixed([3, 2]));
    }

    #[test]
    fn a_shape_too_large_to_count_does_not_wrap_around() {
        let field = TensorField::new("x", ElementType::F32, RowShape::fixed([usize::MAX, 2]));
        assert_eq!(field.count(), usize::MAX);
        assert!(TensorField::from_arrow(&field.to_arrow()).is_err());
    }
}
