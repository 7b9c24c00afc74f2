//! Python functions over Arrow columns, run by the cluster's own workers; this process needs no Python.

mod pickle;
mod workers;

use spark_connect::{column::Column, types::DataType};
use spark_connect_proto::{
    self as proto, common_inline_user_defined_function::Function, expression::ExprType, relation::RelType,
};

pub(crate) use self::{pickle::Global, workers::Workers};
use super::DataFrame;

/// Spark's number for a function that takes Arrow arrays and returns one (`SQL_SCALAR_ARROW_UDF`), since Spark 4.1.
const SCALAR_ARROW: i32 = 250;

/// A function of Arrow arrays that gives an Arrow array of as many values.
#[derive(Debug, Clone)]
pub(crate) struct PythonFunction {
    /// Name in plans.
    pub(crate) name: String,
    /// An expression whose value is the function.
    pub(crate) expression: String,
    /// Names that the expression uses.
    pub(crate) names: Vec<(&'static str, Global)>,
    pub(crate) result: DataType,
    /// False if Spark must not call it more than once a row, or move it in the plan.
    pub(crate) deterministic: bool,
}

impl DataFrame {
    /// Adds a column that a Python function computes of others.
    pub(crate) fn with_python(
        &self,
        name: &str,
        function: &PythonFunction,
        arguments: &[Column],
        workers: &Workers,
    ) -> DataFrame {
        let PythonFunction { expression, names, result, .. } = function;
        let json = result.json();
        let python = proto::PythonUdf {
            output_type: Some(result.to_proto()),
            eval_type: SCALAR_ARROW,
            command: pickle::function(expression, names, &json).into(),
            python_ver: workers.python.clone(),
            additional_includes: Vec::new(),
        };
        let call = proto::CommonInlineUserDefinedFunction {
            function_name: function.name.clone(),
            deterministic: function.deterministic,
            arguments: arguments.iter().map(Column::to_proto).collect(),
            is_distinct: false,
            function: Some(Function::PythonUdf(python)),
        };
        let call = proto::Expression {
            expr_type: Some(ExprType::CommonInlineUserDefinedFunction(call)),
            ..Default::default()
        };
        let alias = proto::expression::Alias { expr: Some(Box::new(call)), name: vec![name.into()], metadata: None };
        self.derive(RelType::WithColumns(Box::new(proto::WithColumns { input: None, aliases: vec![alias] })))
    }
}
