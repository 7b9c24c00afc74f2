//! Rows of this process: Arrow types in the forms that Spark reads, and the Spark types of these.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType as Arrow, Field, FieldRef, Fields, IntervalUnit, Schema as ArrowSchema, SchemaRef, TimeUnit},
};
use spark_connect::types::{DataType, StructField};

use super::{METADATA_KEY, Schema, vector_type};
use crate::{Error, Result};

/// Layout of rows of one Arrow schema for Spark.
#[derive(Debug, Clone)]
pub(crate) struct LocalRows {
    /// The Arrow types that are sent.
    pub(crate) arrow: SchemaRef,
    /// The Spark types they become.
    pub(crate) spark: Schema,
}

/// Decides the layout; `spark` overrides the types and metadata that the Arrow schema implies.
///
/// Spark reads fewer Arrow types than there are: the others are cast to the narrowest that holds every value.
pub(crate) fn lay_out(schema: &ArrowSchema, spark: Option<&Schema>) -> Result<LocalRows> {
    let mut sent = Vec::with_capacity(schema.fields().len());
    let mut implied = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let as_sent = sendable_field(field, field.name())?;
        implied.push(spark_field(&as_sent, field.name())?);
        sent.push(as_sent);
    }
    if let Some(given) = spark.filter(|given| given.fields().len() != implied.len()) {
        let found = format!("{} columns in the data", implied.len());
        return Err(Error::schema(
            "(whole row)",
            format!("{} columns, as the schema has", given.fields().len()),
            found,
        ));
    }
    Ok(LocalRows {
        arrow: Arc::new(ArrowSchema::new(sent)),
        spark: spark.cloned().unwrap_or_else(|| Schema::new(implied)),
    })
}

impl LocalRows {
    /// Returns the batch in the types that are sent.
    pub(crate) fn conform(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = batch.num_columns();
        if columns != self.arrow.fields().len() {
            let expected = format!("{} columns, as the first batch has", self.arrow.fields().len());
            return Err(Error::schema("(whole row)", expected, format!("{columns} columns")));
        }
        let cast = |(column, field): (&arrow::array::ArrayRef, &FieldRef)| {
            if column.data_type() == field.data_type() {
                return Ok(column.clone());
            }
            let options = CastOptions { safe: false, ..Default::default() };
            cast_with_options(column, field.data_type(), &options)
                .map_err(|e| Error::arrow(format!("casting column `{}` for Spark", field.name()), e))
        };
        let columns = batch.columns().iter().zip(self.arrow.fields()).map(cast).collect::<Result<Vec<_>>>()?;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.arrow.clone(), columns, &options)
            .map_err(|e| Error::arrow("laying out rows for Spark", e))
    }
}

fn sendable_field(field: &Field, column: &str) -> Result<Field> {
    Ok(field.clone().with_data_type(sendable(field.data_type(), column)?))
}

fn sendable(data_type: &Arrow, column: &str) -> Result<Arrow> {
    let nested = |field: &FieldRef| Ok::<_, Error>(Arc::new(sendable_field(field, column)?));
    Ok(match data_type {
        Arrow::UInt8 => Arrow::Int16,
        Arrow::UInt16 => Arrow::Int32,
        Arrow::UInt32 => Arrow::Int64,
        Arrow::UInt64 => Arrow::Decimal128(20, 0),
        Arrow::Float16 => Arrow::Float32,
        Arrow::Utf8View => Arrow::Utf8,
        Arrow::BinaryView | Arrow::FixedSizeBinary(_) => Arrow::Binary,
        Arrow::Date64 => Arrow::Date32,
        Arrow::Timestamp(_, zone) => Arrow::Timestamp(TimeUnit::Microsecond, zone.clone()),
        Arrow::Duration(_) => Arrow::Duration(TimeUnit::Microsecond),
        Arrow::Time32(_) | Arrow::Time64(_) => Arrow::Time64(TimeUnit::Nanosecond),
        Arrow::Decimal32(precision, scale) | Arrow::Decimal64(precision, scale) => {
            Arrow::Decimal128(*precision, *scale)
        }
        Arrow::Decimal256(_, scale) => Arrow::Decimal128(38, *scale),
        Arrow::Dictionary(_, values) => sendable(values, column)?,
        Arrow::RunEndEncoded(_, values) => sendable(values.data_type(), column)?,
        Arrow::List(item)
        | Arrow::LargeList(item)
        | Arrow::ListView(item)
        | Arrow::LargeListView(item)
        | Arrow::FixedSizeList(item, _) => Arrow::List(nested(item)?),
        Arrow::Struct(fields) => Arrow::Struct(fields.iter().map(nested).collect::<Result<Fields>>()?),
        Arrow::Map(entries, sorted) => Arrow::Map(nested(entries)?, *sorted),
        Arrow::Union(..) | Arrow::Interval(IntervalUnit::DayTime | IntervalUnit::MonthDayNano) => {
            return Err(Error::schema(
                column,
                "a type that Spark can read; cast it first",
                format!("Arrow {data_type}"),
            ));
        }
        same => same.clone(),
    })
}

fn spark_field(field: &Field, column: &str) -> Result<StructField> {
    let metadata = match field.metadata().get(METADATA_KEY) {
        Some(json) => serde_json::from_str(json).map_err(|e| {
            Error::schema(column, format!("a JSON object under {METADATA_KEY}"), format!("`{json}` ({e})"))
        })?,
        None => Default::default(),
    };
    let data_type = spark_type(field.data_type(), column)?;
    Ok(StructField { name: field.name().clone(), data_type, nullable: field.is_nullable(), metadata })
}

fn spark_type(data_type: &Arrow, column: &str) -> Result<DataType> {
    Ok(match data_type {
        Arrow::Null => DataType::Null,
        Arrow::Boolean => DataType::Boolean,
        Arrow::Int8 => DataType::Byte,
        Arrow::Int16 => DataType::Short,
        Arrow::Int32 => DataType::Integer,
        Arrow::Int64 => DataType::Long,
        Arrow::Float32 => DataType::Float,
        Arrow::Float64 => DataType::Double,
        Arrow::Utf8 | Arrow::LargeUtf8 => DataType::String { collation: "UTF8_BINARY".into() },
        Arrow::Binary | Arrow::LargeBinary => DataType::Binary,
        Arrow::Date32 => DataType::Date,
        Arrow::Timestamp(_, None) => DataType::TimestampNtz,
        Arrow::Timestamp(_, Some(_)) => DataType::Timestamp,
        Arrow::Time64(_) => DataType::Time { precision: 6 },
        Arrow::Duration(_) => DataType::DayTimeInterval { start_field: 0, end_field: 3 },
        Arrow::Interval(IntervalUnit::YearMonth) => DataType::YearMonthInterval { start_field: 0, end_field: 1 },
        Arrow::Decimal128(precision, scale) if *scale >= 0 => {
            DataType::Decimal { precision: i32::from(*precision), scale: i32::from(*scale) }
        }
        Arrow::List(item) => DataType::Array {
            element_type: Box::new(spark_type(item.data_type(), column)?),
            contains_null: item.is_nullable(),
        },
        Arrow::Map(entries, _) => match entries.data_type() {
            Arrow::Struct(pair) if pair.len() == 2 => DataType::Map {
                key_type: Box::new(spark_type(pair[0].data_type(), column)?),
                value_type: Box::new(spark_type(pair[1].data_type(), column)?),
                value_contains_null: pair[1].is_nullable(),
            },
            _ => return Err(Error::schema(column, "a map of keys and values", format!("Arrow {data_type}"))),
        },
        Arrow::Struct(fields) if is_vector_struct(fields) => vector_type(),
        Arrow::Struct(fields) => {
            DataType::Struct { fields: fields.iter().map(|f| spark_field(f, column)).collect::<Result<_>>()? }
        }
        _ => {
            return Err(Error::schema(
                column,
                "a type that Spark can read; cast it first",
                format!("Arrow {data_type}"),
            ));
        }
    })
}

/// Returns whether a struct is the Arrow form of Spark ML's vectors.
fn is_vector_struct(fields: &Fields) -> bool {
    let list_of = |field: &Field, item: Arrow| matches!(field.data_type(), Arrow::List(i) if *i.data_type() == item);
    let [kind, size, indices, values] = fields.as_ref() else { return false };
    let names = [kind.name(), size.name(), indices.name(), values.name()];
    names == ["type", "size", "indices", "values"]
        && *kind.data_type() == Arrow::Int8
        && *size.data_type() == Arrow::Int32
        && list_of(indices, Arrow::Int32)
        && list_of(values, Arrow::Float64)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, FixedSizeListArray, UInt64Array};
    use arrow::datatypes::{Decimal128Type, Float32Type, Int32Type};

    use super::*;

    fn layout(columns: Vec<(&str, ArrayRef)>) -> Result<(Vec<String>, RecordBatch)> {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let rows = lay_out(&batch.schema(), None)?;
        let types = rows.spark.fields().iter().map(|f| f.data_type.simple_string()).collect();
        Ok((types, rows.conform(&batch)?))
    }

    #[test]
    fn types_that_spark_lacks_are_sent_as_ones_that_hold_every_value() {
        let big: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX, 0]));
        let words: DictionaryArray<Int32Type> = ["a", "b"].into_iter().collect();
        let pairs = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
            [Some(vec![Some(1.0), Some(2.0)]), Some(vec![Some(3.0), None])],
            2,
        );
        let columns = vec![("big", big), ("words", Arc::new(words) as _), ("pairs", Arc::new(pairs) as _)];
        let (types, batch) = layout(columns).unwrap();
        assert_eq!(types, ["decimal(20,0)", "string", "array<float>"]);
        assert_eq!(batch.column(0).as_primitive::<Decimal128Type>().value(0), i128::from(u64::MAX));
        assert_eq!(batch.column(1).as_string::<i32>().value(1), "b");
        assert_eq!(batch.column(2).as_list::<i32>().value(1).as_primitive::<Float32Type>().null_count(), 1);
    }

    #[test]
    fn the_struct_form_of_a_vector_becomes_a_vector() {
        let list = |item| Arrow::List(Arc::new(Field::new("element", item, false)));
        let fields = |last: &str| {
            Fields::from(vec![
                Field::new("type", Arrow::Int8, false),
                Field::new("size", Arrow::Int32, true),
                Field::new("indices", list(Arrow::Int32), true),
                Field::new(last, list(Arrow::Float64), true),
            ])
        };
        assert_eq!(spark_type(&Arrow::Struct(fields("values")), "v").unwrap(), vector_type());
        assert!(matches!(spark_type(&Arrow::Struct(fields("other")), "v").unwrap(), DataType::Struct { .. }));
    }

    #[test]
    fn metadata_of_a_field_becomes_the_columns() {
        let metadata = [(METADATA_KEY.to_owned(), r#"{"ml_attr":{"type":"numeric"}}"#.to_owned())];
        let field = Field::new("x", Arrow::Float64, true).with_metadata(metadata.into());
        let rows = lay_out(&ArrowSchema::new(vec![field.clone()]), None).unwrap();
        assert!(rows.spark.to_json().contains(r#""metadata":{"ml_attr":{"type":"numeric"}}"#));
        let damaged = field.with_metadata([(METADATA_KEY.to_owned(), "{".to_owned())].into());
        assert!(lay_out(&ArrowSchema::new(vec![damaged]), None).unwrap_err().to_string().contains("column `x`"));
    }

    #[test]
    fn a_type_that_cannot_be_sent_is_told_by_its_column() {
        let field = Field::new("span", Arrow::Interval(IntervalUnit::MonthDayNano), true);
        let error = lay_out(&ArrowSchema::new(vec![field]), None).unwrap_err().to_string();
        assert!(error.contains("column `span`") && error.contains("cast it first"), "{error}");
    }
}
