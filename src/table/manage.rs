//! Keeping a table of models in order: tags, copies, differences, deletion.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use spark_connect::lit_string;

use super::{
    ModelTable, VersionEntry, encode,
    layout::{Manifest, TAG, Withdrawn},
    store::now,
};
use crate::{
    Error, Result,
    dataframe::{DataFrame, SaveMode, Scratch, ScratchTable, column, function},
    session,
};

impl ModelTable {
    /// Gives a version a tag, such as `production`; the tag moves if another version of the model has it.
    ///
    /// # Errors
    /// [`Error::Param`] for an empty tag; [`Error::ModelTable`] when there is no such version; [`Error::Server`],
    /// [`Error::Unreachable`].
    pub async fn tag(&self, name: &str, version: i64, tag: &str) -> Result<()> {
        if tag.is_empty() {
            return Err(Error::param("tag", "an empty text", "a name"));
        }
        self.version(name, version).await?;
        self.append([encode::tag(name, version, now(), tag)].into_iter()).await
    }

    /// Returns the versions of a model that have tags, by tag.
    ///
    /// # Errors
    /// [`Error::ModelTable`] when the table is no model table; [`Error::Server`], [`Error::Unreachable`].
    pub async fn tags(&self, name: &str) -> Result<BTreeMap<String, i64>> {
        if !self.exists().await? {
            return Ok(BTreeMap::new());
        }
        let tags = self.model(name).filter(column("kind").eq(lit_string(TAG)));
        let newest = function("max_by", [column("version"), column("created_at")]).alias("version");
        let mut found = BTreeMap::new();
        for batch in tags.group_by([column("name")]).agg([newest]).collect().await? {
            found.extend(self.texts(&batch, 0)?.into_iter().zip(self.numbers_of(&batch, 1)?));
        }
        Ok(found)
    }

    /// Returns the version of a model that has a tag.
    ///
    /// # Errors
    /// As [`tags`](Self::tags); [`Error::ModelTable`] too when no version has it, with the tags that there are.
    pub async fn tagged(&self, name: &str, tag: &str) -> Result<i64> {
        let tags = self.tags(name).await?;
        tags.get(tag).copied().ok_or_else(|| {
            let known: Vec<&str> = tags.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            self.bad(format!("no version of model `{name}` has the tag `{tag}`; tags there are: {known}"))
        })
    }

    /// Copies a version, as a new version of a model of this or another table; returns its new number.
    ///
    /// # Errors
    /// As [`load`](Self::load) and [`save`](Self::save).
    pub async fn copy_to(&self, name: &str, version: i64, table: &ModelTable, copy: &str) -> Result<i64> {
        let (_, manifest, weights) = self.load(name, Some(version)).await?;
        table.save(copy, &Manifest { withdrawn: Vec::new(), ..manifest }, &weights).await
    }

    /// Deletes a version with its tags. A table whose format deletes no rows is rewritten; nothing else may write it
    /// meanwhile. The number of the newest version, once deleted, is given again.
    ///
    /// # Errors
    /// [`Error::ModelTable`] when there is no such version; [`Error::Server`], [`Error::Unreachable`].
    pub async fn delete(&self, name: &str, version: i64) -> Result<()> {
        let entry = self.version(name, version).await?;
        self.delete_all(name, &[entry]).await
    }

    /// Deletes all but the newest `keep` versions of a model, and but those with a tag, as [`delete`](Self::delete)
    /// does; returns the numbers of the deleted ones.
    ///
    /// # Errors
    /// [`Error::Param`] for 0 versions; [`Error::ModelTable`] when there is no such model; [`Error::Server`],
    /// [`Error::Unreachable`].
    pub async fn prune(&self, name: &str, keep: usize) -> Result<Vec<i64>> {
        if keep == 0 {
            return Err(Error::param("keep", keep, "at least 1 version"));
        }
        let tagged: BTreeSet<i64> = self.tags(name).await?.into_values().collect();
        let versions = self.versions(name).await?.into_iter().skip(keep);
        let old: Vec<VersionEntry> = versions.filter(|entry| !tagged.contains(&entry.version)).collect();
        if !old.is_empty() {
            self.delete_all(name, &old).await?;
        }
        Ok(old.into_iter().map(|entry| entry.version).collect())
    }

    async fn version(&self, name: &str, version: i64) -> Result<VersionEntry> {
        let versions = self.versions(name).await?;
        let known: Vec<String> = versions.iter().take(20).map(|entry| entry.version.to_string()).collect();
        versions
            .into_iter()
            .find(|entry| entry.version == version)
            .ok_or_else(|| self.bad(format!("model `{name}` has no version {version}; it has {}", known.join(", "))))
    }

    async fn delete_all(&self, name: &str, entries: &[VersionEntry]) -> Result<()> {
        // A copy that one of them withdrew would be read again.
        let withdrawn = entries.iter().flat_map(|entry| &entry.manifest.withdrawn);
        let copies = withdrawn.map(|Withdrawn { version, created_at }| {
            format!("version = {version} AND unix_micros(created_at) = {created_at}")
        });
        let versions = entries.iter().map(|entry| format!("version = {}", entry.version));
        let any = versions.chain(copies).collect::<Vec<_>>().join(" OR ");
        let name = || session::positional(name).into();
        let delete = format!("DELETE FROM {} WHERE model = ? AND ({any})", self.table());
        match self.spark().sql_with(&delete, name()).await {
            Err(Error::Server(error)) if error.is_refused_plan() => {
                tracing::info!(table = self.table(), "the table's format deletes no rows; writing the others anew");
                let others = format!("SELECT * FROM {} WHERE NOT (model = ? AND ({any}))", self.table());
                self.rewrite(&self.spark().sql_with(&others, name()).await?).await
            }
            deleted => deleted.map(drop),
        }
    }

    /// Replaces the table's rows by some of them.
    async fn rewrite(&self, rows: &DataFrame) -> Result<()> {
        let staging = ScratchTable::new(rows.context(), Scratch::beside(self.table()).as_ref()).await?;
        rows.write().save_as_table(staging.name()).await?;
        let staged = staging.rows(rows);
        if let Err(error) = staged.write().mode(SaveMode::Overwrite).insert_into(self.table()).await {
            let kept = staging.keep();
            return Err(self.bad(format!("it could not be written anew ({error}); all its rows are in {kept}")));
        }
        staging.close().await;
        Error::pass_over(self.spark().catalog().refresh_table(self.table()).await, "to refresh a table")
    }
}

impl Manifest {
    /// Returns the differences of two versions: settings, network, columns, lineage and metrics, but not weights and
    /// history. Each with its path, such as `training.epochs`, its value in this and in the other; null where it is
    /// missing.
    pub fn differences(&self, other: &Manifest) -> Vec<(String, Value, Value)> {
        let [ours, theirs] = [self, other].map(|manifest| {
            let mut value = serde_json::to_value(manifest).unwrap_or_default();
            if let Some(parts) = value.as_object_mut() {
                parts.retain(|name, _| !["history", "tensors", "checksum", "withdrawn"].contains(&name.as_str()));
            }
            value
        });
        let mut found = Vec::new();
        differ(String::new(), &ours, &theirs, &mut found);
        found
    }
}

fn differ(path: String, ours: &Value, theirs: &Value, found: &mut Vec<(String, Value, Value)>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let value = |of: &serde_json::Map<String, Value>| of.get(name).cloned().unwrap_or_default();
                differ(below(name), &value(a), &value(b), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().for_each(|(i, (a, b))| differ(below(&i.to_string()), a, b, found));
        }
        (a, b) if a == b => {}
        (a, b) => found.push((path, a.clone(), b.clone())),
    }
}
