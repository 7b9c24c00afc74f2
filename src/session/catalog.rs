//! Databases, tables, views and functions that the server knows.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};
use spark_connect_proto::{self as proto, catalog::CatType, relation::RelType};

use super::Session;
use crate::{
    Error, Result,
    dataframe::{DataFrame, Schema, StorageLevel},
};

/// Databases, tables, views and functions that the server knows, from [`Session::catalog`]. Spark's `Catalog`.
///
/// Names are SQL, with back-quotes where they need them, and may be qualified (`catalog.database.table`). Patterns are
/// Spark's: `*` for any text, `|` between alternatives.
///
/// # Errors
/// Every method: [`Error::Server`] when the server refuses (there is no such thing, it exists already, it may not be
/// changed); [`Error::Unreachable`].
#[derive(Debug, Clone)]
pub struct Catalog {
    session: Session,
}

/// A catalog, as [`Catalog::list_catalogs`] names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CatalogMetadata {
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: Option<String>,
}

/// A database.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogDatabase {
    /// Its name.
    pub name: String,
    /// The catalog that it is in.
    pub catalog: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// The folder of its tables.
    pub location_uri: Option<String>,
}

/// A table or view.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogTable {
    /// Its name.
    pub name: String,
    /// The catalog that it is in; `None` for a temporary view.
    pub catalog: Option<String>,
    /// The database that it is in; `None` or empty for a temporary view.
    pub namespace: Option<Vec<String>>,
    /// Its description.
    pub description: Option<String>,
    /// `MANAGED`, `EXTERNAL`, `VIEW` or `TEMPORARY`; `None` where the server cannot read it.
    pub table_type: Option<String>,
    /// True for a temporary view.
    pub is_temporary: bool,
}

/// A function.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogFunction {
    /// Its name.
    pub name: String,
    /// The catalog that it is in.
    pub catalog: Option<String>,
    /// The database that it is in; `None` for one of Spark's own.
    pub namespace: Option<Vec<String>>,
    /// Its description.
    pub description: Option<String>,
    /// The Java class that computes it.
    pub class_name: Option<String>,
    /// True for one of the session.
    pub is_temporary: bool,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogColumn {
    /// Its name.
    pub name: String,
    /// Its comment.
    pub description: Option<String>,
    /// Its type, as DDL.
    pub data_type: String,
    /// True if it may be null.
    pub nullable: bool,
    /// True if the table is partitioned by it.
    pub is_partition: bool,
    /// True if the table is bucketed by it.
    pub is_bucket: bool,
    /// True if the table is clustered by it.
    #[serde(default)]
    pub is_cluster: bool,
}

/// A table to be made by [`Catalog::create_table`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NewTable {
    /// The folder of its files; the table is then external. In the database's folder if `None`.
    pub path: Option<String>,
    /// Its format; the server's default (`spark.sql.sources.default`) if `None`.
    pub source: Option<String>,
    /// Its columns; those of the files if `None`.
    pub schema: Option<Schema>,
    /// Its description.
    pub description: Option<String>,
    /// Options of the format.
    pub options: BTreeMap<String, String>,
}

impl Session {
    /// Returns the databases, tables, views and functions that the server knows.
    pub fn catalog(&self) -> Catalog {
        Catalog { session: self.clone() }
    }
}

impl Catalog {
    fn frame(&self, kind: CatType) -> DataFrame {
        self.session.frame(RelType::Catalog(proto::Catalog { cat_type: Some(kind) }))
    }

    async fn run(&self, kind: CatType) -> Result<()> {
        self.frame(kind).collect().await.map(drop)
    }

    /// Returns the first value of the answer, which has one column.
    async fn value<T: DeserializeOwned>(&self, kind: CatType) -> Result<T> {
        self.values(kind).await?.into_iter().next().ok_or_else(nothing)
    }

    async fn values<T: DeserializeOwned>(&self, kind: CatType) -> Result<Vec<T>> {
        // Servers name the column as they like, and not every one renames what a catalog answers.
        self.frame(kind).collect_rows().await?.iter().map(|row| row.at(0)).collect()
    }

    async fn one<T: DeserializeOwned>(&self, kind: CatType) -> Result<T> {
        self.frame(kind).collect_as().await?.into_iter().next().ok_or_else(nothing)
    }

    /// Returns the current catalog's name.
    pub async fn current_catalog(&self) -> Result<String> {
        self.value(CatType::CurrentCatalog(proto::CurrentCatalog {})).await
    }

    /// Makes a catalog the current one.
    pub async fn set_current_catalog(&self, name: &str) -> Result<()> {
        self.run(CatType::SetCurrentCatalog(proto::SetCurrentCatalog { catalog_name: name.to_owned() })).await
    }

    /// Returns the catalogs that the session has used, those of a pattern if there is one.
    pub async fn list_catalogs(&self, pattern: Option<&str>) -> Result<Vec<CatalogMetadata>> {
        let list = proto::ListCatalogs { pattern: pattern.map(str::to_owned) };
        self.frame(CatType::ListCatalogs(list)).collect_as().await
    }

    /// Returns the current database's name.
    pub async fn current_database(&self) -> Result<String> {
        self.value(CatType::CurrentDatabase(proto::CurrentDatabase {})).await
    }

    /// Makes a database the current one.
    pub async fn set_current_database(&self, name: &str) -> Result<()> {
        self.run(CatType::SetCurrentDatabase(proto::SetCurrentDatabase { db_name: name.to_owned() })).await
    }

    /// Returns the databases of the current catalog, those of a pattern if there is one.
    pub async fn list_databases(&self, pattern: Option<&str>) -> Result<Vec<CatalogDatabase>> {
        let list = proto::ListDatabases { pattern: pattern.map(str::to_owned) };
        self.frame(CatType::ListDatabases(list)).collect_as().await
    }

    /// Returns a database.
    pub async fn get_database(&self, name: &str) -> Result<CatalogDatabase> {
        self.one(CatType::GetDatabase(proto::GetDatabase { db_name: name.to_owned() })).await
    }

    /// Returns whether a database exists.
    pub async fn database_exists(&self, name: &str) -> Result<bool> {
        self.value(CatType::DatabaseExists(proto::DatabaseExists { db_name: name.to_owned() })).await
    }

    /// Makes a database, with properties such as `location` and `comment`. Spark 4.2 or later; before, use SQL.
    pub async fn create_database(
        &self,
        name: &str,
        if_not_exists: bool,
        properties: BTreeMap<String, String>,
    ) -> Result<()> {
        let properties = properties.into_iter().collect();
        let create = proto::CreateDatabase { db_name: name.to_owned(), if_not_exists, properties };
        self.run(CatType::CreateDatabase(create)).await
    }

    /// Drops a database, its tables too if `cascade`; one that has any is refused otherwise. Spark 4.2 or later; before,
    /// use SQL.
    pub async fn drop_database(&self, name: &str, if_exists: bool, cascade: bool) -> Result<()> {
        let drop = proto::DropDatabase { db_name: name.to_owned(), if_exists, cascade };
        self.run(CatType::DropDatabase(drop)).await
    }

    /// Returns the tables and views of a database (the current one if `None`) and the temporary views, those of a
    /// pattern if there is one.
    pub async fn list_tables(&self, database: Option<&str>, pattern: Option<&str>) -> Result<Vec<CatalogTable>> {
        let (db_name, pattern) = (database.map(str::to_owned), pattern.map(str::to_owned));
        self.frame(CatType::ListTables(proto::ListTables { db_name, pattern })).collect_as().await
    }

    /// Returns the views of a database (the current one if `None`) and the temporary views, those of a pattern if there
    /// is one. Spark 4.2 or later.
    pub async fn list_views(&self, database: Option<&str>, pattern: Option<&str>) -> Result<Vec<CatalogTable>> {
        let (db_name, pattern) = (database.map(str::to_owned), pattern.map(str::to_owned));
        self.frame(CatType::ListViews(proto::ListViews { db_name, pattern })).collect_as().await
    }

    /// Returns a table or view.
    pub async fn get_table(&self, name: &str) -> Result<CatalogTable> {
        self.one(CatType::GetTable(proto::GetTable { table_name: name.to_owned(), db_name: None })).await
    }

    /// Returns whether a table or view exists.
    pub async fn table_exists(&self, name: &str) -> Result<bool> {
        self.value(CatType::TableExists(proto::TableExists { table_name: name.to_owned(), db_name: None })).await
    }

    /// Makes a table without rows, or one over files that exist; returns it.
    pub async fn create_table(&self, name: &str, table: NewTable) -> Result<DataFrame> {
        let schema = table.schema.map(|schema| schema.to_proto());
        let create = proto::CreateTable {
            table_name: name.to_owned(),
            path: table.path,
            source: table.source,
            description: table.description,
            schema,
            options: table.options.into_iter().collect(),
        };
        self.run(CatType::CreateTable(create)).await?;
        Ok(self.session.table(name))
    }

    /// Drops a table; `purge` also keeps it from a trash folder. Spark 4.2 or later; see
    /// [`Session::drop_table`] for any version.
    pub async fn drop_table(&self, name: &str, if_exists: bool, purge: bool) -> Result<()> {
        self.run(CatType::DropTable(proto::DropTable { table_name: name.to_owned(), if_exists, purge })).await
    }

    /// Drops a view. Spark 4.2 or later; before, use SQL.
    pub async fn drop_view(&self, name: &str, if_exists: bool) -> Result<()> {
        self.run(CatType::DropView(proto::DropView { view_name: name.to_owned(), if_exists })).await
    }

    /// Drops a view of the session; returns whether there was one.
    pub async fn drop_temp_view(&self, name: &str) -> Result<bool> {
        self.value(CatType::DropTempView(proto::DropTempView { view_name: name.to_owned() })).await
    }

    /// Drops a view of the whole server; returns whether there was one.
    pub async fn drop_global_temp_view(&self, name: &str) -> Result<bool> {
        self.value(CatType::DropGlobalTempView(proto::DropGlobalTempView { view_name: name.to_owned() })).await
    }

    /// Returns the columns of a table or view.
    pub async fn list_columns(&self, table: &str) -> Result<Vec<CatalogColumn>> {
        let list = proto::ListColumns { table_name: table.to_owned(), db_name: None };
        self.frame(CatType::ListColumns(list)).collect_as().await
    }

    /// Returns the partitions of a table, such as `day=1/hour=2`. Spark 4.2 or later.
    pub async fn list_partitions(&self, table: &str) -> Result<Vec<String>> {
        self.values(CatType::ListPartitions(proto::ListPartitions { table_name: table.to_owned() })).await
    }

    /// Returns a table's properties. Spark 4.2 or later.
    pub async fn table_properties(&self, table: &str) -> Result<BTreeMap<String, String>> {
        let list = proto::GetTableProperties { table_name: table.to_owned() };
        let rows = self.frame(CatType::GetTableProperties(list)).collect_rows().await?;
        rows.iter().map(|row| Ok((row.at(0)?, row.at(1)?))).collect()
    }

    /// Returns the SQL that makes a table like this one; as Hive's if `as_serde`. Spark 4.2 or later.
    pub async fn create_table_string(&self, table: &str, as_serde: bool) -> Result<String> {
        let show = proto::GetCreateTableString { table_name: table.to_owned(), as_serde };
        self.value(CatType::GetCreateTableString(show)).await
    }

    /// Deletes a table's rows. Spark 4.2 or later; before, use SQL.
    pub async fn truncate_table(&self, table: &str) -> Result<()> {
        self.run(CatType::TruncateTable(proto::TruncateTable { table_name: table.to_owned() })).await
    }

    /// Takes a table's statistics for the optimizer; only its size if `no_scan`. Spark 4.2 or later; before, use SQL.
    pub async fn analyze_table(&self, table: &str, no_scan: bool) -> Result<()> {
        self.run(CatType::AnalyzeTable(proto::AnalyzeTable { table_name: table.to_owned(), no_scan })).await
    }

    /// Returns the functions of a database (the current one if `None`), and Spark's own, those of a pattern if there is
    /// one.
    pub async fn list_functions(&self, database: Option<&str>, pattern: Option<&str>) -> Result<Vec<CatalogFunction>> {
        let (db_name, pattern) = (database.map(str::to_owned), pattern.map(str::to_owned));
        self.frame(CatType::ListFunctions(proto::ListFunctions { db_name, pattern })).collect_as().await
    }

    /// Returns a function.
    pub async fn get_function(&self, name: &str) -> Result<CatalogFunction> {
        self.one(CatType::GetFunction(proto::GetFunction { function_name: name.to_owned(), db_name: None })).await
    }

    /// Returns whether a function exists.
    pub async fn function_exists(&self, name: &str) -> Result<bool> {
        let exists = proto::FunctionExists { function_name: name.to_owned(), db_name: None };
        self.value(CatType::FunctionExists(exists)).await
    }

    /// Returns whether the cluster keeps a table's rows.
    pub async fn is_cached(&self, table: &str) -> Result<bool> {
        self.value(CatType::IsCached(proto::IsCached { table_name: table.to_owned() })).await
    }

    /// Has the cluster keep a table's rows, at a storage level (memory and disk if `None`).
    pub async fn cache_table(&self, table: &str, level: Option<StorageLevel>) -> Result<()> {
        let storage_level = level.map(StorageLevel::to_proto);
        self.run(CatType::CacheTable(proto::CacheTable { table_name: table.to_owned(), storage_level })).await
    }

    /// Lets go of a table's rows.
    pub async fn uncache_table(&self, table: &str) -> Result<()> {
        self.run(CatType::UncacheTable(proto::UncacheTable { table_name: table.to_owned() })).await
    }

    /// Lets go of the rows of all tables and frames.
    pub async fn clear_cache(&self) -> Result<()> {
        self.run(CatType::ClearCache(proto::ClearCache {})).await
    }

    /// Has the session forget which files a table has, so that it sees what others wrote since.
    pub async fn refresh_table(&self, table: &str) -> Result<()> {
        self.run(CatType::RefreshTable(proto::RefreshTable { table_name: table.to_owned() })).await
    }

    /// As [`refresh_table`](Self::refresh_table), of every frame that reads files under a path.
    pub async fn refresh_by_path(&self, path: &str) -> Result<()> {
        self.run(CatType::RefreshByPath(proto::RefreshByPath { path: path.to_owned() })).await
    }

    /// Adds the partitions that a table's folder has to the table.
    pub async fn recover_partitions(&self, table: &str) -> Result<()> {
        self.run(CatType::RecoverPartitions(proto::RecoverPartitions { table_name: table.to_owned() })).await
    }
}

fn nothing() -> Error {
    Error::Incomplete { operation: "Catalog".into(), reason: "the answer has no row".into() }
}
