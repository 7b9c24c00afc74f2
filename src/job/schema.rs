//! The keys of jobs: their JSON Schema, the manual made from it, and what of a text does not fit.

use std::{collections::BTreeSet, fmt::Write, ops::Range};

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Job, file::join};
use crate::error::JobProblem;

/// Returns the JSON Schema of a job, draft 2020-12.
pub fn json_schema() -> Value {
    let generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    let mut schema = generator.into_root_schema_for::<Job>().to_value();
    plain(&mut schema);
    schema
}

/// Takes the links of Rust's documentation out of descriptions.
fn plain(schema: &mut Value) {
    match schema {
        Value::Object(parts) => {
            for (key, part) in parts {
                match part {
                    Value::String(text) if key == "description" => *text = without_links(text),
                    other => plain(other),
                }
            }
        }
        Value::Array(parts) => parts.iter_mut().for_each(plain),
        _ => {}
    }
}

/// Returns a text with `[name](link)` and [`name`] as the name alone, up to its first table or example.
fn without_links(text: &str) -> String {
    let text = text.split("\n\n").take_while(|part| !part.starts_with(['|', '`'])).collect::<Vec<_>>().join("\n\n");
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(begin) = rest.find('[') {
        let Some(end) = rest[begin..].find(']').map(|end| begin + end) else { break };
        let (name, after) = (&rest[begin + 1..end], &rest[end + 1..]);
        plain.push_str(&rest[..begin]);
        let link = after.starts_with('(').then(|| after.find(')')).flatten();
        if link.is_some() || name.starts_with('`') {
            plain.push_str(name);
        } else {
            plain.push_str(&rest[begin..=end]);
        }
        rest = link.map_or(after, |end| &after[end + 1..]);
    }
    plain.push_str(rest);
    plain.replace('\n', " ").replace("  ", " ")
}

/// Locate of a part of the text.
type Locate<'a> = &'a dyn Fn(Range<usize>) -> (usize, usize);

/// Returns everything in a table that is no job: keys that there are not, missing ones, wrong types.
pub(super) fn problems(table: &DeTable<'_>, position: Locate<'_>) -> Vec<JobProblem> {
    let root = json_schema();
    let mut check = Check { root: &root, position, problems: Vec::new() };
    check.table(table, &root, "", 0..0);
    check.problems
}

struct Check<'a> {
    root: &'a Value,
    position: Locate<'a>,
    problems: Vec<JobProblem>,
}

impl<'a> Check<'a> {
    fn add(&mut self, span: Range<usize>, key: &str, problem: String, help: Option<String>) {
        let (line, column) = (self.position)(span);
        self.problems.push(JobProblem::at(line, column, key, &problem, help));
    }

    /// Follows a reference.
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        match schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix('#')) {
            Some(path) => self.root.pointer(path).unwrap_or(schema),
            None => schema,
        }
    }

    /// Returns the forms that a value may have.
    fn forms(&self, schema: &'a Value) -> Vec<&'a Value> {
        let schema = self.resolve(schema);
        let several = ["oneOf", "anyOf"].into_iter().find_map(|word| schema.get(word)?.as_array());
        match several {
            Some(forms) => forms.iter().flat_map(|form| self.forms(form)).collect(),
            None => vec![schema],
        }
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, schema: &'a Value, key: &str) {
        let forms = self.forms(schema);
        let fitting: Vec<&Value> = forms.iter().copied().filter(|form| has_type(value.get_ref(), form)).collect();
        match (value.get_ref(), fitting.as_slice()) {
            (_, []) => self.add(
                value.span(),
                key,
                format!("expected {}, found {}", expected(&forms), found(value.get_ref())),
                None,
            ),
            (DeValue::Table(table), fitting) => self.variant(table, fitting, key, value.span()),
            (DeValue::Array(values), [form, ..]) => {
                let items = form.get("items").or_else(|| form.get("prefixItems")?.get(0));
                if let Some(items) = items.filter(|items| items.is_object()) {
                    values.iter().for_each(|value| self.value(value, items, key));
                }
            }
            (DeValue::String(text), fitting) => self.word(text, fitting, key, value.span()),
            _ => {}
        }
    }

    /// Checks a text that must be one of some words.
    fn word(&mut self, text: &str, forms: &[&'a Value], key: &str, span: Range<usize>) {
        let words: Vec<&str> = forms.iter().flat_map(|form| words(form)).collect();
        let any = forms.iter().any(|form| words_of(form).is_none());
        if !any && !words.contains(&text) {
            let help = nearest(text, words.iter().copied()).map(|word| format!("did you mean `{word}`?"));
            let list: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            self.add(span, key, format!("expected one of {}, found `{text}`", list.join(", ")), help);
        }
    }

    /// Checks a table of one of several forms: that whose tag it has, or whose only key it has.
    fn variant(&mut self, table: &DeTable<'_>, forms: &[&'a Value], key: &str, span: Range<usize>) {
        if let [only] = forms {
            return self.table(table, only, key, span);
        }
        let tag = table.iter().find(|(name, _)| name.get_ref() == "kind").map(|(_, value)| value);
        if let Some(tag) = tag
            && let DeValue::String(kind) = tag.get_ref()
        {
            let kinds: Vec<(&str, &'a Value)> = forms.iter().filter_map(|form| Some((kind_of(form)?, *form))).collect();
            return match kinds.iter().find(|(name, _)| name == kind) {
                Some((_, form)) => self.table(table, form, key, span),
                None => {
                    let help = nearest(kind, kinds.iter().map(|(name, _)| *name));
                    let help = help.map(|word| format!("did you mean `{word}`?"));
                    let list: Vec<String> = kinds.iter().map(|(name, _)| format!("`{name}`")).collect();
                    self.add(tag.span(), key, format!("expected one of {}, found `{kind}`", list.join(", ")), help);
                }
            };
        }
        let by_key = forms.iter().find(|form| {
            let names: Vec<&String> = properties(form).map(|all| all.keys().collect()).unwrap_or_default();
            table.iter().all(|(name, _)| names.iter().any(|known| *known == name.get_ref().as_ref()))
        });
        match by_key {
            Some(form) => self.table(table, form, key, span),
            None => self.add(span, key, format!("expected {}", expected(forms)), None),
        }
    }

    fn table(&mut self, table: &DeTable<'_>, schema: &'a Value, above: &str, span: Range<usize>) {
        let known = properties(schema);
        let open = schema.get("additionalProperties");
        for (name, value) in table {
            let key = join(above, name.get_ref());
            match (known.and_then(|known| known.get(name.get_ref().as_ref())), open) {
                (Some(schema), _) => self.value(value, schema, &key),
                (None, Some(Value::Bool(false))) => {
                    let names = known.into_iter().flat_map(Map::keys).map(String::as_str);
                    let place = if above.is_empty() { "a job".to_owned() } else { format!("[{above}]") };
                    let near = nearest(name.get_ref(), names.clone());
                    let help = match near {
                        Some(word) => format!("did you mean `{word}`?"),
                        None => format!("{place} has {}", names.collect::<Vec<_>>().join(", ")),
                    };
                    self.add(name.span(), &key, format!("{place} has no key `{}`", name.get_ref()), Some(help));
                }
                (None, Some(schema @ Value::Object(_))) => self.value(value, schema, &key),
                (None, _) => {}
            }
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for name in required.filter_map(Value::as_str) {
            if !table.iter().any(|(known, _)| known.get_ref() == name) {
                let help = known.and_then(|known| description(known.get(name)?)).map(str::to_owned);
                let place = if above.is_empty() { "the job".to_owned() } else { format!("[{above}]") };
                self.add(span.clone(), &join(above, name), format!("{place} lacks `{name}`"), help);
            }
        }
    }
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties")?.as_object()
}

fn description(schema: &Value) -> Option<&str> {
    schema.get("description")?.as_str()
}

/// Returns the value of a form's tag.
fn kind_of(form: &Value) -> Option<&str> {
    form.pointer("/properties/kind/const")?.as_str()
}

/// Returns the words that a text may be; `None` if it may be any.
fn words_of(form: &Value) -> Option<Vec<&str>> {
    let one = form.get("const").map(|word| vec![word]);
    let words = one.or_else(|| Some(form.get("enum")?.as_array()?.iter().collect()))?;
    Some(words.into_iter().filter_map(Value::as_str).collect())
}

fn words(form: &Value) -> Vec<&str> {
    words_of(form).unwrap_or_default()
}

/// Returns the types that a form allows.
fn types(form: &Value) -> Vec<&str> {
    match form.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn has_type(value: &DeValue<'_>, form: &Value) -> bool {
    let types = types(form);
    let is = |name: &str| types.contains(&name);
    if types.is_empty() {
        return form.get("const").is_none() || matches!(value, DeValue::String(_));
    }
    match value {
        DeValue::String(_) => is("string"),
        DeValue::Integer(_) => is("integer") || is("number"),
        DeValue::Float(_) => is("number"),
        DeValue::Boolean(_) => is("boolean"),
        DeValue::Datetime(_) => false,
        DeValue::Array(_) => is("array"),
        DeValue::Table(_) => is("object"),
    }
}

fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text {text:?}"),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

/// Returns what may stand for a value, in words.
fn expected(forms: &[&Value]) -> String {
    let mut said = BTreeSet::new();
    for form in forms {
        for name in words(form) {
            said.insert(format!("`{name}`"));
        }
        if words_of(form).is_some() {
            continue;
        }
        for name in types(form).into_iter().filter(|name| *name != "null") {
            said.insert(match name {
                "string" => "a text".into(),
                "integer" => "a whole number".into(),
                "number" => "a number".into(),
                "boolean" => "true or false".into(),
                "array" => "a list".into(),
                _ => match (kind_of(form), properties(form)) {
                    (Some(kind), _) => format!("{{ kind = \"{kind}\", … }}"),
                    (None, Some(keys)) if keys.len() == 1 => {
                        format!("{{ {} = … }}", keys.keys().next().map_or("", String::as_str))
                    }
                    _ => "a table".into(),
                },
            });
        }
    }
    said.into_iter().collect::<Vec<_>>().join(" or ")
}

/// Returns the name that is most like another one, if one is.
pub(super) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |known: &str| strsim::jaro_winkler(&name.to_lowercase(), &known.to_lowercase());
    let near = names.map(|known| (likeness(known), known)).filter(|(likeness, _)| *likeness > 0.75);
    near.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

/// Returns the manual of all keys, as Markdown.
pub fn manual() -> String {
    let root = json_schema();
    let mut text = String::from(
        "# Jobs\n\n<!-- Made by `tinderbox job manual`; the text stands in `src/job/mod.rs` and the types of its keys. -->\n\n\
         A job is a TOML file. `tinderbox init TABLE --label COLUMN` writes one, `tinderbox train job.toml` runs it, and\n\
         `tinderbox job schema` prints its JSON Schema for editors.\n",
    );
    let check = Check { root: &root, position: &|_| (0, 0), problems: Vec::new() };
    let sections = ["data", "columns", "split", "network", "training", "checkpoints", "output", "tune"];
    for (section, schema) in sections.iter().filter_map(|name| properties(&root)?.get_key_value(*name)) {
        let form = check.forms(schema).into_iter().find(|form| has_keys(form)).unwrap_or(schema);
        _ = write!(text, "\n## `[{section}]`\n\n{}\n", description(schema).or(description(form)).unwrap_or(""));
        let Some(keys) = properties(form) else {
            kinds(&mut text, &check, form.get("additionalProperties").unwrap_or(form));
            continue;
        };
        text += "\n| key | value | default | |\n|---|---|---|---|\n";
        for (key, schema) in keys {
            let forms = check.forms(schema);
            let value = expected(&forms).replace('|', "\\|");
            let required = form
                .get("required")
                .and_then(Value::as_array)
                .is_some_and(|all| all.contains(&Value::from(key.as_str())));
            let default = match schema.get("default") {
                _ if required => "required".to_owned(),
                Some(Value::Null) | None => String::new(),
                Some(Value::Object(empty)) if empty.is_empty() => String::new(),
                Some(default) => format!("`{default}`"),
            };
            let about = description(schema).or_else(|| forms.first().and_then(|form| description(form))).unwrap_or("");
            _ = writeln!(text, "| `{key}` | {value} | {default} | {} |", about.replace('|', "\\|"));
        }
        for (key, schema) in keys {
            let items = check.resolve(schema).get("items").map_or(schema, |items| items);
            if check.forms(items).iter().any(|form| properties(form).is_some_and(|keys| !keys.is_empty())) {
                _ = write!(text, "\n### `{section}.{key}`\n");
                kinds(&mut text, &check, items);
            }
        }
    }
    text
}

fn has_keys(form: &Value) -> bool {
    properties(form).is_some_and(|keys| !keys.is_empty())
        || form.get("additionalProperties").is_some_and(Value::is_object)
}

/// Writes the forms of a value: a word or a table each, with the keys of the table.
fn kinds<'a>(text: &mut String, check: &Check<'a>, schema: &'a Value) {
    text.push_str("\n| form | keys | |\n|---|---|---|\n");
    for form in check.forms(schema) {
        let about = description(form).unwrap_or("").replace('|', "\\|");
        let Some(keys) = properties(form) else {
            for word in words(form) {
                _ = writeln!(text, "| `\"{word}\"` | | {about} |");
            }
            continue;
        };
        let keys = keys.iter().filter(|(key, _)| *key != "kind").map(|(key, schema)| {
            let default = schema.get("default").filter(|default| !default.is_null());
            let default = default.map(|default| format!(" ({default})")).unwrap_or_default();
            let inner = check.forms(schema);
            let about = description(schema).map(|about| format!(": {about}")).unwrap_or_default();
            let nested = inner.iter().filter_map(|form| properties(form)).flat_map(|keys| keys.keys().cloned());
            let nested: Vec<String> = nested.collect();
            let nested = if nested.is_empty() { String::new() } else { format!(" with {}", nested.join(", ")) };
            format!("`{key}`{default}{}{nested}", about.replace('|', "\\|"))
        });
        let keys = keys.collect::<Vec<_>>().join("<br>");
        let name = kind_of(form).map_or_else(|| "table".to_owned(), |kind| format!("`kind = \"{kind}\"`"));
        _ = writeln!(text, "| {name} | {keys} | {about} |");
    }
}
