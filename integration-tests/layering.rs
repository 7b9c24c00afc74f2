//! Holds `src/` against the tables of imports in ARCHITECTURE.md, and its type names against each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The root module's own names: those of `error`, which every module may use.
const ROOT_NAMES: [&str; 6] = ["DataProblem", "Error", "ErrorKind", "QueryContext", "Result", "ServerError"];

/// Files that gather the others and are no layer.
const ROOT_FILES: [&str; 3] = ["advanced.rs", "lib.rs", "prelude.rs"];

/// Rows of the table under a heading of ARCHITECTURE.md: the names in backticks of each cell, and the whole row.
fn table(architecture: &str, heading: &str) -> Vec<(Vec<BTreeSet<String>>, String)> {
    let section = architecture.split("\n## ").find(|s| s.starts_with(heading)).expect("the heading is there");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells = row.trim_matches('|').split('|');
        let names = cells.map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()).collect();
        (names, row.to_owned())
    })
    .collect()
}

/// Every file of `src/` that belongs to a layer, with the layer's name.
fn sources() -> Vec<(String, PathBuf)> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&src, &mut files);
    let layer = |path: &Path| {
        let within = path.strip_prefix(&src).unwrap();
        let first = Path::new(within.components().next().unwrap().as_os_str());
        first.file_stem().unwrap().to_str().unwrap().to_owned()
    };
    files.retain(|path| {
        let within = path.strip_prefix(&src).unwrap();
        !within.starts_with("bin") && !ROOT_FILES.iter().any(|root| within == Path::new(root))
    });
    files.into_iter().map(|path| (layer(&path), path)).collect()
}

/// The code without comment lines, trailing comments and the text of string literals on one line.
fn code(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut quoted = false;
        let mut previous = ' ';
        for c in line.chars() {
            match c {
                '"' if previous != '\\' && previous != '\'' => quoted = !quoted,
                '/' if !quoted && previous == '/' => break,
                _ if quoted => {}
                _ => out.push(c),
            }
            previous = c;
        }
        out.push('\n');
    }
    out
}

/// The first names after each `crate::`, groups in braces opened.
fn crate_names(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let boundary = code[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '$');
        if boundary {
            collect_heads(&code[at + "crate::".len()..], &mut names);
        }
    }
    names
}

/// Heads of a use tree: `a::b` gives a, `{a::{x, y}, b}` gives a and b.
fn collect_heads(tree: &str, names: &mut BTreeSet<String>) {
    let head = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = tree.strip_prefix('{') else {
        names.insert(head(tree));
        return;
    };
    let mut depth = 0;
    let mut expects = true;
    for (i, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return,
            '}' => depth -= 1,
            ',' if depth == 0 => expects = true,
            c if expects && depth == 0 && (c.is_alphanumeric() || c == '_') => {
                names.insert(head(&group[i..]));
                expects = false;
            }
            _ => {}
        }
    }
}

#[test]
fn use_trees_are_read_to_their_heads() {
    let text = "use crate::{Error, stream::{RecordStream, ipc}, nn};\nlet x = crate::train::run(\"crate::no\"); // crate::no\n\
                use other_crate::no; $crate::no";
    let names: Vec<_> = crate_names(&code(text)).into_iter().collect();
    assert_eq!(names, ["Error", "nn", "stream", "train"]);
}

#[test]
fn modules_import_only_what_the_architecture_allows() {
    let architecture = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    let mut allowed = BTreeMap::new();
    let mut planned = BTreeSet::new();
    for (cells, row) in table(&architecture, "Imports") {
        let module = cells[0].first().expect("each row names a module").clone();
        if row.contains("planned") {
            planned.insert(module.clone());
        }
        allowed.insert(module, cells[1].clone());
    }
    let crates = table(&architecture, "Crates with a home");

    let sources = sources();
    let mut wrong = Vec::new();
    for (module, path) in &sources {
        let text = code(&fs::read_to_string(path).unwrap());
        let Some(allowed) = allowed.get(module) else {
            wrong.push(format!("{}: module `{module}` has no row in the table of imports", path.display()));
            continue;
        };
        for name in crate_names(&text) {
            let fine = name == *module
                || ["error", "number"].contains(&&*name)
                || ROOT_NAMES.contains(&&*name)
                || allowed.contains(&name);
            if !fine {
                wrong.push(format!("{}: `{module}` may not import `crate::{name}`", path.display()));
            }
        }
        for (cells, _) in &crates {
            for package in cells[0].iter().filter(|_| !cells[1].contains(module)) {
                let named = text.match_indices(&format!("{package}::")).any(|(at, _)| {
                    text[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
                });
                if named {
                    wrong.push(format!("{}: `{module}` may not name the crate `{package}`", path.display()));
                }
            }
        }
    }
    let present: BTreeSet<_> = sources.iter().map(|(module, _)| module.clone()).collect();
    for module in allowed.keys().filter(|m| !present.contains(*m) && !planned.contains(*m)) {
        wrong.push(format!("ARCHITECTURE.md: module `{module}` is neither in src/ nor marked as planned"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn type_names_are_defined_once() {
    let mut homes: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for (_, path) in sources() {
        let is_test = path.file_name().is_some_and(|name| name.to_string_lossy().ends_with("tests.rs"));
        if is_test || path.ends_with("fake.rs") {
            continue;
        }
        for line in fs::read_to_string(&path).unwrap().lines().take_while(|line| !line.starts_with("mod tests {")) {
            homes.entry(type_name(line).unwrap_or_default()).or_default().push(path.clone());
        }
    }
    homes.remove("");
    homes.retain(|_, paths| paths.len() > 1);
    assert!(homes.is_empty(), "one name means two things: {homes:#?}");
}

/// The name that a line of a file's outermost level defines as a type.
fn type_name(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let first = words.next().filter(|_| !line.starts_with(' '))?;
    let kind = if first.starts_with("pub") { words.find(|word| !word.ends_with(')'))? } else { first };
    let name = words.next().filter(|_| ["struct", "enum", "trait", "type"].contains(&kind))?;
    Some(name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
}

#[test]
fn type_names_are_found_at_the_outermost_level() {
    assert_eq!(type_name("pub(in crate::ml) struct Rows<'a> {").as_deref(), Some("Rows"));
    assert_eq!(type_name("pub type Cause = Box<dyn Error>;").as_deref(), Some("Cause"));
    assert_eq!(type_name("struct One;").as_deref(), Some("One"));
    assert_eq!(type_name("    struct Inner;"), None);
    assert_eq!(type_name("fn type_name() {}"), None);
}
