//! The prompt: queries over several lines, a history, completion of tables and columns.

use std::{borrow::Cow, path::PathBuf, sync::Arc};

use rustyline::{
    CompletionType, Config, Context, Editor, Helper,
    completion::{Completer, Pair},
    error::ReadlineError,
    highlight::Highlighter,
    hint::Hinter,
    history::FileHistory,
    validate::{ValidationContext, ValidationResult, Validator},
};
use tinderbox::session::Session;
use tokio::{runtime::Handle, sync::Mutex};

use super::{
    columns, execute,
    statements::{is_complete, statements},
};
use crate::{
    failure::{Failure, Result},
    output::Output,
};

const KEYWORDS: [&str; 26] = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "HAVING",
    "LIMIT",
    "JOIN",
    "LEFT JOIN",
    "ON",
    "AND",
    "OR",
    "NOT",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "DISTINCT",
    "UNION ALL",
    "CREATE TABLE",
    "DESCRIBE",
    "EXPLAIN",
    "SHOW TABLES",
    "DROP TABLE",
    "INSERT INTO",
];

/// Names that the server knows, asked for when first completed.
#[derive(Debug)]
struct Names {
    spark: Session,
    tables: Vec<String>,
    columns: std::collections::BTreeMap<String, Vec<String>>,
}

impl Names {
    /// Returns names for a query: keywords, tables, and the columns of the tables that the query names.
    async fn of(&mut self, query: &str) -> Vec<String> {
        if self.tables.is_empty() {
            let tables = self.spark.catalog().list_tables(None, None).await.unwrap_or_default();
            self.tables = tables.into_iter().map(|table| table.name).collect();
        }
        let mut names: Vec<String> = KEYWORDS.iter().map(|word| (*word).to_owned()).collect();
        let words: Vec<&str> = query.split(|c: char| !c.is_alphanumeric() && !"_.`".contains(c)).collect();
        for table in self.tables.clone() {
            if words.contains(&table.as_str()) {
                if !self.columns.contains_key(&table) {
                    let found = columns(&self.spark, &table).await;
                    self.columns.insert(table.clone(), found);
                }
                names.extend(self.columns[&table].iter().cloned());
            }
            names.push(table);
        }
        names
    }
}

#[derive(Debug)]
struct SqlHelper {
    names: Arc<Mutex<Names>>,
    runtime: Handle,
}

impl Completer for SqlHelper {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let begin = line[..at]
            .rfind(|c: char| !c.is_alphanumeric() && c != '_' && c != '`')
            .map_or(0, |place| place + line[place..].chars().next().map_or(1, char::len_utf8));
        let word = line[begin..at].to_lowercase();
        let names = self.runtime.block_on(async { self.names.lock().await.of(line).await });
        let fits =
            |name: &String| name.to_lowercase().trim_start_matches('`').starts_with(word.trim_start_matches('`'));
        let mut found: Vec<String> = names.into_iter().filter(fits).collect();
        found.sort();
        found.dedup();
        let pair = |name: String| Pair { display: name.clone(), replacement: name };
        Ok((begin, found.into_iter().map(pair).collect()))
    }
}

impl Hinter for SqlHelper {
    type Hint = String;
}

impl Highlighter for SqlHelper {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        Cow::Borrowed(prompt)
    }
}

impl Validator for SqlHelper {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let text = context.input().trim();
        let complete = text.is_empty() || is_word(text) || is_complete(text);
        Ok(if complete { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Helper for SqlHelper {}

/// Returns whether a text is a word of the prompt itself.
fn is_word(text: &str) -> bool {
    ["exit", "quit", "help", "?"].contains(&text)
}

/// Returns the file of the history.
fn history() -> Option<PathBuf> {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = named("XDG_STATE_HOME").or_else(|| Some(std::env::home_dir()?.join(".local/state")))?;
    let folder = folder.join("tinderbox");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("sql_history"))
}

/// Reads queries until the end.
pub(super) async fn run(spark: &Session, limit: usize, output: &Output) -> Result {
    let failed = |error: ReadlineError| Failure::io("the terminal", std::io::Error::other(error));
    let config = Config::builder().completion_type(CompletionType::List).auto_add_history(true).build();
    let mut editor: Editor<SqlHelper, FileHistory> = Editor::with_config(config).map_err(failed)?;
    let names = Names { spark: spark.clone(), tables: Vec::new(), columns: Default::default() };
    let names = Arc::new(Mutex::new(names));
    editor.set_helper(Some(SqlHelper { names: names.clone(), runtime: Handle::current() }));
    let history = history();
    if let Some(path) = &history {
        _ = editor.load_history(path);
    }
    output.say(format!(
        "Spark {} at {}. A query ends with `;`, Tab completes, Ctrl-D ends.",
        spark.version(),
        spark.client().address()
    ));
    loop {
        let line = tokio::task::spawn_blocking(move || {
            let line = editor.readline("sql> ");
            (editor, line)
        });
        let (back, line) = line.await.map_err(|error| Failure::io("the terminal", std::io::Error::other(error)))?;
        editor = back;
        let line = match line {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(failed(error)),
        };
        match line.trim() {
            "exit" | "quit" => break,
            "help" | "?" => output.say("SHOW TABLES; and DESCRIBE name; tell what there is. exit, or Ctrl-D, ends."),
            _ => {
                for query in statements(&line) {
                    // Ctrl-C ends the query, not the prompt.
                    let outcome = tokio::select! {
                        outcome = execute(spark, &query, limit, output) => outcome,
                        _ = tokio::signal::ctrl_c() => {
                            output.say("cancelled");
                            break;
                        }
                    };
                    match outcome {
                        Ok(()) => {}
                        Err(Failure::Error(error)) => {
                            output.error(&error);
                            break;
                        }
                        Err(other) => return Err(other),
                    }
                }
                // Queries may have made and dropped tables.
                names.lock().await.tables.clear();
            }
        }
    }
    if let Some(path) = &history {
        _ = editor.save_history(path);
    }
    Ok(())
}
