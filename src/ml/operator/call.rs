//! Requests of Spark ML's operators to the server, and the answers.

use super::{MlValue, proto};
use crate::{Error, Result, dataframe::DataFrame};
use proto::{
    command::CommandType, execute_plan_response::ResponseType, ml_command::Command, ml_command_result as result,
    ml_relation::transform::Operator,
};

/// Returns the server's answer to a command.
pub(super) async fn answer(frame: &DataFrame, command: Command) -> Result<Option<result::ResultType>> {
    frame.client().version().require("Spark ML over Connect", 4, 0)?;
    let command = CommandType::MlCommand(proto::MlCommand { command: Some(command) });
    let answers = frame.command(command).await.map_err(|error| with_version(frame, error))?;
    Ok(answers.into_iter().find_map(|answer| match answer {
        ResponseType::MlCommandResult(result) => result.result_type,
        _ => None,
    }))
}

/// Returns another release may allow an operator that this server refuses: the error names the server's.
fn with_version(frame: &DataFrame, error: Error) -> Error {
    let refusals = ["CONNECT_ML.UNSUPPORTED_EXCEPTION", "CONNECT_ML.ATTRIBUTE_NOT_ALLOWED"];
    match error.server().filter(|server| refusals.iter().any(|refusal| server.is(refusal))) {
        Some(server) => Error::Unsupported {
            what: format!("this part of Spark ML ({})", server.message.trim()),
            needs: "of a release that allows it over Connect".into(),
            version: frame.client().version().to_string(),
        },
        None => error,
    }
}

/// Returns the id under which the server keeps what it made.
pub(super) fn reference(answer: Option<result::ResultType>, what: &str) -> Result<String> {
    use result::{ResultType, ml_operator_info::Type};
    match answer {
        Some(ResultType::OperatorInfo(info)) => match info.r#type {
            Some(Type::ObjRef(reference)) => Ok(reference.id),
            _ => Err(incomplete(what)),
        },
        Some(ResultType::Summary(id)) => Ok(id),
        _ => Err(incomplete(what)),
    }
}

/// Returns the value of an answer.
pub(super) fn value(answer: Option<result::ResultType>) -> Option<MlValue> {
    match answer? {
        result::ResultType::Param(literal) => Some(MlValue::from_proto(literal)),
        result::ResultType::Summary(id) => Some(MlValue::Text(id)),
        result::ResultType::OperatorInfo(_) => None,
    }
}

/// Returns the error for an incomplete answer.
pub(super) fn incomplete(what: &str) -> Error {
    Error::Incomplete { operation: "MlCommand".into(), reason: format!("the answer has not {what}") }
}

/// Returns the lazy frame that an operator makes of another.
pub(super) fn transformed(frame: &DataFrame, operator: Operator, params: proto::MlParams) -> DataFrame {
    let input = Some(Box::new(frame.relation()));
    let transform = proto::ml_relation::Transform { operator: Some(operator), input, params: Some(params) };
    over(frame, proto::ml_relation::MlType::Transform(Box::new(transform)))
}

/// Returns a frame of a relation of Spark ML's.
pub(super) fn over(frame: &DataFrame, relation: proto::ml_relation::MlType) -> DataFrame {
    let relation = proto::MlRelation { ml_type: Some(relation), ..Default::default() };
    let rel_type = Some(proto::relation::RelType::MlRelation(Box::new(relation)));
    DataFrame::from_relation(frame, proto::Relation { rel_type, ..Default::default() })
}
