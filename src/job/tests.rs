use std::path::Path;

use super::{Job, JobFile, json_schema, manual};
use crate::{Error, dataframe::Schema, error::JobProblem};

const GOOD: &str = "\
[data]
table = \"iris\"
label = \"species\"

[columns]
\"sepal.length\" = \"number\"
\"größe\" = { kind = \"number\", scale = false }

[training]
epochs = 20
schedule = { cosine = { end_factor = 0.0 } }
optimizer = \"adam\"

[[network.layers]]
kind = \"linear\"
out_features = 4
";

fn problems(text: &str) -> Vec<JobProblem> {
    match JobFile::parse(text, "job.toml", &[]) {
        Err(Error::Job(found)) => found.problems,
        other => panic!("{other:?}"),
    }
}

fn change(key: &str, value: &str) -> [(String, String); 1] {
    [(key.to_owned(), value.to_owned())]
}

#[test]
fn job_is_read_with_its_defaults() {
    let file = JobFile::parse(GOOD, "jobs/job.toml", &[]).unwrap();
    let job = file.job();
    assert_eq!((job.training.epochs, job.split.test, job.columns.len()), (20, 0.2, 2));
    assert_eq!(file.resolve(Path::new("report.html")), Path::new("jobs/report.html"));
}

#[test]
fn all_mistakes_are_reported_at_once_with_their_places() {
    let text = GOOD.replace("epochs = 20", "epoch = 20").replace("table = ", "tabel = ");
    let text = text.replace("\"adam\"", "\"adma\"").replace("kind = \"linear\"", "kind = \"lineal\"");
    let found = problems(&text);
    let at: Vec<_> = found.iter().map(|problem| (problem.line, problem.column, problem.key.as_str())).collect();
    assert_eq!(
        at,
        [(2, 1, "data.tabel"), (10, 1, "training.epoch"), (12, 13, "training.optimizer"), (15, 8, "network.layers")]
    );
    for (problem, help) in found.iter().zip(["`table`", "`epochs`", "`adam`", "`linear`"]) {
        let said = problem.help.as_deref().unwrap_or("");
        assert!(said.contains(help), "{problem:?}");
    }
}

#[test]
fn wrong_types_and_missing_keys_are_reported() {
    let found = problems("[data]\ntable = 3\n\n[columns]\na = \"number\"\nb = [1]\n[training]\nepochs = \"many\"\n");
    let said: Vec<_> = found.iter().map(|problem| (problem.key.as_str(), problem.problem.as_str())).collect();
    assert!(said.contains(&("data.table", "expected a text, found the number 3")), "{said:?}");
    assert!(said.iter().any(|(key, problem)| *key == "data.label" && problem.contains("lacks `label`")), "{said:?}");
    assert!(said.iter().any(|(key, problem)| *key == "columns.b" && problem.contains("found a list")), "{said:?}");
    assert!(said.contains(&("training.epochs", "expected a whole number, found the text \"many\"")), "{said:?}");
}

#[test]
fn text_that_is_no_toml_is_refused_at_its_line() {
    let found = problems("[data\ntable = \"iris\"\n");
    assert_eq!(found[0].line, 1);
    assert!(matches!(problems("").as_slice(), [data, columns] if data.key == "data" && columns.key == "columns"));
}

#[test]
fn values_that_contradict_each_other_are_reported_together() {
    let text = GOOD.replace("table = \"iris\"", "table = \"iris\"\nsql = \"SELECT 1\"");
    let text = text.replace("epochs = 20", "epochs = 0") + "\n[split]\ntest = 0.7\nvalidation = 0.5\nby = \"key\"\n";
    let keys: Vec<_> = problems(&text).into_iter().map(|problem| problem.key).collect();
    assert_eq!(keys, ["data", "training.epochs", "split", "split.column"]);
    let label = GOOD.replace("\"sepal.length\"", "species");
    assert_eq!(problems(&label)[0].key, "columns.species");
}

#[test]
fn changes_are_made_before_the_job_is_checked() {
    let file = JobFile::parse(GOOD, "job.toml", &change("training.epochs", "7")).unwrap();
    assert_eq!(file.job().training.epochs, 7);
    let file = JobFile::parse(GOOD, "job.toml", &change("data.table", "lab.iris")).unwrap();
    assert_eq!(file.job().data.table.as_deref(), Some("lab.iris"));
    let file = JobFile::parse(GOOD, "job.toml", &change("output.model", "größe")).unwrap();
    assert_eq!(file.job().output.model.as_deref(), Some("größe"));
    let Err(Error::Job(found)) = JobFile::parse(GOOD, "job.toml", &change("training.epocs", "7")) else { panic!() };
    assert_eq!((found.problems[0].line, found.problems[0].key.as_str()), (0, "training.epocs"));
    let Err(Error::Job(found)) = JobFile::parse(GOOD, "job.toml", &change("training.epochs", "-1")) else { panic!() };
    assert_eq!(found.problems.len(), 1);
}

#[test]
fn columns_are_checked_against_the_table() {
    let schema = Schema::from_ddl("species BINARY, `sepal.length` STRING, `grösse` DOUBLE").unwrap();
    let file = JobFile::parse(GOOD, "job.toml", &[]).unwrap();
    let found = file.job().schema_problems(&schema);
    let keys: Vec<_> = found.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["columns.größe", "columns.\"sepal.length\"", "data.label"]);
    assert!(found[0].1.contains("did you mean `grösse`?"), "{found:?}");
}

#[test]
fn schema_and_manual_name_every_key() {
    let schema = json_schema();
    assert_eq!(schema.pointer("/properties/data/$ref").and_then(|path| path.as_str()), Some("#/$defs/DataSection"));
    let manual = manual();
    for key in ["`table`", "`epochs`", "`early_stopping`", "`dropout`", "`report`", "kind = \"image\"", "`by`"] {
        assert!(manual.contains(key), "{key} in\n{manual}");
    }
    assert!(manual == include_str!("../../docs/job.md"), "out of date: `tinderbox job manual > docs/job.md`");
}

#[test]
fn job_is_written_as_it_is_read() {
    let job = JobFile::parse(GOOD, "job.toml", &[]).unwrap().job().clone();
    let text = toml::to_string(&job).unwrap();
    let again: Job = JobFile::parse(&text, "job.toml", &[]).unwrap().job().clone();
    assert_eq!(job, again);
}
