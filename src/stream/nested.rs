//! Fields within structs.

use arrow::{
    array::{Array, ArrayRef, AsArray, make_array},
    buffer::NullBuffer,
    datatypes::{DataType, Field, Schema},
};

use crate::{Error, Result};

/// Finds the field at a dotted path: which column it is in, then which field of each struct. Letter case counts only
/// where names differ by nothing else.
pub(crate) fn nested_field<'a>(schema: &'a Schema, path: &str) -> Option<(Vec<usize>, &'a Field)> {
    within(&schema.fields, path)
}

fn within<'a>(fields: &'a arrow::datatypes::Fields, path: &str) -> Option<(Vec<usize>, &'a Field)> {
    let find = |name: &str| {
        let exact = fields.iter().position(|field| field.name() == name);
        exact.or_else(|| fields.iter().position(|field| field.name().to_lowercase() == name.to_lowercase()))
    };
    if let Some(place) = find(path) {
        return Some((vec![place], &fields[place]));
    }
    path.match_indices('.').find_map(|(dot, _)| {
        let place = find(&path[..dot])?;
        let DataType::Struct(inner) = fields[place].data_type() else { return None };
        let (mut places, field) = within(inner, &path[dot + 1..])?;
        places.insert(0, place);
        Some((places, field))
    })
}

/// Returns the field at these places; it is null where a struct around it is.
///
/// # Errors
/// [`Error::Arrow`] when the columns are not those of the schema in which the places were found.
pub(crate) fn nested_column(columns: &[ArrayRef], places: &[usize]) -> Result<ArrayRef> {
    let missing =
        || Error::arrow("reading a field of a struct", arrow::error::ArrowError::SchemaError("no such field".into()));
    let (first, inner) = places.split_first().ok_or_else(missing)?;
    let mut array = columns.get(*first).ok_or_else(missing)?.clone();
    for place in inner {
        let parent = array.as_struct_opt().ok_or_else(missing)?;
        let child = parent.columns().get(*place).ok_or_else(missing)?;
        let nulls = NullBuffer::union(parent.nulls(), child.nulls());
        let data = child.to_data().into_builder().nulls(nulls).build();
        array = make_array(data.map_err(|e| Error::arrow("reading a field of a struct", e))?);
    }
    Ok(array)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{Float64Array, StructArray},
        datatypes::{Fields, Float64Type},
    };

    use super::*;

    #[test]
    fn field_of_a_struct_is_null_where_the_struct_is() {
        let numbers: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), None, Some(3.0)]));
        let inner = Fields::from(vec![Field::new("x.y", DataType::Float64, true)]);
        let nulls = NullBuffer::from(vec![true, true, false]);
        let outer: ArrayRef = Arc::new(StructArray::new(inner.clone(), vec![numbers.clone()], Some(nulls)));
        let fields = vec![Field::new("A", DataType::Struct(inner), true), Field::new("a.z", DataType::Float64, true)];
        let schema = Schema::new(fields);
        let columns = [outer, numbers];
        let read = |path: &str| {
            let (places, field) = nested_field(&schema, path)?;
            let values = nested_column(&columns, &places).unwrap();
            Some((field.name().clone(), values.as_primitive::<Float64Type>().iter().collect::<Vec<_>>()))
        };
        assert_eq!(read("a.x.y"), Some(("x.y".into(), vec![Some(1.0), None, None])));
        assert_eq!(read("a.z"), Some(("a.z".into(), vec![Some(1.0), None, Some(3.0)])));
        assert_eq!(read("a.x"), None);
    }
}
