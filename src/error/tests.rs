//! Text, kind and exit code of every variant.

use super::*;

/// Each variant of [`Error`], its kind, and its text.
fn gallery() -> Vec<(Error, ErrorKind, &'static str)> {
    let lost = || ServerError {
        class: "INVALID_HANDLE.SESSION_CHANGED".into(),
        message: "The existing Spark server driver instance has restarted.".into(),
        ..Default::default()
    };
    let refused = ServerError {
        class: "UNRESOLVED_COLUMN.WITH_SUGGESTION".into(),
        sql_state: "42703".into(),
        message: "A column cannot be resolved.".into(),
        contexts: vec![QueryContext { summary: "== SQL (line 1, position 8) ==".into(), ..Default::default() }],
        exception: "org.apache.spark.sql.AnalysisException".into(),
        ..Default::default()
    };
    let occupied = ServerError {
        class: "LOCATION_ALREADY_EXISTS".into(),
        message: "Cannot name the managed table as `t`.".into(),
        parameters: [("location".to_owned(), "'file:/warehouse/t'".to_owned())].into(),
        ..Default::default()
    };
    let seconds = Duration::from_secs;
    let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
    vec![
        (
            Error::BadAddress { url: "sc://h:x".into(), reason: "the port `x` is not a number".into() },
            ErrorKind::Usage,
            "bad connection string `sc://h:x`: the port `x` is not a number",
        ),
        (
            Error::Unreachable { address: "h:15002".into(), waited: seconds(3), reason: "connection refused".into() },
            ErrorKind::Connection,
            "cannot reach Spark Connect at h:15002 (gave up after 3.0 s): connection refused",
        ),
        (
            Error::Unauthenticated { address: "h:443".into(), reason: "401 Unauthorized".into() },
            ErrorKind::Access,
            "h:443 refused the credentials: 401 Unauthorized; check `token=` (or SPARK_CONNECT_AUTHENTICATE_TOKEN) and \
             `user_id=` of the connection string",
        ),
        (
            Box::new(refused).into(),
            ErrorKind::Server,
            "[UNRESOLVED_COLUMN.WITH_SUGGESTION] A column cannot be resolved. SQLSTATE: 42703\n\
             == SQL (line 1, position 8) ==",
        ),
        (
            Box::new(occupied).into(),
            ErrorKind::Server,
            "[LOCATION_ALREADY_EXISTS] Cannot name the managed table as `t`.\n\
             a write that the server did not survive may have left this folder: if no table needs it, remove \
             'file:/warehouse/t'",
        ),
        (
            Error::Unsupported {
                what: "a copy of a session".into(),
                needs: "4.1 or later".into(),
                version: "4.0.5".into(),
            },
            ErrorKind::Environment,
            "a copy of a session needs Spark 4.1 or later; the server runs 4.0.5",
        ),
        (
            Error::Incomplete { operation: "a1b2".into(), reason: "batch 3 is missing".into() },
            ErrorKind::Connection,
            "operation a1b2 cannot be completed: batch 3 is missing",
        ),
        (
            Error::Silent { operation: "a1b2".into(), waited: seconds(90), state: "it is running".into() },
            ErrorKind::Connection,
            "no news of operation a1b2 for 90 s: it is running; look at the server's log for what ended its work, such as \
             an OutOfMemoryError, and start it again",
        ),
        (
            Error::RowsLost { step: "reading group 3 of 16".into(), expected: 100, found: 97 },
            ErrorKind::Connection,
            "reading group 3 of 16: expected 100 rows, found 97; the data changed, or the plan gives other rows each time: \
             stage the rows first (`Strategy::Staged`)",
        ),
        (
            Error::KeptRowsLost { source: Box::new(Box::new(lost()).into()) },
            ErrorKind::Connection,
            "the cluster lost the rows that it kept ([INVALID_HANDLE.SESSION_CHANGED] The existing Spark server driver \
             instance has restarted.); open the source again, or stage its rows (`Strategy::Staged`), which survive a \
             restart",
        ),
        (Error::schema("age", "numbers", "string"), ErrorKind::Data, "column `age`: expected numbers, found string"),
        (Error::param("epochs", 0, "at least 1"), ErrorKind::Usage, "parameter `epochs` = 0: must be at least 1"),
        (
            Error::cell("age", 7, DataProblem::Malformed { reason: "expected no null, found some".into() }),
            ErrorKind::Data,
            "column `age`, row 7: expected no null, found some",
        ),
        (
            Error::Network { layer: "2 (linear)".into(), got: "8 values".into(), fits: "it takes 16".into() },
            ErrorKind::Usage,
            "layer 2 (linear): got 8 values; it takes 16",
        ),
        (
            Error::Diverged {
                epoch: 1,
                step: 60,
                quantity: "the loss".into(),
                value: f64::NAN,
                rows: 128,
                learning_rate: 0.5,
            },
            ErrorKind::Training,
            "training diverged at epoch 1, step 60: the loss is NaN over 128 rows at learning rate 0.5; lower the learning \
             rate, clip the gradients or scale the inputs",
        ),
        (
            Error::Interrupted {
                step: 40,
                checkpoints: "/runs/7".into(),
                source: Box::new(Error::Incomplete { operation: "a1b2".into(), reason: "batch 3 is missing".into() }),
            },
            ErrorKind::Connection,
            "operation a1b2 cannot be completed: batch 3 is missing; run it again to continue from the checkpoint of step \
             40 in /runs/7",
        ),
        (
            Error::ModelTable { table: "models".into(), reason: "version 2 has 3 of 4 rows".into() },
            ErrorKind::Storage,
            "model table `models`: version 2 has 3 of 4 rows",
        ),
        (
            Error::LocalSpark { reason: "no Java found".into(), log: "line".into() },
            ErrorKind::Environment,
            "local Spark: no Java found; the last lines of its log:\nline",
        ),
        (Error::io("weights", missing()), ErrorKind::Storage, "weights: entity not found"),
        (Error::arrow("reading a batch", missing()), ErrorKind::Internal, "arrow: reading a batch: entity not found"),
        (Error::tensor("a step", missing()), ErrorKind::Internal, "tensor: a step: entity not found"),
        (Error::Cancelled { what: "training".into() }, ErrorKind::Cancelled, "cancelled: training"),
    ]
}

#[test]
fn every_error_has_its_kind_and_text() {
    for (error, kind, text) in gallery() {
        println!("{error}\n");
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, text));
    }
}

#[test]
fn every_problem_of_data_has_its_text() {
    let problems = [
        (DataProblem::NoRows, "expected at least one row, found none; check the filters of the plan"),
        (
            DataProblem::AllSkipped { rows: 9 },
            "expected at least one usable row, found none: all 9 rows were skipped; correct them first",
        ),
        (DataProblem::NoValues { what: "word" }, "expected at least one word, found none; fill the column first"),
        (
            DataProblem::Unusable { rows: 2, of: Some(9), reason: "is null".into() },
            "is null; 2 of 9 rows cannot be used; fill or drop such rows, or set handleInvalid to skip",
        ),
        (
            DataProblem::Unusable { rows: 1, of: None, reason: "is null".into() },
            "is null; fill or drop such rows, or set handleInvalid to skip",
        ),
        (
            DataProblem::Values { expected: "weights".into(), found: "-1".into(), example: Some("{\"w\":-1}".into()) },
            "expected weights, found -1; filter or correct such rows first; one of them: {\"w\":-1}",
        ),
        (
            DataProblem::OneClass { class: Some("0 (`no`)".into()) },
            "expected at least two classes, found only 0 (`no`); check the filters of the plan",
        ),
        (DataProblem::OneClass { class: None }, "expected at least two classes, found one"),
        (
            DataProblem::UnknownCategory { value: 7.0, categories: 7, place: Some(2) },
            "expected a category from 0 to 6, found 7 as value 2; fit the index again, or declare more categories",
        ),
        (DataProblem::Length { expected: 4, found: 3 }, "expected 4 values a row, found 3"),
        (
            DataProblem::UnknownShape { reason: "no row has a value".into() },
            "the shape is unknown: no row has a value; declare it",
        ),
        (
            DataProblem::too_many_numbers(1 << 40),
            "expected at most 2147483647 numbers in one batch, found 1099511627776; read smaller batches",
        ),
        (
            DataProblem::EmptySplit { rows: 9, taken: 0, part: "held out".into() },
            "expected two parts with rows, found 0 of 9 rows held out; change the split",
        ),
        (DataProblem::NoMetric { candidates: 3 }, "expected a metric that is a number, found none among 3 candidates"),
        (DataProblem::Expression { message: "division by zero".into() }, "division by zero"),
        (DataProblem::Malformed { reason: "expected sequences".into() }, "expected sequences"),
    ];
    for (problem, text) in problems {
        println!("{problem}\n");
        assert_eq!(problem.to_string(), text);
    }
}

#[test]
fn error_retry_makes_sense_after_a_failure_and_not_after_a_refusal() {
    let server = |exception: &str| {
        Error::from(Box::new(ServerError { exception: exception.into(), ..Default::default() })).is_retryable()
    };
    assert!(server("org.apache.spark.SparkException"));
    assert!(!server("org.apache.spark.sql.AnalysisException"));
    let state = |sql_state: &str| {
        let exception = "org.apache.spark.SparkArithmeticException".into();
        Error::from(Box::new(ServerError { exception, sql_state: sql_state.into(), ..Default::default() }))
            .is_retryable()
    };
    assert!(!state("22012") && !state("42703") && !state("P0001"));
    assert!(state("58030") && state("XXKDA"));
    assert!(Error::RowsLost { step: "reading".into(), expected: 2, found: 1 }.is_retryable());
    assert!(!Error::param("epochs", 0, "at least 1").is_retryable());
}

#[test]
fn error_debug_is_its_message_and_each_cause_once() {
    let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
    let printed = format!("{:?}", Error::io("weights", missing));
    assert_eq!(printed, "weights: entity not found");
    let server = ServerError {
        message: "Job aborted.".into(),
        causes: vec!["Job aborted.".into(), "Java heap space\n".into()],
        ..Default::default()
    };
    assert_eq!(format!("{:?}", Error::from(Box::new(server))), "Job aborted.\ncaused by: Java heap space");
}

#[test]
fn server_error_condition_includes_its_sub_conditions() {
    let error = ServerError { class: "UNRESOLVED_COLUMN.WITH_SUGGESTION".into(), ..Default::default() };
    assert!(error.is("UNRESOLVED_COLUMN") && error.is("UNRESOLVED_COLUMN.WITH_SUGGESTION") && !error.is("UNRESOLVED"));
}
