//! Checks of a job: what its keys say together, and what they say of a table.

use spark_connect::types::DataType;

use super::{ColumnSettings, Job, SplitKind, TaskKind, file::join, schema::nearest};
use crate::{
    Error,
    dataframe::{Schema, is_vector},
    ml::attribute::Attribute,
};

/// Problems: a key and what is wrong with it.
type Problems = Vec<(String, String)>;

impl Job {
    /// Returns everything that can be found without data.
    pub(super) fn problems(&self) -> Problems {
        let mut problems = Problems::new();
        let mut add = |key: &str, problem: String| problems.push((key.to_owned(), problem));
        let data = &self.data;
        let sources = [("table", &data.table), ("sql", &data.sql), ("path", &data.path)];
        let named: Vec<&str> = sources.iter().filter(|(_, source)| source.is_some()).map(|(name, _)| *name).collect();
        if named.len() != 1 {
            let found = if named.is_empty() { "none".to_owned() } else { named.join(" and ") };
            add("data", format!("expected one of `table`, `sql` and `path`, found {found}"));
        }
        if data.path.is_none() && (data.format.is_some() || !data.options.is_empty()) {
            add("data", "`format` and `options` belong to `path`, which is not set".into());
        }
        if data.label.trim().is_empty() {
            add("data.label", "expected the name of a column, found an empty text".into());
        }
        if self.columns.is_empty() {
            add("columns", "expected at least one column; `tinderbox init` finds those that fit".into());
        }
        if self.columns.contains_key(&data.label) {
            add(&join("columns", &data.label), "is the label, so that it cannot be an input too".into());
        }
        let alone: Vec<&String> =
            self.columns.iter().filter(|(_, used)| used.settings().is_alone()).map(|(name, _)| name).collect();
        if let [first, ..] = alone.as_slice()
            && self.columns.len() > 1
        {
            let problem = "text, images, sequences and tensors are a network's only input; make a column of several with `data.sql`, or leave the others out";
            add(&join("columns", first), problem.to_owned());
        }
        for (name, used) in &self.columns {
            let zero = match used.settings() {
                ColumnSettings::Text { length, words } => length == 0 || words == 0,
                ColumnSettings::Image { height, width, .. } => height == 0 || width == 0,
                ColumnSettings::Sequence { step } => step.contains(&0),
                _ => false,
            };
            if zero {
                add(&join("columns", name), "expected sizes of at least 1, found 0".into());
            }
        }
        self.split_problems(&mut add);
        self.network_problems(&mut add);
        if let Err(error) = self.training.check() {
            match error {
                Error::Param { name, value, legal } => {
                    add(&join("training", &name), format!("expected {legal}, found {value}"));
                }
                other => add("training", other.to_string()),
            }
        }
        if self.split.validation > 0.0 && self.training.validation_fraction > 0.0 {
            add(
                "training.validation_fraction",
                "`split.validation` holds rows out already; set one of the two to 0".into(),
            );
        }
        if let Some(checkpoints) = &self.checkpoints {
            for (key, value) in [
                ("every_epochs", checkpoints.every_epochs),
                ("every_steps", checkpoints.every_steps.unwrap_or(1)),
                ("keep", checkpoints.keep),
            ] {
                if value == 0 {
                    add(&join("checkpoints", key), "expected at least 1, found 0".into());
                }
            }
        }
        if let Some(tune) = &self.tune {
            if tune.folds < 2 {
                add("tune.folds", format!("expected at least 2, found {}", tune.folds));
            }
            if tune.random == Some(0) {
                add("tune.random", "expected at least 1, found 0".into());
            }
            if tune.params.is_empty() {
                add("tune.params", "expected at least one param with its values".into());
            }
            for (name, values) in &tune.params {
                if values.is_empty() {
                    add(&join("tune.params", name), "expected at least one value".into());
                }
            }
        }
        problems
    }

    fn split_problems(&self, add: &mut impl FnMut(&str, String)) {
        let split = &self.split;
        let share = |value: f64| (0.0..1.0).contains(&value);
        for (key, value) in [("split.test", split.test), ("split.validation", split.validation)] {
            if !share(value) {
                add(key, format!("expected a share in [0, 1), found {value}"));
            }
        }
        if share(split.test) && share(split.validation) && split.test + split.validation >= 1.0 {
            add("split", format!("leaves no row to train on: {} + {} of all", split.test, split.validation));
        }
        match (split.by, &split.column) {
            (SplitKind::Key | SplitKind::Time, None) => {
                add("split.column", "expected the column of keys or times, found none".into());
            }
            (SplitKind::Random | SplitKind::Stratified, Some(_)) => {
                add("split.column", "belongs to `by = \"key\"` and `by = \"time\"`".into());
            }
            _ => {}
        }
    }

    fn network_problems(&self, add: &mut impl FnMut(&str, String)) {
        let network = &self.network;
        if !(0.0..1.0).contains(&network.dropout) {
            add("network.dropout", format!("expected a probability in [0, 1), found {}", network.dropout));
        }
        if network.hidden.contains(&0)
            || network.channels.contains(&0)
            || network.units == Some(0)
            || network.embedding == Some(0)
        {
            add("network", "expected sizes of at least 1, found 0".into());
        }
        let others = !network.channels.is_empty() || network.units.is_some() || network.embedding.is_some();
        if !network.layers.is_empty() && others {
            add("network.layers", "says all layers; leave the other keys out".into());
        }
        let is = |fits: fn(&ColumnSettings) -> bool| self.columns.values().any(|used| fits(&used.settings()));
        if !network.channels.is_empty()
            && !is(|used| matches!(used, ColumnSettings::Image { .. } | ColumnSettings::Tensor {}))
        {
            add("network.channels", "are for an image or a tensor; no column is one".into());
        }
        if network.units.is_some()
            && !is(|used| {
                matches!(
                    used,
                    ColumnSettings::Text { .. } | ColumnSettings::Sequence { .. } | ColumnSettings::Tensor {}
                )
            })
        {
            add("network.units", "are for text or a sequence; no column is one".into());
        }
        if network.embedding.is_some() && !is(|used| matches!(used, ColumnSettings::Text { .. })) {
            add("network.embedding", "is for text; no column is text".into());
        }
    }

    /// Returns everything that does not fit a table.
    pub(super) fn schema_problems(&self, schema: &Schema) -> Problems {
        let mut problems = Problems::new();
        let missing = |name: &str| {
            let near = nearest(name, schema.names());
            let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            format!("the data has no column `{name}`{near}")
        };
        for (name, used) in &self.columns {
            let key = join("columns", name);
            match schema.get(name) {
                None => problems.push((key, missing(name))),
                Some(field) => {
                    let settings = used.settings();
                    if !settings.fits(&field.data_type) {
                        let (expected, found) = (settings.expected(), field.data_type.simple_string());
                        problems.push((key, format!("expected {expected}, found {found}")));
                    }
                }
            }
        }
        let single = [
            ("data.label", Some(self.data.label.as_str())),
            ("data.weight", self.data.weight.as_deref()),
            ("split.column", self.split.column.as_deref()),
        ];
        for (key, name) in single {
            if let Some(name) = name.filter(|name| schema.get(name).is_none()) {
                problems.push((key.to_owned(), missing(name)));
            }
        }
        if let Some(field) = self.data.weight.as_deref().and_then(|name| schema.get(name))
            && !is_number(&field.data_type)
        {
            problems
                .push(("data.weight".into(), format!("expected a number, found {}", field.data_type.simple_string())));
        }
        if let Some(field) = schema.get(&self.data.label) {
            let fits = match self.task(schema) {
                TaskKind::Classes => is_category(&field.data_type),
                TaskKind::Numbers => is_number(&field.data_type),
                TaskKind::Labels => is_numbers(&field.data_type),
            };
            if !fits {
                let found = field.data_type.simple_string();
                problems
                    .push(("data.label".into(), format!("expected {}, found {found}", self.task(schema).expected())));
            }
        }
        if self.split.by == SplitKind::Stratified && self.task(schema) != TaskKind::Classes {
            problems.push(("split.by".into(), "`stratified` is for classes".into()));
        }
        problems
    }

    /// Returns the kind of prediction.
    pub(super) fn task(&self, schema: &Schema) -> TaskKind {
        let by_type = || match schema.get(&self.data.label) {
            Some(field) if Attribute::from_metadata(&field.metadata).is_some_and(|found| found.classes().is_some()) => {
                TaskKind::Classes
            }
            Some(field) => match &field.data_type {
                DataType::Float | DataType::Double | DataType::Decimal { .. } => TaskKind::Numbers,
                other if is_numbers(other) => TaskKind::Labels,
                _ => TaskKind::Classes,
            },
            None => TaskKind::Classes,
        };
        self.data.task.unwrap_or_else(by_type)
    }
}

impl TaskKind {
    fn expected(self) -> &'static str {
        match self {
            TaskKind::Classes => "text, a whole number or a boolean (classes)",
            TaskKind::Numbers => "a number",
            TaskKind::Labels => "an array of numbers or a vector",
        }
    }
}

impl ColumnSettings {
    /// Returns whether a column of this kind is a network's only input.
    pub(super) fn is_alone(&self) -> bool {
        use ColumnSettings::{Image, Sequence, Tensor, Text};
        matches!(self, Text { .. } | Image { .. } | Sequence { .. } | Tensor {})
    }

    fn fits(&self, data_type: &DataType) -> bool {
        match self {
            ColumnSettings::Number { .. } => is_number(data_type) || *data_type == DataType::Boolean,
            ColumnSettings::Category {} => is_category(data_type) || is_number(data_type),
            ColumnSettings::Vector { .. } => is_numbers(data_type),
            ColumnSettings::Text { .. } => is_text(data_type),
            ColumnSettings::Image { .. } => matches!(data_type, DataType::Binary | DataType::Struct { .. }),
            ColumnSettings::Sequence { .. } => matches!(data_type, DataType::Array { .. }),
            ColumnSettings::Tensor {} => {
                is_numbers(data_type)
                    || matches!(data_type, DataType::Binary | DataType::Struct { .. } | DataType::Array { .. })
            }
        }
    }

    fn expected(&self) -> &'static str {
        match self {
            ColumnSettings::Number { .. } => "a number or a boolean",
            ColumnSettings::Category {} => "text, a number or a boolean",
            ColumnSettings::Vector { .. } => "a vector or an array of numbers",
            ColumnSettings::Text { .. } => "text",
            ColumnSettings::Image { .. } => "binary or Spark's image struct",
            ColumnSettings::Sequence { .. } => "an array",
            ColumnSettings::Tensor {} => "numbers in an array, a struct or binary",
        }
    }
}

pub(super) fn is_number(data_type: &DataType) -> bool {
    use DataType::{Byte, Decimal, Double, Float, Integer, Long, Short};
    matches!(data_type, Byte | Short | Integer | Long | Float | Double | Decimal { .. })
}

pub(super) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::String { .. } | DataType::Char { .. } | DataType::Varchar { .. })
}

fn is_category(data_type: &DataType) -> bool {
    is_text(data_type) || is_number(data_type) || *data_type == DataType::Boolean
}

/// Returns whether values are several numbers.
pub(super) fn is_numbers(data_type: &DataType) -> bool {
    is_vector(data_type) || matches!(data_type, DataType::Array { element_type, .. } if is_number(element_type))
}
