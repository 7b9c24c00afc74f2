//! A job for a table: what its columns may become, as a look at all of its rows tells.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray};
use spark_connect::{Column, functions, lit, types::DataType};

use super::{
    ColumnKind, ColumnSettings, ColumnUse, DataSection, Job, Missing, NetworkSection, OutputSection, SplitKind,
    SplitSection, TaskKind,
    check::{is_number, is_numbers, is_text},
};
use crate::{
    DataProblem, Error, Result,
    dataframe::{DataFrame, column, function},
    ml::{ColumnProfile, Histogram, TableProfile},
    train::{EarlyStopping, Schedule, TrainParams},
};

/// Classes up to which whole numbers are taken for classes.
const MOST_CLASSES: u64 = 20;

/// Values up to which text is taken for a category.
const MOST_CATEGORIES: u64 = 1_000;

/// Columns that are tried for leaks together.
const TOGETHER: usize = 50;

/// A job for a table.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// The job.
    pub job: Job,
    /// Columns that are left out, each with the reason.
    pub left_out: Vec<(String, String)>,
    /// Rows of the table.
    pub rows: u64,
    /// Remarks on the columns that are used.
    notes: BTreeMap<String, String>,
}

/// Form of a column, before it is known which forms go together.
enum Found {
    Use(ColumnUse, String),
    Leave(String),
}

/// Looks at a table and proposes a job that predicts a label.
///
/// Left out are identifiers, constants, columns that give the label away, and types that no network reads. `name` is
/// the table's, as SQL writes it.
///
/// # Errors
/// [`Error::Data`] for a table without rows or a label of one class; [`Error::Schema`] for a label that the table lacks or
/// that cannot be predicted, and where no column is left;
/// [`Error::Server`], [`Error::Unreachable`].
pub async fn propose(frame: &DataFrame, name: &str, label: &str) -> Result<Proposal> {
    let schema = frame.schema().await?;
    let label_name = schema.require(label)?.name.clone();
    let profile = TableProfile::of(frame).await?;
    let missing = || Error::schema(label, "a column of its own, not a field of a struct", "a field");
    let target = profile.column(&label_name).ok_or_else(missing)?;
    if profile.rows == 0 {
        return Err(Error::rows(DataProblem::NoRows));
    }
    let task = task(target)?;
    if task == TaskKind::Classes && target.is_constant(profile.rows) {
        let class = match &target.histogram {
            Some(Histogram::Values(values)) => values.first().map(|(value, _)| value.clone()),
            _ => None,
        };
        return Err(Error::data(&target.name, DataProblem::OneClass { class }));
    }
    let leaks = leaks(frame, &profile, target, task).await?;
    let mut columns = BTreeMap::new();
    let (mut left_out, mut notes) = (Vec::new(), BTreeMap::new());
    for column in profile.columns.iter().filter(|column| column.name != label_name) {
        let found = match leaks.get(&column.name) {
            Some(reason) => Found::Leave(reason.clone()),
            None => kind(frame, column, profile.rows).await?,
        };
        match found {
            Found::Use(used, note) => {
                columns.insert(column.name.clone(), used);
                notes.insert(column.name.clone(), note);
            }
            Found::Leave(reason) => left_out.push((column.name.clone(), reason)),
        }
    }
    leave_out_company(&mut columns, &mut left_out);
    if columns.is_empty() {
        let reasons: Vec<String> = left_out.iter().map(|(name, reason)| format!("`{name}`: {reason}")).collect();
        let found = if reasons.is_empty() { "no other column".into() } else { reasons.join("; ") };
        return Err(Error::schema(label, "other columns to predict it from", found));
    }
    notes.retain(|name, _| columns.contains_key(name));
    // A damaged file among thousands is no reason to train on none; they are counted.
    let is_image = |used: &ColumnUse| matches!(used.settings(), ColumnSettings::Image { .. });
    let missing = if columns.values().any(is_image) { Missing::Skip } else { Missing::default() };
    let job = Job {
        data: DataSection {
            missing,
            table: Some(name.to_owned()),
            label: label_name,
            task: Some(task),
            ..DataSection::default()
        },
        network: network(&columns, profile.rows),
        training: training(profile.rows),
        split: split(task, profile.rows),
        output: OutputSection { model: Some(model_name(name)), ..OutputSection::default() },
        columns,
        checkpoints: None,
        tune: None,
    };
    Ok(Proposal { job, left_out, rows: profile.rows, notes })
}

/// Returns what a label asks for.
fn task(label: &ColumnProfile) -> Result<TaskKind> {
    let distinct = label.distinct.unwrap_or(0);
    let named = label.attribute.as_ref().is_some_and(|attribute| attribute.classes().is_some());
    match &label.data_type {
        _ if named => Ok(TaskKind::Classes),
        other if is_numbers(other) => Ok(TaskKind::Labels),
        text if is_text(text) || *text == DataType::Boolean => Ok(TaskKind::Classes),
        DataType::Byte | DataType::Short | DataType::Integer | DataType::Long if distinct <= MOST_CLASSES => {
            Ok(TaskKind::Classes)
        }
        number if is_number(number) => Ok(TaskKind::Numbers),
        other => {
            let expected = "text, a boolean, a number or an array of numbers";
            Err(Error::schema(&label.name, expected, other.simple_string()))
        }
    }
}

/// Returns the columns that give the label away.
async fn leaks(
    frame: &DataFrame,
    profile: &TableProfile,
    label: &ColumnProfile,
    task: TaskKind,
) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    if profile.rows < 20 || task == TaskKind::Labels {
        return Ok(found);
    }
    let classes = label.distinct.unwrap_or(0);
    let tried = |column: &&ColumnProfile| {
        let other = column.name != label.name;
        match task {
            TaskKind::Numbers => other && is_number(&column.data_type) && column.histogram.is_some(),
            // As few values as there are classes, or a few more: each may belong to one class.
            _ => {
                let few = column.distinct.is_some_and(|distinct| distinct > 1 && distinct <= 2 * classes.max(2));
                other
                    && few
                    && (is_text(&column.data_type)
                        || is_number(&column.data_type)
                        || column.data_type == DataType::Boolean)
            }
        }
    };
    let tried: Vec<&ColumnProfile> = profile.columns.iter().filter(tried).collect();
    for part in tried.chunks(TOGETHER) {
        let aggregates = part.iter().flat_map(|other| {
            let (own, target) = (column(&other.name), column(&label.name));
            match task {
                TaskKind::Numbers => {
                    let [a, b] = [own, target].map(|column| column.cast_str("double"));
                    [function("corr", [a, b]), lit(1).cast_str("double")]
                }
                _ => {
                    let pairs = function("struct", [own.clone(), target]);
                    let distinct = |column: Column| functions::count_distinct(column).cast_str("double");
                    [distinct(pairs), distinct(own)]
                }
            }
        });
        let batches = frame.agg(aggregates.map(|aggregate| aggregate.alias("a"))).collect().await?;
        let Some(row) = batches.iter().find(|batch| batch.num_rows() > 0) else { continue };
        let value = |place: usize| {
            let numbers = row.column(place).as_primitive_opt::<arrow::datatypes::Float64Type>()?;
            numbers.is_valid(0).then(|| numbers.value(0))
        };
        for (place, other) in part.iter().enumerate() {
            let (Some(first), Some(second)) = (value(2 * place), value(2 * place + 1)) else { continue };
            let leaks = match task {
                TaskKind::Numbers => first.abs() > 0.9999,
                _ => first == second,
            };
            if leaks {
                let reason = match task {
                    TaskKind::Numbers => "gives the label away: the two are proportional",
                    _ => "gives the label away: each value has one class only",
                };
                found.insert(other.name.clone(), reason.to_owned());
            }
        }
    }
    Ok(found)
}

/// Returns what a column may become.
async fn kind(frame: &DataFrame, column: &ColumnProfile, rows: u64) -> Result<Found> {
    let leave = |reason: &str| Ok(Found::Leave(reason.to_owned()));
    let plain = |kind: ColumnKind, note: String| Ok(Found::Use(ColumnUse::Kind(kind), note));
    if column.nulls == rows {
        return leave("no row has a value");
    }
    if column.is_constant(rows) {
        return leave("all rows have the same value");
    }
    let missing = column.nulls + column.nans;
    let gaps = if missing > 0 { format!(", {missing} missing") } else { String::new() };
    let distinct = column.distinct.unwrap_or(0);
    match &column.data_type {
        number if is_number(number) => {
            let whole = !matches!(number, DataType::Float | DataType::Double | DataType::Decimal { .. });
            if whole && column.is_unique(rows) && (is_named_as_key(&column.name) || is_dense(column, rows)) {
                return leave("an identifier: every row has another value");
            }
            let range = format!("{} to {}", column.min.as_deref().unwrap_or("?"), column.max.as_deref().unwrap_or("?"));
            plain(ColumnKind::Number, format!("{range}{gaps}"))
        }
        DataType::Boolean => plain(ColumnKind::Number, format!("true or false{gaps}")),
        text if is_text(text) => {
            let longest: usize = column.max.as_deref().and_then(|max| max.parse().ok()).unwrap_or(0);
            if distinct <= MOST_CATEGORIES.min(rows / 4).max(12) {
                plain(ColumnKind::Category, format!("{distinct} values{gaps}"))
            } else if longest > 40 {
                plain(ColumnKind::Text, format!("up to {longest} characters{gaps}"))
            } else if column.is_unique(rows) {
                leave("an identifier: every row has another value")
            } else {
                leave(&format!("{distinct} different values: too many for a category"))
            }
        }
        DataType::Array { .. } if is_numbers(&column.data_type) => {
            if column.min == column.max {
                plain(ColumnKind::Vector, format!("{} numbers{gaps}", column.min.as_deref().unwrap_or("?")))
            } else {
                let lengths = format!(
                    "{} to {} numbers",
                    column.min.as_deref().unwrap_or("?"),
                    column.max.as_deref().unwrap_or("?")
                );
                plain(ColumnKind::Sequence, format!("{lengths}{gaps}"))
            }
        }
        vector if is_numbers(vector) => plain(ColumnKind::Vector, format!("a vector{gaps}")),
        DataType::Binary => match image(frame, &column.name).await? {
            Some(format) => plain(ColumnKind::Image, format!("{format} images{gaps}")),
            None => leave("binary that is no image; `kind = \"tensor\"` reads a tensor"),
        },
        DataType::Struct { fields } if fields.iter().any(|field| field.name == "nChannels") => {
            plain(ColumnKind::Image, format!("Spark's images{gaps}"))
        }
        DataType::Date | DataType::Timestamp | DataType::TimestampNtz => {
            leave("a time; numbers of it, such as its hour, can be made by `data.sql`")
        }
        other => leave(&format!(
            "{}: networks read its parts, not the whole; take them out by `data.sql`",
            other.simple_string()
        )),
    }
}

/// Returns whether a name says that a column is a key.
fn is_named_as_key(name: &str) -> bool {
    let name = name.to_lowercase();
    ["id", "key", "uuid", "guid", "index", "row", "number"]
        .iter()
        .any(|word| name == *word || name.ends_with(&format!("_{word}")) || name.ends_with(&format!(".{word}")))
}

/// Returns whether whole numbers fill their range, as a count of rows does.
fn is_dense(column: &ColumnProfile, rows: u64) -> bool {
    let bound = |text: &Option<String>| text.as_ref()?.parse::<f64>().ok();
    match (bound(&column.min), bound(&column.max)) {
        (Some(min), Some(max)) => max - min + 1.0 <= 1.1 * rows as f64,
        _ => false,
    }
}

/// Returns the format of the first image of a column.
async fn image(frame: &DataFrame, name: &str) -> Result<Option<&'static str>> {
    let first = function("substring", [column(name), lit(1).cast_str("int"), lit(8).cast_str("int")]);
    let row = frame.filter(column(name).is_not_null()).select([first.alias("magic")]).first().await?;
    let Some(magic) = row.as_ref().and_then(|row| row.column(0).as_binary_opt::<i32>()) else { return Ok(None) };
    Ok(match magic.value(0) {
        [0x89, b'P', b'N', b'G', ..] => Some("PNG"),
        [0xff, 0xd8, 0xff, ..] => Some("JPEG"),
        [b'B', b'M', ..] => Some("BMP"),
        _ => None,
    })
}

/// Leaves out what cannot go with the most telling column.
fn leave_out_company(columns: &mut BTreeMap<String, ColumnUse>, left_out: &mut Vec<(String, String)>) {
    let kind = |used: &ColumnUse| match used.settings() {
        ColumnSettings::Image { .. } => 0,
        ColumnSettings::Number { .. } | ColumnSettings::Category {} | ColumnSettings::Vector { .. } => 1,
        ColumnSettings::Sequence { .. } => 2,
        _ => 3,
    };
    let Some(best) = columns.values().map(kind).min() else { return };
    let mut seen = false;
    let kept = |used: &ColumnUse, seen: &mut bool| kind(used) == best && (best == 1 || !std::mem::replace(seen, true));
    let names: Vec<String> = columns.keys().cloned().collect();
    for name in names {
        if !kept(&columns[&name], &mut seen) {
            columns.remove(&name);
            let reason = match best {
                1 => "text and sequences are a network's only input, and there are other columns",
                _ => "the network's only input is another column",
            };
            left_out.push((name, reason.to_owned()));
        }
    }
}

fn network(columns: &BTreeMap<String, ColumnUse>, rows: u64) -> NetworkSection {
    let settings: Vec<ColumnSettings> = columns.values().map(ColumnUse::settings).collect();
    if settings.iter().any(|used| matches!(used, ColumnSettings::Image { .. })) {
        return NetworkSection {
            channels: vec![16, 32, 64],
            hidden: vec![64],
            dropout: 0.2,
            ..NetworkSection::default()
        };
    }
    let hidden = match rows {
        0..1_000 => vec![32, 16],
        1_000..100_000 => vec![64, 32],
        _ => vec![128, 64],
    };
    let units =
        settings.iter().any(|used| matches!(used, ColumnSettings::Sequence { .. } | ColumnSettings::Text { .. }));
    let embedding = settings.iter().any(|used| matches!(used, ColumnSettings::Text { .. })).then_some(32);
    NetworkSection { hidden, units: units.then_some(64), embedding, ..NetworkSection::default() }
}

fn training(rows: u64) -> TrainParams {
    let (epochs, batch_size) = match rows {
        0..2_000 => (100, 32),
        2_000..20_000 => (60, 64),
        20_000..200_000 => (20, 256),
        200_000..2_000_000 => (8, 512),
        _ => (3, 1024),
    };
    TrainParams {
        epochs,
        batch_size,
        tol: 0.0,
        schedule: Schedule::Cosine { end_factor: 0.0 },
        early_stopping: Some(EarlyStopping { patience: (epochs / 4).max(2), min_delta: 0.0, restore_best: true }),
        ..TrainParams::default()
    }
}

fn split(task: TaskKind, rows: u64) -> SplitSection {
    // Few rows: every class in both parts.
    let by = if task == TaskKind::Classes && rows < 50_000 { SplitKind::Stratified } else { SplitKind::Random };
    SplitSection { by, ..SplitSection::default() }
}

/// Returns the last part of a table's name.
fn model_name(table: &str) -> String {
    table.rsplit('.').next().unwrap_or(table).trim_matches('`').to_owned()
}

/// Returns a key or a text as TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if bare { name.to_owned() } else { quoted(name) }
}

fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(quoted)).unwrap_or_default()
}

impl Proposal {
    /// Returns the job as a commented file.
    pub fn to_toml(&self) -> String {
        let Job { data, columns, split, network, training, output, .. } = &self.job;
        let mut text = String::from(
            "# A training run of tinderbox: `tinderbox train FILE` runs it, `--dry-run` shows what it would do.\n\
             # All keys: `tinderbox job manual`.\n\n",
        );
        let mut line = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        line("[data]".into());
        line(format!(
            "table = {}  # {} rows; or sql = \"SELECT …\", or path = \"s3a://…\"",
            quoted(data.table.as_deref().unwrap_or("")),
            self.rows
        ));
        line(format!("label = {}", quoted(&data.label)));
        line(format!("task = {}  # classes, numbers or labels", word(&data.task)));
        line(format!("missing = {}  # impute, skip or error", word(&data.missing)));
        line("# filter = \"a condition in SQL\"\n# weight = \"a column\"\n".into());
        line("[columns]  # number, category, vector, text, image, sequence or tensor".into());
        for (name, used) in columns {
            let note = self.notes.get(name).map(|note| format!("  # {}", one_line(note))).unwrap_or_default();
            let value = match used {
                ColumnUse::Kind(ColumnKind::Image) => "{ kind = \"image\", height = 32, width = 32 }".to_owned(),
                ColumnUse::Kind(ColumnKind::Text) => "{ kind = \"text\", length = 64, words = 20000 }".to_owned(),
                ColumnUse::Kind(kind) => word(kind),
                ColumnUse::Settings(_) => word(&ColumnKind::Number),
            };
            line(format!("{} = {value}{note}", key(name)));
        }
        if !self.left_out.is_empty() {
            line("# Left out:".into());
            for (name, reason) in &self.left_out {
                line(format!("#   {}: {}", one_line(&key(name)), one_line(reason)));
            }
        }
        line(format!(
            "\n[split]\ntest = {:?}  # share of the rows that the finished model is tested on\n\
             validation = {:?}  # share that it is measured on after each epoch\n\
             by = {}  # random, stratified, key or time\nseed = {}\n",
            split.test,
            split.validation,
            word(&split.by),
            split.seed
        ));
        line("[network]".into());
        if !network.channels.is_empty() {
            line(format!("channels = {:?}  # convolutions", network.channels));
        }
        if let Some(units) = network.units {
            line(format!("units = {units}  # of a long short-term memory"));
        }
        if let Some(embedding) = network.embedding {
            line(format!("embedding = {embedding}  # numbers that stand for a word"));
        }
        line(format!("hidden = {:?}  # sizes of fully connected layers", network.hidden));
        line(format!("activation = {}", word(&network.activation)));
        line(format!("dropout = {:?}\n", network.dropout));
        line(format!(
            "[training]\nepochs = {}\nbatch_size = {}\nlearning_rate = {:?}\nweight_decay = {:?}\noptimizer = {}\n\
             schedule = {{ cosine = {{ end_factor = 0.0 }} }}\ntol = 0.0\nseed = {}\ndevices = \"{}\"  # or cuda:0, cuda:all",
            training.epochs,
            training.batch_size,
            training.learning_rate,
            training.weight_decay,
            word(&training.optimizer),
            training.seed,
            training.devices
        ));
        if let Some(EarlyStopping { patience, .. }) = training.early_stopping {
            line(format!(
                "early_stopping = {{ patience = {patience}, restore_best = true }}  # epochs without a lower loss on the validation set"
            ));
        }
        line("\n# [checkpoints]  # a run that is interrupted continues\n# folder = \"checkpoints\"\n".into());
        let model = output.model.as_deref().unwrap_or("model");
        line(format!("[output]\nmodel = {}  # a new version of it is saved", quoted(model)));
        line(format!("report = {}", quoted(&format!("{}.html", file_name(model)))));
        line(format!("# scored = {}  # a table of all rows with predictions", quoted(&format!("{model}_scored"))));
        text
    }
}

/// Returns a comment that stays on its line.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// Returns a name as a file's.
fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}
