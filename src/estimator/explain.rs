//! Parameters in words, as Spark ML's `explainParams` has them.

/// One parameter: its name, what it is for, its default and its value.
pub(super) struct Param {
    pub(super) name: &'static str,
    pub(super) purpose: String,
    pub(super) default: String,
    pub(super) current: String,
}

/// A line per parameter, sorted by name: `name: purpose (default: x, current: y)`.
pub(super) fn explain(mut params: Vec<Param>) -> String {
    params.sort_by_key(|param| param.name);
    let line = |param: &Param| {
        let Param { name, purpose, default, current } = param;
        match (default.is_empty(), current == default) {
            (false, true) => format!("{name}: {purpose} (default: {default})"),
            (false, false) => format!("{name}: {purpose} (default: {default}, current: {current})"),
            (true, true) => format!("{name}: {purpose} (undefined)"),
            (true, false) => format!("{name}: {purpose} (current: {current})"),
        }
    };
    params.iter().map(line).collect::<Vec<_>>().join("\n")
}
