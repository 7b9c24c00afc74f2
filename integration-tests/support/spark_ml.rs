//! Spark ML's own operators, driven over Connect: what native stages are held against.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use spark_connect_proto::{
    self as proto,
    command::CommandType,
    execute_plan_response::ResponseType,
    expression::{Literal, literal::LiteralType},
    ml_operator::OperatorType,
    plan::OpType,
};
use tinderbox::{
    Result,
    advanced::{Client, Event, ExecuteOptions, IpcDecoder},
};

/// One of Spark ML's operators by its class, and its params by name.
#[derive(Debug, Clone)]
pub struct Operator {
    class: String,
    params: HashMap<String, Literal>,
}

impl Operator {
    /// The operator of a class such as `org.apache.spark.ml.feature.StringIndexer`; `feature.` classes by their last name.
    pub fn feature(class: &str) -> Self {
        Self { class: format!("org.apache.spark.ml.feature.{class}"), params: HashMap::new() }
    }

    /// The evaluator of a class of `org.apache.spark.ml.evaluation`.
    pub fn evaluator(class: &str) -> Self {
        Self { class: format!("org.apache.spark.ml.evaluation.{class}"), params: HashMap::new() }
    }

    /// Sets a whole-number param.
    pub fn int(self, name: &str, value: i32) -> Self {
        self.set(name, LiteralType::Integer(value))
    }

    /// Sets a text param.
    pub fn text(self, name: &str, value: &str) -> Self {
        self.set(name, LiteralType::String(value.to_owned()))
    }

    /// Sets a param that is a list of texts.
    pub fn texts(self, name: &str, values: &[&str]) -> Self {
        let strings = proto::data_type::String::default();
        let kind = proto::data_type::Kind::String(strings);
        let elements = values.iter().map(|v| literal(LiteralType::String((*v).to_owned()))).collect();
        #[expect(deprecated, reason = "servers before 4.1 read the element type from here")]
        let array =
            proto::expression::literal::Array { element_type: Some(proto::DataType { kind: Some(kind) }), elements };
        self.set(name, LiteralType::Array(array))
    }

    /// Sets a param that is a list of numbers.
    pub fn numbers(self, name: &str, values: &[f64]) -> Self {
        let kind = proto::data_type::Kind::Double(proto::data_type::Double::default());
        let elements = values.iter().map(|v| literal(LiteralType::Double(*v))).collect();
        #[expect(deprecated, reason = "servers before 4.1 read the element type from here")]
        let array =
            proto::expression::literal::Array { element_type: Some(proto::DataType { kind: Some(kind) }), elements };
        self.set(name, LiteralType::Array(array))
    }

    /// Sets a param that is a number.
    pub fn number(self, name: &str, value: f64) -> Self {
        self.set(name, LiteralType::Double(value))
    }

    /// Sets a boolean param.
    pub fn flag(self, name: &str, value: bool) -> Self {
        self.set(name, LiteralType::Boolean(value))
    }

    fn set(mut self, name: &str, value: LiteralType) -> Self {
        self.params.insert(name.to_owned(), literal(value));
        self
    }

    fn params(&self) -> proto::MlParams {
        proto::MlParams { params: self.params.clone() }
    }

    fn operator(&self, kind: OperatorType) -> proto::MlOperator {
        proto::MlOperator {
            name: self.class.clone(),
            uid: format!("reference_{}", uuid::Uuid::new_v4().simple()),
            r#type: kind.into(),
        }
    }

    /// The evaluator's figure for a relation.
    pub async fn evaluate(&self, client: &Client, dataset: proto::Relation) -> Result<f64> {
        use proto::{ml_command as ml, ml_command_result::ResultType};
        let evaluate = ml::Evaluate {
            evaluator: Some(self.operator(OperatorType::Evaluator)),
            params: Some(self.params()),
            dataset: Some(dataset),
        };
        let command = proto::MlCommand { command: Some(ml::Command::Evaluate(evaluate)) };
        let command = proto::Command { command_type: Some(CommandType::MlCommand(command)) };
        let plan = proto::Plan { op_type: Some(OpType::Command(command)) };
        let answers = client.execute(plan, ExecuteOptions::default()).responses().await?;
        let figure = answers.into_iter().find_map(|answer| match answer {
            ResponseType::MlCommandResult(proto::MlCommandResult { result_type: Some(ResultType::Param(figure)) }) => {
                match figure.literal_type {
                    Some(LiteralType::Double(figure)) => Some(figure),
                    _ => None,
                }
            }
            _ => None,
        });
        Ok(figure.expect("a figure"))
    }

    /// What the transformer makes of a relation.
    pub fn transform(&self, input: proto::Relation) -> proto::Relation {
        use proto::ml_relation::transform::Operator as By;
        transformed(By::Transformer(self.operator(OperatorType::Transformer)), input, self.params())
    }

    /// Fits the estimator on one relation; what its model makes of another.
    pub async fn fit_transform(
        &self,
        client: &Client,
        fitted_on: proto::Relation,
        input: proto::Relation,
    ) -> Result<proto::Relation> {
        use proto::{ml_command as ml, ml_command_result as result, ml_relation::transform::Operator as By};
        let fit = ml::Fit {
            estimator: Some(self.operator(OperatorType::Estimator)),
            params: Some(self.params()),
            dataset: Some(fitted_on),
        };
        let command = CommandType::MlCommand(proto::MlCommand { command: Some(ml::Command::Fit(fit)) });
        let plan = OpType::Command(proto::Command { command_type: Some(command) });
        let plan = proto::Plan { op_type: Some(plan) };
        let answers = client.execute(plan, ExecuteOptions::default()).responses().await?;
        let model = answers.into_iter().find_map(|answer| match answer {
            ResponseType::MlCommandResult(proto::MlCommandResult {
                result_type: Some(result::ResultType::OperatorInfo(info)),
            }) => match info.r#type {
                Some(result::ml_operator_info::Type::ObjRef(model)) => Some(model),
                _ => None,
            },
            _ => None,
        });
        Ok(transformed(By::ObjRef(model.expect("a fitted model")), input, proto::MlParams::default()))
    }
}

fn literal(value: LiteralType) -> Literal {
    Literal { literal_type: Some(value), ..Default::default() }
}

/// The relation of a SQL query.
pub fn sql(query: &str) -> proto::Relation {
    let sql = proto::Sql { query: query.to_owned(), ..Default::default() };
    proto::Relation { rel_type: Some(proto::relation::RelType::Sql(sql)), ..Default::default() }
}

fn transformed(
    operator: proto::ml_relation::transform::Operator,
    input: proto::Relation,
    params: proto::MlParams,
) -> proto::Relation {
    let transform =
        proto::ml_relation::Transform { operator: Some(operator), input: Some(Box::new(input)), params: Some(params) };
    let relation = proto::MlRelation {
        ml_type: Some(proto::ml_relation::MlType::Transform(Box::new(transform))),
        ..Default::default()
    };
    proto::Relation { rel_type: Some(proto::relation::RelType::MlRelation(Box::new(relation))), ..Default::default() }
}

/// The rows of a relation, with its schema as Spark has it.
pub async fn rows(client: &Client, relation: proto::Relation) -> Result<(proto::DataType, Vec<RecordBatch>)> {
    let plan = proto::Plan { op_type: Some(OpType::Root(relation)) };
    let mut events = client.execute(plan, ExecuteOptions::default());
    let (mut decoder, mut schema, mut batches) = (IpcDecoder::default(), None, Vec::new());
    while let Some(event) = events.try_next().await? {
        match event {
            Event::Schema(found) => schema = Some(found),
            Event::Batch(payload) => batches.extend(decoder.decode(payload.data, payload.rows)?),
            _ => {}
        }
    }
    Ok((schema.expect("a schema"), batches))
}
