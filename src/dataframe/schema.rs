//! A frame's columns: names, Spark types, nullability, metadata.

use std::fmt;

use spark_connect::{
    column::Column,
    types::{DataType, StructField},
};
use spark_connect_proto as proto;

use super::{function, quote};
use crate::{Error, Result};

/// The key under which Spark puts a column's metadata, as JSON text, among the metadata of an Arrow field.
///
/// Spark does so from 4.2 on; streams of this crate have it with every version.
pub const METADATA_KEY: &str = "SPARK::metadata::json";

/// The columns of a frame.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Schema {
    fields: Vec<StructField>,
    /// True if the server has no vectors, so that stages give arrays of doubles in their place.
    arrays: bool,
}

impl Schema {
    /// Creates a schema of these columns.
    pub fn new(fields: impl IntoIterator<Item = StructField>) -> Self {
        Self { fields: fields.into_iter().collect(), arrays: false }
    }

    /// Reads Spark's DDL, such as `id BIGINT, name STRING NOT NULL`.
    ///
    /// # Errors
    /// [`Error::Param`] when the text is no DDL of columns.
    pub fn from_ddl(text: &str) -> Result<Self> {
        let fields: Option<Vec<_>> = columns_of(text).into_iter().map(column_from_ddl).collect();
        let legal = "columns in DDL, such as `id BIGINT, name STRING NOT NULL`";
        fields.map(Self::new).ok_or_else(|| Error::param("schema", format!("`{text}`"), legal))
    }

    /// Reads Spark's JSON form, metadata included.
    ///
    /// # Errors
    /// [`Error::Param`] when the text is no such schema.
    pub fn from_json(text: &str) -> Result<Self> {
        match DataType::from_json_str(text) {
            Ok(DataType::Struct { fields }) => Ok(Self::new(fields)),
            _ => Err(Error::param("schema", format!("`{text}`"), "a struct in Spark's JSON")),
        }
    }

    pub(crate) fn to_proto(&self) -> proto::DataType {
        DataType::Struct { fields: self.fields.clone() }.to_proto()
    }

    pub(super) fn from_proto(data_type: &proto::DataType) -> Result<Self> {
        match DataType::from_proto(data_type) {
            Ok(DataType::Struct { fields }) => Ok(Self::new(fields.into_iter().map(with_whole_vectors))),
            Ok(other) => Err(Error::schema("(whole row)", "a struct of columns", other.simple_string())),
            Err(error) => Err(Error::schema("(whole row)", "types that this version knows", error.to_string())),
        }
    }

    /// Returns the columns, in order.
    pub fn fields(&self) -> &[StructField] {
        &self.fields
    }

    /// Returns the names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.name.as_str())
    }

    /// Returns the column of a name: the one written exactly so, else the one that differs only in case, as Spark
    /// resolves it; else the field within a struct that `a.b` leads to.
    pub fn get(&self, name: &str) -> Option<&StructField> {
        self.top(name).or_else(|| within(&self.fields, name))
    }

    /// Returns the column of a name, fields within structs aside.
    pub(super) fn top(&self, name: &str) -> Option<&StructField> {
        find(&self.fields, name)
    }

    /// Returns the column of a name.
    ///
    /// # Errors
    /// [`Error::Schema`] when there is none; it lists the columns there are.
    pub fn require(&self, name: &str) -> Result<&StructField> {
        self.get(name).ok_or_else(|| {
            const SHOWN: usize = 20;
            let mut names: Vec<&str> = self.names().take(SHOWN).collect();
            if self.fields.len() > SHOWN {
                names.push("…");
            }
            Error::schema(name, "a column of this name", format!("columns {}", names.join(", ")))
        })
    }

    /// Returns a name that several columns have, letter case aside, as after a join.
    pub fn repeated_name(&self) -> Option<&str> {
        let mut seen = std::collections::HashSet::with_capacity(self.fields.len());
        self.names().find(|name| !seen.insert(name.to_lowercase()))
    }

    /// Creates a schema of other columns on the same server.
    pub(crate) fn with_fields(&self, fields: impl IntoIterator<Item = StructField>) -> Self {
        Self { arrays: self.arrays, ..Self::new(fields) }
    }

    /// This schema, of a server that has vectors or not.
    pub(super) fn on_server(self, has_vectors: bool) -> Self {
        Self { arrays: !has_vectors, ..self }
    }

    /// Returns whether the server has Spark ML's vectors.
    pub(crate) fn has_vectors(&self) -> bool {
        !self.arrays
    }

    /// Returns the type of the vectors that stages give: Spark ML's, or an array of doubles on a server without.
    pub(crate) fn vector_type(&self) -> DataType {
        match self.arrays {
            true => DataType::Array { element_type: Box::new(DataType::Double), contains_null: true },
            false => vector_type(),
        }
    }

    /// Returns an array of doubles as such a vector.
    pub(crate) fn vector(&self, array: Column) -> Column {
        if self.arrays { array } else { function("array_to_vector", [array]) }
    }

    /// This schema with one more column at its end.
    ///
    /// # Errors
    /// [`Error::Schema`] when a column of the name exists.
    pub fn with(&self, field: StructField) -> Result<Self> {
        if self.top(&field.name).is_some() {
            return Err(Error::schema(field.name, "no column of this name yet (it is an output)", "one that exists"));
        }
        Ok(self.with_fields(self.fields.iter().cloned().chain([field])))
    }

    /// Returns the columns as DDL; `None` where DDL would lose something: metadata, or a type that is more than
    /// numbers, text, binary data, dates, times and arrays of those. Every Connect server reads it, where some read no
    /// JSON.
    pub(crate) fn to_ddl(&self) -> Option<String> {
        fn plain(data_type: &DataType) -> bool {
            use DataType as T;
            match data_type {
                T::Array { element_type, contains_null } => *contains_null && plain(element_type),
                T::String { collation } => collation == "UTF8_BINARY",
                T::Boolean | T::Byte | T::Short | T::Integer | T::Long | T::Float | T::Double | T::Binary | T::Date => {
                    true
                }
                T::Timestamp | T::TimestampNtz | T::Decimal { .. } => true,
                _ => false,
            }
        }
        let column = |field: &StructField| {
            let kept = !field.name.is_empty() && field.metadata.is_empty() && plain(&field.data_type);
            let null = if field.nullable { "" } else { " NOT NULL" };
            kept.then(|| format!("{} {}{null}", quote(&field.name), field.data_type.simple_string()))
        };
        let columns = self.fields.iter().map(column).collect::<Option<Vec<_>>>()?;
        (!columns.is_empty()).then(|| columns.join(", "))
    }

    /// Returns Spark's JSON form, metadata included.
    pub fn to_json(&self) -> String {
        DataType::Struct { fields: self.fields.clone() }.json()
    }
}

/// As `printSchema` has it: a line a column.
impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for field in &self.fields {
            let null = if field.nullable { "" } else { " not null" };
            writeln!(f, "{}: {}{null}", field.name, field.data_type.simple_string())?;
        }
        Ok(())
    }
}

/// Cuts DDL at the commas between columns.
fn columns_of(text: &str) -> Vec<&str> {
    let (mut depth, mut quote, mut from) = (0, None, 0);
    let mut columns = Vec::new();
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (None, '`' | '\'' | '"') => quote = Some(c),
            (None, '<' | '(') => depth += 1,
            (None, '>' | ')') => depth -= 1,
            (None, ',') if depth == 0 => {
                columns.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    columns.push(&text[from..]);
    columns
}

/// Reads a column of DDL: name, type, `NOT NULL`, and a comment, which is passed over.
fn column_from_ddl(text: &str) -> Option<StructField> {
    let upper = text.to_ascii_uppercase();
    let text = upper.find(" COMMENT ").map_or(text, |at| &text[..at]).trim();
    let words = text.to_ascii_uppercase();
    let required = words.strip_suffix("NULL").and_then(|rest| rest.trim_end().strip_suffix("NOT"));
    let (text, nullable) = required.map_or((text, true), |rest| (&text[..rest.len()], false));
    let (name, text) = match quoted_name(text) {
        Some((name, rest)) => (Some(name), format!("name {rest}")),
        None if text.starts_with('`') => return None,
        None => (None, text.to_owned()),
    };
    match DataType::from_ddl(&text) {
        Ok(DataType::Struct { mut fields }) if fields.len() == 1 => fields.pop().map(|field| StructField {
            name: name.unwrap_or(field.name),
            nullable: field.nullable && nullable,
            ..field
        }),
        _ => None,
    }
}

/// Returns a name in back-quotes at the beginning of a text, without them, and what follows it.
fn quoted_name(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('`')?;
    let mut name = String::new();
    let mut rest = inner;
    loop {
        let (part, after) = rest.split_once('`')?;
        name.push_str(part);
        // Two of them stand for one.
        match after.strip_prefix('`') {
            Some(more) => {
                name.push('`');
                rest = more;
            }
            None => return Some((name, after.trim_start().trim_start_matches(':'))),
        }
    }
}

/// Returns the field of a name: the one written exactly so, else the one that differs only in case.
fn find<'a>(fields: &'a [StructField], name: &str) -> Option<&'a StructField> {
    let exact = fields.iter().find(|field| field.name == name);
    exact.or_else(|| fields.iter().find(|field| field.name.to_lowercase() == name.to_lowercase()))
}

/// Returns the field that a dotted path leads to.
fn within<'a>(fields: &'a [StructField], path: &str) -> Option<&'a StructField> {
    path.match_indices('.').find_map(|(dot, _)| match &find(fields, &path[..dot])?.data_type {
        DataType::Struct { fields } => find(fields, &path[dot + 1..]).or_else(|| within(fields, &path[dot + 1..])),
        _ => None,
    })
}

const VECTOR: &str = "org.apache.spark.ml.linalg.VectorUDT";

/// Returns Spark ML's vector type.
pub fn vector_type() -> DataType {
    let field = |name: &str, data_type, nullable| StructField {
        name: name.into(),
        data_type,
        nullable,
        metadata: Default::default(),
    };
    let list = |element_type| DataType::Array { element_type: Box::new(element_type), contains_null: false };
    DataType::Udt {
        type_str: "udt".into(),
        jvm_class: Some(VECTOR.into()),
        python_class: Some("pyspark.ml.linalg.VectorUDT".into()),
        serialized_python_class: None,
        sql_type: Some(Box::new(DataType::Struct {
            fields: vec![
                field("type", DataType::Byte, false),
                field("size", DataType::Integer, true),
                field("indices", list(DataType::Integer), true),
                field("values", list(DataType::Double), true),
            ],
        })),
    }
}

/// Returns the field, its vectors as [`vector_type`] has them: they arrive without the struct that they are stored as.
fn with_whole_vectors(field: StructField) -> StructField {
    fn whole(data_type: DataType) -> DataType {
        match data_type {
            vector if is_vector(&vector) => vector_type(),
            DataType::Struct { fields } => {
                DataType::Struct { fields: fields.into_iter().map(with_whole_vectors).collect() }
            }
            DataType::Array { element_type, contains_null } => {
                DataType::Array { element_type: Box::new(whole(*element_type)), contains_null }
            }
            other => other,
        }
    }
    StructField { data_type: whole(field.data_type), ..field }
}

/// Returns whether the type is Spark ML's vector.
pub fn is_vector(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Udt { jvm_class: Some(class), .. } if class == VECTOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str) -> StructField {
        StructField { name: name.into(), data_type: DataType::Long, nullable: true, metadata: Default::default() }
    }

    #[test]
    fn dotted_name_is_a_column_before_it_is_a_field_of_a_struct() {
        let typed = |name: &str, data_type| StructField { data_type, ..field(name) };
        let inner = typed("c", DataType::Struct { fields: vec![typed("d", DataType::Date)] });
        let outer = DataType::Struct { fields: vec![typed("b", DataType::Integer), inner] };
        let schema = Schema::new([typed("a", outer), typed("A.C", DataType::Double)]);
        let found = |name: &str| schema.get(name).map(|field| field.data_type.simple_string());
        assert_eq!(found("a.B").as_deref(), Some("int"));
        assert_eq!(found("a.c.d").as_deref(), Some("date"));
        assert_eq!(found("a.c").as_deref(), Some("double"));
        assert_eq!((found("a.x"), found("b"), found("a.b.c")), (None, None, None));
        assert!(schema.with(field("a.b")).is_ok() && schema.with(field("a.c")).is_err());
    }

    #[test]
    fn a_column_is_found_by_its_exact_name_before_another_case() {
        let schema = Schema::new([field("ID"), field("id"), field("Größe")]);
        assert_eq!(schema.get("id").unwrap().name, "id");
        assert_eq!(schema.get("GRÖSSE"), None);
        assert_eq!(schema.get("größe").unwrap().name, "Größe");
    }

    #[test]
    fn ddl_of_quoted_names_gives_the_names() {
        let schema = Schema::from_ddl("`a.b` BIGINT, `größe, ``q``` DOUBLE NOT NULL, `s`: STRING").unwrap();
        assert_eq!(schema.names().collect::<Vec<_>>(), ["a.b", "größe, `q`", "s"]);
        assert!(schema.fields()[0].nullable && !schema.fields()[1].nullable);
        assert!(Schema::from_ddl("`a BIGINT").is_err());
    }

    #[test]
    fn ddl_of_plain_columns_reads_back_and_nothing_is_lost() {
        let ddl = |text: &str| Schema::from_ddl(text).unwrap().to_ddl();
        for text in ["a bigint, t string", "x array<array<double>>, d decimal(10,2)", "t timestamp_ntz"] {
            let quoted: Vec<String> = text.split(", ").map(|c| format!("`{}` {}", &c[..1], &c[2..])).collect();
            assert_eq!(ddl(text), Some(quoted.join(", ")));
        }
        let required = StructField { nullable: false, ..field("a") };
        assert_eq!(Schema::new([required]).to_ddl().as_deref(), Some("`a` bigint NOT NULL"));
        assert_eq!(Schema::new([field("")]).to_ddl(), None, "DDL has no empty name");
        assert_eq!(Schema::new([field("a`b.c")]).to_ddl().as_deref(), Some("`a``b.c` bigint"));
        let tagged = StructField { metadata: [("k".to_owned(), 1.into())].into_iter().collect(), ..field("a") };
        assert_eq!(Schema::new([field("b"), tagged]).to_ddl(), None);
        let vector = StructField { data_type: vector_type(), ..field("v") };
        assert_eq!((Schema::new([vector]).to_ddl(), Schema::default().to_ddl()), (None, None));
    }

    #[test]
    fn a_missing_column_is_told_with_those_there_are() {
        let error = Schema::new((0..30).map(|i| field(&format!("c{i}")))).require("x").unwrap_err().to_string();
        assert!(error.contains("column `x`") && error.contains("c0, c1,") && error.ends_with("…"), "{error}");
        assert!(!error.contains("c20"), "{error}");
    }

    #[test]
    fn an_output_column_that_exists_is_refused() {
        let schema = Schema::new([field("a")]);
        assert_eq!(schema.with(field("b")).unwrap().names().collect::<Vec<_>>(), ["a", "b"]);
        assert!(schema.with(field("A")).is_err());
    }

    #[test]
    fn ddl_is_read_into_columns() {
        let schema = Schema::from_ddl("id BIGINT, tags ARRAY<STRING>").unwrap();
        assert_eq!(schema.to_string(), "id: bigint\ntags: array<string>\n");
        assert!(Schema::from_ddl("BIGINT,").is_err());
    }
}
