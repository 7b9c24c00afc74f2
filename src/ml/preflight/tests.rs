use super::*;

fn report(classes: &[(usize, u64)]) -> PreflightReport {
    PreflightReport {
        rows: classes.iter().map(|(_, rows)| rows).sum(),
        columns: vec![ColumnCounts { name: "x".into(), lengths: Some((3, 3)), ..Default::default() }],
        label: Some("y".into()),
        classes: classes.iter().map(|&(label, rows)| ClassCount { label, rows }).collect(),
        class_names: None,
        weight: None,
        bad_labels: Vec::new(),
    }
}

fn refusal(change: impl FnOnce(&mut PreflightReport)) -> DataProblem {
    let mut report = report(&[(0, 30), (2, 10)]);
    report.check().unwrap();
    change(&mut report);
    match report.check().unwrap_err() {
        Error::Data { problem, .. } => problem,
        other => panic!("{other}"),
    }
}

fn found(problem: DataProblem) -> String {
    match problem {
        DataProblem::Values { found, .. } => found,
        other => panic!("{other}"),
    }
}

#[test]
fn what_cannot_be_learnt_from_is_refused_with_counts() {
    assert_eq!(refusal(|r| r.rows = 0), DataProblem::NoRows);
    let unusable = refusal(|r| (r.columns[0].nulls, r.columns[0].infinities) = (3, 1));
    assert_eq!(found(unusable), "null in 3, infinite in 1 of 40 rows");
    let uneven = refusal(|r| r.columns[0].lengths = Some((3, 4)));
    assert_eq!(found(uneven), "vectors of 3 to 4 elements");
    let negative = refusal(|r| r.bad_labels = vec![("negative", 2, Some(-1.0))]);
    assert_eq!(found(negative), "negative in 2 rows (such as -1)");
    assert_eq!(found(refusal(|r| r.class_names = Some(vec!["a".into(), "b".into()]))), "2 in 10 rows");
    assert_eq!(refusal(|r| r.classes.truncate(1)), DataProblem::OneClass { class: Some("0".into()) });
    let weights = |range, negatives| {
        refusal(|r| {
            r.weight = Some("w".into());
            r.columns.push(ColumnCounts { name: "w".into(), range: Some(range), negatives, ..Default::default() });
        })
    };
    assert_eq!(found(weights((-2.5, 1.0), 3)), "numbers below 0 in 3 of 40 rows (such as -2.5)");
    assert_eq!(found(weights((0.0, 0.0), 0)), "0 in all 40 rows");
}

#[test]
fn what_may_not_be_meant_is_warned_of() {
    assert_eq!(report(&[(0, 30), (1, 10)]).warnings(), [""; 0]);
    let mut odd = report(&[(0, 1000), (2, 9)]);
    odd.class_names = Some(["a", "b", "c"].map(String::from).to_vec());
    odd.columns[0].range = Some((3.5, 3.5));
    let warnings = odd.warnings();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(warnings[0].contains("column `x`: every number is 3.5"));
    assert!(warnings[1].contains("class 1 (`b`) has 0 of 1009 rows") && warnings[2].contains("class 2 (`c`) has 9"));
}

#[test]
fn feature_beyond_single_precision_is_warned_of_and_a_target_is_not() {
    let warnings = |range, whole, is_target| {
        let mut report = report(&[(0, 30), (1, 10)]);
        report.columns[0] =
            ColumnCounts { name: "x".into(), range: Some(range), whole, is_target, ..Default::default() };
        report.warnings()
    };
    assert_eq!(warnings((0.0, 16_777_216.0), true, false), [""; 0]);
    let ids = warnings((0.0, 16_777_217.0), true, false);
    assert!(ids.len() == 1 && ids[0].contains("column `x`") && ids[0].contains("embedding"), "{ids:?}");
    let times = warnings((1.7e9, 1.7e9 + 1000.0), false, false);
    assert!(times.len() == 1 && times[0].contains("only 6 values"), "{times:?}");
    assert_eq!(warnings((1.7e9, 1.7e9 + 1000.0), false, true), [""; 0]);
    assert_eq!(warnings((-1e9, 1e9), false, false), [""; 0]);
}

#[test]
fn weights_make_classes_count_alike() {
    assert_eq!(report(&[(0, 30), (2, 10)]).class_weights(), [40.0 / 60.0, 0.0, 2.0]);
}
