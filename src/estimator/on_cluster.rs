//! Networks scored by the cluster's own Python workers: a lazy frame, whose rows stay on the cluster.

use spark_connect::{
    Column, functions,
    types::{DataType, StructField},
};

use super::features;
use crate::{
    Result,
    dataframe::{DataFrame, Global, PythonFunction, Schema, Workers, column, function, is_vector, with_metadata},
    model::{NumpyNetwork, numpy_source},
    tensor::OnInvalid,
};

/// The column of the function's result, until its fields are columns.
const SCORED: &str = "__tinderbox_scored";

/// Up to this many bytes weights travel within the plan, with every request that names it; more are a file of the
/// session.
const INLINE: usize = 256 << 10;

/// A stage whose columns the cluster's workers may compute.
pub(crate) struct ClusterStage {
    /// The network, or why numpy cannot compute it.
    pub(super) network: Result<NumpyNetwork, String>,
    pub(super) on_invalid: OnInvalid,
    /// Name in plans.
    pub(super) name: &'static str,
    /// The type of numbers in arrays that the function gives.
    pub(super) number: DataType,
}

impl ClusterStage {
    /// Returns the frame with the stage's columns, or why the cluster cannot compute them; `after` is the schema with
    /// them.
    ///
    /// # Errors
    /// [`Error::Unreachable`](crate::Error::Unreachable); a failed upload of the weights.
    pub(super) async fn transform(
        self,
        frame: &DataFrame,
        before: &Schema,
        after: &Schema,
    ) -> Result<Result<DataFrame, String>> {
        let network = match self.network {
            Ok(network) => network,
            Err(reason) => return Ok(Err(reason)),
        };
        if before.repeated_name().is_some() {
            return Ok(Err("several columns have one name".into()));
        }
        let arguments: Result<Vec<Column>, String> =
            network.columns.iter().map(|name| argument(before, name, network.sequences)).collect();
        let arguments = match arguments {
            Ok(arguments) => arguments,
            Err(reason) => return Ok(Err(reason)),
        };
        let workers = match Workers::of(frame).await? {
            Ok(workers) => workers,
            Err(reason) => return Ok(Err(reason)),
        };
        let added = &after.fields()[before.fields().len()..];
        // A Connect server without Spark ML's vectors keeps the arrays.
        let has_vectors = frame.has_vectors().await?;
        let result = added.iter().enumerate().map(|(i, field)| StructField {
            name: format!("o{i}"),
            data_type: match is_vector(&field.data_type) {
                true => DataType::Array { element_type: Box::new(self.number.clone()), contains_null: false },
                false => field.data_type.clone(),
            },
            nullable: true,
            metadata: Default::default(),
        });
        let mut names =
            vec![("source", Global::Text(numpy_source().to_owned())), ("text", Global::Text(network.description))];
        let data = match network.weights.len() {
            0..=INLINE => {
                names.push(("data", Global::Bytes(network.weights)));
                "np.frombuffer(data, '<f4')"
            }
            _ => {
                names.push(("file", Global::Text(frame.client().upload_file(network.weights.into()).await?)));
                "np.memmap(__import__('pyspark').SparkFiles.get(file), '<f4', 'r')"
            }
        };
        let python = PythonFunction {
            name: self.name.into(),
            expression: format!("(exec(source), make(text, {data}))[1]"),
            names,
            result: DataType::Struct { fields: result.collect() },
            // A filter of a deterministic function is moved before it, which would then run twice.
            deterministic: self.on_invalid != OnInvalid::Skip,
        };
        let mut scored = frame.with_python(SCORED, &python, &arguments, &workers);
        if self.on_invalid == OnInvalid::Skip {
            scored = scored.filter(column(SCORED).is_not_null());
        }
        let columns = added.iter().enumerate().map(|(i, field)| {
            let value = column(SCORED).get_field(&format!("o{i}"));
            let value = if is_vector(&field.data_type) && has_vectors { vector(value) } else { value };
            let metadata = field.metadata.clone().into_iter().collect();
            (&field.name, with_metadata(value, &field.name, &metadata))
        });
        Ok(Ok(scored.with_columns(columns.collect::<Vec<_>>()).drop([SCORED])))
    }
}

/// Returns an input of the function: a number, an array of numbers, or an array of steps.
fn argument(schema: &Schema, name: &str, sequences: bool) -> Result<Column, String> {
    let top = schema.names().any(|known| known.eq_ignore_ascii_case(name));
    if !top {
        return Err(format!("`{name}` is a field within a struct"));
    }
    let field = schema.require(name).map_err(|error| error.to_string())?;
    if !sequences {
        return features::single(schema, name).map_err(|_| format!("`{name}` is {}", field.data_type.simple_string()));
    }
    let number = |data_type: &DataType| features::is_number(data_type);
    let steps = match &field.data_type {
        DataType::Array { element_type, .. } if number(element_type) => "array<float>",
        DataType::Array { element_type, .. } => match element_type.as_ref() {
            DataType::Array { element_type, .. } if number(element_type) => "array<array<float>>",
            _ => return Err(format!("`{name}` is {}", field.data_type.simple_string())),
        },
        other => return Err(format!("`{name}` is {}", other.simple_string())),
    };
    Ok(column(name).cast_str(steps))
}

/// Returns an array as a vector; null for null, which Spark's own function does not take.
pub(super) fn vector(array: Column) -> Column {
    let vector = function("array_to_vector", [array.clone().cast_str("array<double>")]);
    functions::when(array.is_not_null(), vector)
}
