//! Several input columns of a network, each with its own branch of layers.

use serde::{Deserialize, Serialize};

use super::{
    InputShape, LayerSpec, Network, NetworkLayer,
    describe::sized,
    layer::Embedding,
    spec::{BranchSpec, ColumnRange},
};
use crate::{Error, Result};

/// Name that stands for all columns that no branch names.
const REST: &str = "*";

/// A column that goes into a network: which of a row's values are its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputColumn {
    /// Its name.
    pub name: String,
    /// Its first value's place in a row.
    pub begin: usize,
    /// Its dimensions; none for a single number.
    pub dims: Vec<usize>,
    /// Number of categories, where the column is known to be one.
    pub categories: Option<usize>,
}

impl InputColumn {
    /// Columns side by side, each with its dimensions (none for a single number), of no known categories.
    pub fn side_by_side<N: Into<String>, D: Into<Vec<usize>>>(columns: impl IntoIterator<Item = (N, D)>) -> Vec<Self> {
        let mut begin = 0;
        let place = |(name, dims): (N, D)| {
            let column = Self { name: name.into(), begin, dims: dims.into(), categories: None };
            begin = begin.saturating_add(column.count());
            column
        };
        columns.into_iter().map(place).collect()
    }

    /// Creates a column of one category, of so many.
    pub fn category(name: impl Into<String>, begin: usize, categories: usize) -> Self {
        Self { name: name.into(), begin, dims: Vec::new(), categories: Some(categories) }
    }

    /// Returns the number of its values in a row. Saturates.
    pub fn count(&self) -> usize {
        self.dims.iter().fold(1, |n: usize, &d| n.saturating_mul(d))
    }
}

/// One way into a network: some of a row's columns, and the layers that they go through. What comes out is flattened
/// and put beside what the other branches give.
///
/// As JSON, in a layer `{"kind": "join", "branches": [...]}`: `{"columns": ["city", "plan"], "embed": {}}` or
/// `{"columns": ["*"], "layers": [{"kind": "linear", "out_features": 8}]}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "job", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Branch {
    /// The names of its columns, side by side in this order; `*` stands for all that no branch names.
    pub columns: Vec<String>,
    /// Set if each column is a category, replaced by a row of its embedding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embed: Option<CategoryEmbedding>,
    /// The layers, first to last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<NetworkLayer>,
}

/// Settings of the categories' embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "job", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CategoryEmbedding {
    /// Number of categories of each column; those of its metadata unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_embeddings: Option<usize>,
    /// Numbers that stand for one; half as many as there are categories, rounded up, and 50 at most unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_dim: Option<usize>,
}

impl Branch {
    /// Columns of numbers, as they are.
    pub fn numbers<N: Into<String>>(columns: impl IntoIterator<Item = N>) -> Self {
        Self { columns: columns.into_iter().map(Into::into).collect(), embed: None, layers: Vec::new() }
    }

    /// Columns of categories, each with its own embedding.
    pub fn categories<N: Into<String>>(columns: impl IntoIterator<Item = N>) -> Self {
        Self { embed: Some(CategoryEmbedding::default()), ..Self::numbers(columns) }
    }

    /// Creates all columns that no branch names.
    pub fn rest() -> Self {
        Self::numbers([REST])
    }

    /// Sends its columns through the layers of a network.
    pub fn through(mut self, network: Network) -> Self {
        self.layers.extend(network.layers);
        self
    }
}

/// Numbers that stand for one of so many categories.
pub(super) fn table(count: usize) -> Embedding {
    Embedding::new(count, count.div_ceil(2).clamp(1, 50))
}

fn misfit(name: &str, got: impl Into<String>, fits: impl Into<String>) -> Error {
    Error::Network { layer: name.to_owned(), got: got.into(), fits: fits.into() }
}

/// Finds the branches' columns among those that go in, and fills their layers' sizes in.
pub(super) fn join(name: &str, branches: &[Branch], known: &[InputColumn], row: &InputShape) -> Result<LayerSpec> {
    if known.is_empty() {
        let fits = "the names of the columns must be known: `resolve_columns`, or several columns of features";
        return Err(misfit(name, "rows whose columns have no names", fits));
    }
    let beyond = |column: &&InputColumn| column.begin.checked_add(column.count()).is_none_or(|end| end > row.count());
    if let Some(InputColumn { name: column, begin, .. }) = known.iter().find(beyond) {
        let got = format!("column `{column}`, which begins at value {begin} and goes beyond the row");
        return Err(misfit(name, got, format!("a row has {} values", row.count())));
    }
    let find = |wanted: &str| {
        known.iter().find(|column| column.name == wanted).ok_or_else(|| {
            let names: Vec<&str> = known.iter().take(20).map(|column| &*column.name).collect();
            let more = if known.len() > names.len() { ", …" } else { "" };
            misfit(name, format!("no column `{wanted}`"), format!("the columns are {}{more}", names.join(", ")))
        })
    };
    let mut named = Vec::new();
    for wanted in branches.iter().flat_map(|branch| &branch.columns).filter(|wanted| *wanted != REST) {
        let column = find(wanted)?;
        named.push(column.begin..column.begin + column.count());
    }
    let mut all = Vec::new();
    for (i, branch) in branches.iter().enumerate() {
        let mut columns = Vec::new();
        for wanted in &branch.columns {
            match &**wanted {
                REST => columns.extend(rest(known, &named)),
                wanted => columns.push(find(wanted)?.clone()),
            }
        }
        let name = format!("{name}: branch {i}");
        match columns.as_slice() {
            // There is nothing left.
            [] if branch.columns == [REST] => {}
            [] => return Err(misfit(&name, "no column", "a branch takes at least one")),
            columns => all.push(fill(&name, branch, columns)?),
        }
    }
    let join = LayerSpec::Join { branches: all };
    join.after(name, row)?;
    Ok(join)
}

/// Returns the unnamed values, as columns.
fn rest(known: &[InputColumn], named: &[std::ops::Range<usize>]) -> Vec<InputColumn> {
    let mut all: Vec<InputColumn> = Vec::new();
    for column in known {
        let taken = |at: usize| named.iter().any(|range| range.contains(&at)) || all.iter().any(|c| within(c, at));
        let own = column.begin..column.begin + column.count();
        let mut free: Vec<usize> = own.clone().filter(|at| !taken(*at)).collect();
        if free.len() == own.len() {
            all.push(column.clone());
            continue;
        }
        // Runs of what is left of it.
        while let Some(&begin) = free.first() {
            let run = free.iter().enumerate().take_while(|(i, at)| **at == begin + i).count();
            free.drain(..run);
            all.push(InputColumn { name: column.name.clone(), begin, dims: vec![run], categories: None });
        }
    }
    all
}

fn within(column: &InputColumn, at: usize) -> bool {
    (column.begin..column.begin + column.count()).contains(&at)
}

/// Returns a branch with its sizes filled in.
fn fill(name: &str, branch: &Branch, columns: &[InputColumn]) -> Result<BranchSpec> {
    let parts =
        columns.iter().map(|c| ColumnRange { name: c.name.clone(), begin: c.begin, count: c.count() }).collect();
    let inputs = match columns {
        [only] if only.dims.len() > 1 => InputShape::from(only.dims.clone()),
        several => several.iter().map(InputColumn::count).sum::<usize>().into(),
    };
    let mut layers = Vec::new();
    let mut shape = inputs.clone();
    if let Some(embed) = branch.embed {
        let table = |column: &InputColumn| {
            let called = format!("column `{}`", column.name);
            if column.count() != 1 {
                let got = format!("{called} of {} values", column.count());
                return Err(misfit(name, got, "a category is one value"));
            }
            let Some(count) = embed.num_embeddings.or(column.categories) else {
                let fits = "a StringIndexer writes that, or `count` of the branch's `embed` says how many there are";
                return Err(misfit(name, format!("{called}, whose metadata counts no categories"), fits));
            };
            Ok(embed.embedding_dim.map_or_else(|| self::table(count), |dims| Embedding::new(count, dims)))
        };
        let lookup = LayerSpec::Categories { tables: columns.iter().map(table).collect::<Result<_>>()? };
        shape = lookup.after(&format!("{name}: 0 (categories)"), &shape)?;
        layers.push(lookup);
    }
    let path = (name, layers.is_empty());
    let (more, output) = sized(&branch.layers, path, layers.len(), &[], &shape)?;
    layers.extend(more);
    if output.dims.len() > 1 && !output.ragged {
        layers.push(LayerSpec::Flatten);
    }
    Ok(BranchSpec { columns: parts, inputs, layers })
}

#[cfg(test)]
mod tests;
