//! From gRPC's status to the crate's error, with all that Spark says of a failure.

use std::{collections::BTreeMap, time::Duration};

use spark_connect_proto::{FetchErrorDetailsResponse, fetch_error_details_response as details};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::retry::is_transport_failure;
use crate::{Error, QueryContext, ServerError};

/// Returns the id under which the server keeps the whole error, if it does.
pub(super) fn error_id(status: &Status) -> Option<String> {
    status.get_details_error_info()?.metadata.remove("errorId")
}

/// Returns the error's condition, as far as the status itself carries it.
pub(super) fn error_class(status: &Status) -> String {
    let stated = status.get_details_error_info().and_then(|mut info| info.metadata.remove("errorClass"));
    stated.unwrap_or_else(|| bracketed_class(status.message()).to_owned())
}

/// Returns whether the server has forgotten the operation.
pub(super) fn is_operation_unknown(status: &Status) -> bool {
    let class = error_class(status);
    class == "INVALID_HANDLE.OPERATION_NOT_FOUND" || class == "INVALID_HANDLE.SESSION_NOT_FOUND"
}

/// Returns whether the operation had already reached the server.
pub(super) fn is_operation_known(status: &Status) -> bool {
    error_class(status) == "INVALID_HANDLE.OPERATION_ALREADY_EXISTS"
}

/// Returns the error for a status that is not going to be retried.
pub(super) fn to_error(status: Status, full: Option<FetchErrorDetailsResponse>, address: &str) -> Error {
    if is_transport_failure(&status) {
        return unreachable(&status, Duration::ZERO, address);
    }
    let class = error_class(&status);
    if class.is_empty() && matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied) {
        return Error::Unauthenticated { address: address.into(), reason: status.message().into() };
    }
    Error::Server(Box::new(match full {
        Some(full) if !full.errors.is_empty() => from_details(full, &status),
        _ => from_status(&status),
    }))
}

/// Returns the error for a server that could not be reached for `waited`.
pub(super) fn unreachable(status: &Status, waited: Duration, address: &str) -> Error {
    let mut reason = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(source) = cause {
        let text = source.to_string();
        if !reason.contains(&text) {
            reason = format!("{reason}: {text}");
        }
        cause = source.source();
    }
    Error::Unreachable { address: address.into(), waited, reason }
}

fn from_status(status: &Status) -> ServerError {
    let (exception, mut facts) = status.get_details_error_info().map(|i| (i.reason, i.metadata)).unwrap_or_default();
    let parameters = facts.get("messageParameters").and_then(|json| serde_json::from_str(json).ok());
    ServerError {
        class: error_class(status),
        sql_state: facts.remove("sqlState").unwrap_or_default(),
        message: match status.message() {
            "" => format!("the server failed with gRPC status {:?} and said no more", status.code()),
            message => message.to_owned(),
        },
        parameters: parameters.unwrap_or_default(),
        exception,
        ..ServerError::default()
    }
}

fn from_details(full: FetchErrorDetailsResponse, status: &Status) -> ServerError {
    let root = full.root_error_idx.and_then(|i| usize::try_from(i).ok()).unwrap_or(0);
    let Some(error) = full.errors.get(root) else { return from_status(status) };
    let throwable = error.spark_throwable.clone().unwrap_or_default();
    ServerError {
        class: throwable.error_class.unwrap_or_else(|| error_class(status)),
        sql_state: throwable.sql_state.unwrap_or_default(),
        message: error.message.clone(),
        parameters: throwable.message_parameters.into_iter().collect::<BTreeMap<_, _>>(),
        contexts: throwable.query_contexts.into_iter().map(context).collect(),
        exception: error.error_type_hierarchy.first().cloned().unwrap_or_default(),
        causes: causes(&full.errors, error),
    }
}

fn context(context: details::QueryContext) -> QueryContext {
    QueryContext { fragment: context.fragment, summary: context.summary, call_site: context.call_site }
}

/// Follows the chain of causes; the server's indices are not trusted to be free of loops.
fn causes(errors: &[details::Error], root: &details::Error) -> Vec<String> {
    let next = |error: &details::Error| errors.get(usize::try_from(error.cause_idx?).ok()?);
    std::iter::successors(next(root), |error| next(error)).take(errors.len()).map(|e| e.message.clone()).collect()
}

/// Returns the condition in a message that begins with `[CLASS.SUB_CLASS]`.
fn bracketed_class(message: &str) -> &str {
    let inside = message.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or("", |(class, _)| class);
    let legal = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_' || c == '.';
    if inside.chars().all(legal) { inside } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_condition_is_read_from_the_message_when_nothing_else_names_it() {
        let class = |message| error_class(&Status::internal(message));
        assert_eq!(class("[INVALID_HANDLE.OPERATION_NOT_FOUND] gone"), "INVALID_HANDLE.OPERATION_NOT_FOUND");
        assert_eq!(class("[not a class] text"), "");
        assert_eq!(class("plain"), "");
        assert!(is_operation_unknown(&Status::internal("[INVALID_HANDLE.SESSION_NOT_FOUND] x")));
        assert!(!is_operation_unknown(&Status::internal("[INVALID_HANDLE.SESSION_CHANGED] x")));
    }

    #[test]
    fn details_win_over_the_status_and_loops_of_causes_end() {
        let error = |message: &str, cause| details::Error {
            message: message.into(),
            cause_idx: cause,
            error_type_hierarchy: vec!["org.apache.spark.SparkException".into()],
            spark_throwable: Some(details::SparkThrowable {
                error_class: Some("DIVIDE_BY_ZERO".into()),
                sql_state: Some("22012".into()),
                message_parameters: [("config".to_owned(), "ansi".to_owned())].into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let full = FetchErrorDetailsResponse {
            root_error_idx: Some(0),
            errors: vec![error("top", Some(1)), error("below", Some(0))],
            ..Default::default()
        };
        let Error::Server(e) = to_error(Status::internal("short"), Some(full), "h:1") else { panic!() };
        assert_eq!((e.class.as_str(), e.sql_state.as_str(), e.message.as_str()), ("DIVIDE_BY_ZERO", "22012", "top"));
        assert_eq!(e.parameters["config"], "ansi");
        assert_eq!(e.causes, ["below", "top"]);
        assert_eq!(e.exception, "org.apache.spark.SparkException");
    }

    #[test]
    fn refused_credentials_and_lost_connections_have_their_own_variants() {
        let refused = to_error(Status::unauthenticated("bad token"), None, "h:1");
        assert!(matches!(refused, Error::Unauthenticated { .. }), "{refused}");
        let lost = to_error(Status::unavailable("connection refused"), None, "h:1");
        assert!(matches!(lost, Error::Unreachable { .. }), "{lost}");
        let silent = to_error(Status::new(Code::ResourceExhausted, ""), None, "h:1");
        assert!(silent.to_string().contains("ResourceExhausted"), "{silent}");
    }
}
