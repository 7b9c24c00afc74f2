//! Embeddings: ids that stand for rows of trained numbers.

use candle_core::{DType, Result, Tensor};
use serde::{Deserialize, Serialize};

use crate::{
    Result as Checked,
    nn::{
        InputShape,
        onnx::{Graph, OnnxAttribute, data_type},
        op::Lookup,
    },
};

/// An embedding: a row of trained numbers per id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "job", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Embedding {
    /// Number of ids; they count from 0.
    pub num_embeddings: usize,
    /// Numbers of one id.
    pub embedding_dim: usize,
}

impl Embedding {
    /// Creates an embedding of `num_embeddings` ids, `embedding_dim` numbers each.
    pub fn new(num_embeddings: usize, embedding_dim: usize) -> Self {
        Self { num_embeddings, embedding_dim }
    }

    fn check(&self) -> std::result::Result<(), (String, String)> {
        let legal = (1..=1 << 24).contains(&self.num_embeddings) && (1..=1 << 20).contains(&self.embedding_dim);
        // Ids travel in single precision, which is exact up to 2²⁴.
        let fits = format!("num_embeddings is 1 to {}, embedding_dim 1 to {}", 1 << 24, 1 << 20);
        if legal {
            Ok(())
        } else {
            Err((format!("num_embeddings = {}, embedding_dim = {}", self.num_embeddings, self.embedding_dim), fits))
        }
    }

    /// Returns an embedding as ONNX's operators have it.
    pub(in crate::nn) fn onnx(self, graph: &mut Graph<'_>, x: &str, own: &str, input: &InputShape) -> Checked<String> {
        let mut ids = graph.cast(x, data_type::INT64);
        if input.ragged {
            let axes = graph.ints(&[2]);
            ids = graph.node("Squeeze", &[&ids, &axes], Vec::new());
        }
        let weight = graph.weight(&format!("{own}weight"))?;
        Ok(graph.node("Gather", &[&weight, &ids], vec![("axis", OnnxAttribute::Int(0))]))
    }
}

/// Returns the output of one embedding for a row, or a step, of ids: PyTorch's `nn.Embedding`. Ids `(n)` become `(n,
/// embedding_dim)`; a step that is one id becomes `embedding_dim` numbers.
pub(crate) fn embedding(
    table: Embedding,
    input: &InputShape,
) -> std::result::Result<(InputShape, Lookup), (String, String)> {
    table.check()?;
    let (&[n], true) = (&input.dims[..], !input.ragged || input.dims == [1]) else {
        return Err((format!("rows of shape {input}"), "it takes ids side by side, or one a step".into()));
    };
    let dims = if input.ragged { vec![table.embedding_dim] } else { vec![n, table.embedding_dim] };
    let lookup = Lookup { tables: vec![table], ids: n, rest: 0 };
    Ok((InputShape { dims, ragged: input.ragged }, lookup))
}

/// Returns the output for a row whose first values are categories, each with its own embedding: the embeddings side by
/// side, and the other values behind them.
pub(crate) fn categories(
    tables: &[Embedding],
    input: &InputShape,
) -> std::result::Result<(InputShape, Lookup), (String, String)> {
    tables.iter().try_for_each(Embedding::check)?;
    let Some(n) = input.flat().filter(|n| *n >= tables.len() && !tables.is_empty()) else {
        let fits = format!("it takes rows of at least {} values, the categories first", tables.len().max(1));
        return Err((format!("rows of shape {input}"), fits));
    };
    let lookup = Lookup { tables: tables.to_vec(), ids: tables.len(), rest: n - tables.len() };
    let wide = lookup.tables.iter().map(|table| table.embedding_dim).sum::<usize>() + lookup.rest;
    Ok((wide.into(), lookup))
}

/// Returns the same by candle's operations; `x` is `(rows, ids + rest)`, the result `(rows, …)` flat.
pub(crate) fn forward(lookup: &Lookup, x: &Tensor, params: &[&Tensor]) -> Result<Tensor> {
    let rows = x.dim(0)?;
    let x = x.reshape((rows, lookup.ids + lookup.rest))?;
    let mut parts = Vec::with_capacity(lookup.ids + 1);
    for id in 0..lookup.ids {
        let table = params[if lookup.tables.len() == 1 { 0 } else { id }];
        parts.push(table.index_select(&x.narrow(1, id, 1)?.squeeze(1)?.to_dtype(DType::U32)?, 0)?);
    }
    if lookup.rest > 0 {
        parts.push(x.narrow(1, lookup.ids, lookup.rest)?);
    }
    Tensor::cat(&parts, 1)
}

/// Categories as ONNX's operators have them; `own` is what the tables' names begin with.
pub(in crate::nn) fn categories_onnx(
    tables: &[Embedding],
    graph: &mut Graph<'_>,
    x: &str,
    own: &str,
    input: &InputShape,
) -> Checked<String> {
    let mut parts = Vec::with_capacity(tables.len() + 1);
    for id in 0..tables.len() {
        let place = graph.int(id as i64);
        let value = graph.node("Gather", &[x, &place], vec![("axis", OnnxAttribute::Int(1))]);
        let value = graph.cast(&value, data_type::INT64);
        let weight = graph.weight(&format!("{own}weight_{id}"))?;
        parts.push(graph.node("Gather", &[&weight, &value], vec![("axis", OnnxAttribute::Int(0))]));
    }
    if input.count() > tables.len() {
        let [begin, end, axis] = [tables.len(), input.count(), 1].map(|number| graph.ints(&[number as i64]));
        parts.push(graph.node("Slice", &[x, &begin, &end, &axis], Vec::new()));
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Ok(graph.node("Concat", &parts, vec![("axis", OnnxAttribute::Int(1))]))
}
