//! The session state that a frame's rows depend on: another session is proven to read the same before it is used.
//!
//! A copy of a session lacks SQL variables and the current catalog; a session in place of a lost one lacks temporary
//! views, functions and whatever was set by `SET`. The same plan may then fail, or read another table of the same name.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
};

use spark_connect_proto::{
    self as proto, KeyValue, catalog::CatType, config_request as ask, config_request::operation::OpType,
    relation::RelType,
};

use crate::{
    Error, Result,
    connect::Client,
    dataframe::{DataFrame, ExplainMode, texts},
};

/// Settings, catalog and database of a session, and a plan as that session analysed it.
#[derive(Debug, Clone)]
pub(super) struct SessionState {
    settings: BTreeMap<String, String>,
    /// The current catalog and database, where the server tells them.
    place: Option<(String, String)>,
    analysed: String,
}

/// Of the settings, those of SQL count: others are of the server, and new with each start.
impl Hash for SessionState {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let settings = self.settings.iter().filter(|(key, _)| key.starts_with("spark.sql."));
        settings.for_each(|setting| setting.hash(hasher));
        self.place.hash(hasher);
        self.analysed.hash(hasher);
    }
}

impl SessionState {
    /// Takes note of what the frame depends on in its session.
    ///
    /// # Errors
    /// As [`DataFrame::explain`]. Settings and the current catalog are left out where the server does not tell them.
    pub(super) async fn of(frame: &DataFrame) -> Result<Self> {
        let analysed = analysed(frame).await?;
        let settings = settings(frame.client()).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the server does not tell the session's settings");
            BTreeMap::new()
        });
        let place = async {
            let catalog = catalog(frame, CatType::CurrentCatalog(proto::CurrentCatalog {})).await?;
            let database = self::catalog(frame, CatType::CurrentDatabase(proto::CurrentDatabase {})).await?;
            Ok::<_, Error>((catalog_text(&catalog)?, catalog_text(&database)?))
        };
        let place = place.await.inspect_err(|error| tracing::debug!(%error, "the current catalog is unknown")).ok();
        Ok(Self { settings, place, analysed })
    }

    /// Returns whether the plan means the same in this frame's session, which may not understand it at all.
    async fn holds_for(&self, frame: &DataFrame) -> Result<bool> {
        match analysed(frame).await {
            Ok(found) => Ok(found == self.analysed),
            Err(error) if error.is_refusal() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes the frame's session, a copy of the one that was noted, mean the same as far as can be; says whether it
    /// does.
    pub(super) async fn complete_copy(&self, frame: &DataFrame) -> Result<bool> {
        if self.holds_for(frame).await? {
            return Ok(true);
        }
        Error::pass_over(self.restore_place(frame).await, "to change the current catalog")?;
        self.holds_for(frame).await
    }

    /// Gives a new session the settings, catalog and database; returns whether the plan then means the same in it.
    ///
    /// # Errors
    /// [`Error::Server`] for a catalog or database that is gone; [`Error::Unreachable`].
    pub(super) async fn restore(&self, frame: &DataFrame) -> Result<bool> {
        let client = frame.client();
        let now = settings(client).await.unwrap_or_default();
        for (key, value) in self.settings.iter().filter(|(key, value)| now.get(*key) != Some(value)) {
            let pairs = vec![KeyValue { key: key.clone(), value: Some(value.clone()) }];
            if let Err(error) = client.config(OpType::Set(ask::Set { pairs, ..Default::default() })).await {
                // A setting of the server, not of the session.
                tracing::debug!(%error, key, "a setting is not restored");
            }
        }
        self.restore_place(frame).await?;
        self.holds_for(frame).await
    }

    async fn restore_place(&self, frame: &DataFrame) -> Result<()> {
        let Some((catalog_name, db_name)) = self.place.clone() else { return Ok(()) };
        catalog(frame, CatType::SetCurrentCatalog(proto::SetCurrentCatalog { catalog_name })).await?;
        // A catalog may have no current database.
        if !db_name.is_empty() {
            catalog(frame, CatType::SetCurrentDatabase(proto::SetCurrentDatabase { db_name })).await?;
        }
        Ok(())
    }
}

async fn settings(client: &Client) -> Result<BTreeMap<String, String>> {
    let answer = client.config(OpType::GetAll(ask::GetAll { prefix: None })).await?;
    Ok(answer.pairs.into_iter().filter_map(|pair| Some((pair.key, pair.value?))).collect())
}

async fn catalog(frame: &DataFrame, kind: CatType) -> Result<Vec<arrow::array::RecordBatch>> {
    frame.beside(RelType::Catalog(proto::Catalog { cat_type: Some(kind) })).collect().await
}

fn catalog_text(batches: &[arrow::array::RecordBatch]) -> Result<String> {
    let batch = batches.iter().find(|batch| batch.num_rows() > 0);
    batch.map_or_else(|| Ok(String::new()), |batch| Ok(texts(batch, 0)?.value(0).to_owned()))
}

/// Returns the plan with its tables, views, functions and variables resolved, as Spark prints it.
async fn analysed(frame: &DataFrame) -> Result<String> {
    Ok(without_ids(section(&frame.explain(ExplainMode::Extended).await?)))
}

/// Returns the analysed plan among those that are explained; all of them where it is not headed.
fn section(explained: &str) -> &str {
    let begin = explained.find("== Analyzed Logical Plan ==").unwrap_or(0);
    let end = explained[begin..].find("== Optimized Logical Plan ==").map_or(explained.len(), |end| begin + end);
    &explained[begin..end]
}

/// Returns the text without the numbers that Spark gives to columns and plans anew each time: `#12L`, `plan_id=7`.
fn without_ids(plan: &str) -> String {
    let mut kept = String::with_capacity(plan.len());
    let mut rest = plan;
    while let Some(at) = rest.find(['#', '=']) {
        let (before, after) = rest.split_at(at + 1);
        kept.push_str(before);
        let numbered = before.ends_with('#') || before.ends_with("id=");
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        rest = if numbered { &after[digits..] } else { after };
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_that_differ_in_ids_alone_are_equal() {
        let plan = |id: u32| {
            format!(
                "== Parsed Logical Plan ==\n'x\n== Analyzed Logical Plan ==\na: int\nFilter (a#{id} > 7) [plan_id={id}]\n\
                 +- Relation spark_catalog.db.t[a#{id},b#{}L] parquet\n== Optimized Logical Plan ==\nother",
                id + 1
            )
        };
        let analysed = |plan: &str| without_ids(section(plan));
        assert_eq!(analysed(&plan(12)), analysed(&plan(3)));
        assert_ne!(analysed(&plan(12)), analysed(&plan(12).replace("> 7", "> 8")));
        assert_ne!(analysed(&plan(12)), analysed(&plan(12).replace("spark_catalog", "c2")));
        assert_eq!(analysed(&plan(12)), analysed(&plan(12).replace("other", "another")));
    }
}
