//! A checkpoint as one file: magic, header length, header (JSON), values (little-endian `f32`), SHA-256 of all before
//! it.

use std::io;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Checkpoint, RunProgress};
use crate::{
    Error, Result,
    nn::{NamedTensor, Weights},
    train::OptimizerState,
};

const MAGIC: &[u8; 8] = b"TINDER01";
/// Magic, header length and checksum.
const FRAME: usize = 8 + 8 + 32;

#[derive(Serialize, Deserialize)]
struct Header {
    run: String,
    course: RunProgress,
    weights: Vec<(String, Vec<usize>)>,
    best: Option<Vec<(String, Vec<usize>)>>,
    optimizer_step: u64,
    /// Values in every slot, by parameter.
    slots: Vec<Vec<usize>>,
}

/// Returns a checkpoint as bytes.
pub(super) fn encode(checkpoint: &Checkpoint) -> Result<Vec<u8>> {
    bytes(checkpoint).map_err(|e| Error::io("checkpoint", io::Error::other(e)))
}

/// Reads it back, trusting nothing in it; `name` is that of the bytes.
pub(super) fn decode(name: &str, bytes: &[u8]) -> Result<Checkpoint> {
    whole(bytes).map_err(|why| Error::io(name, io::Error::new(io::ErrorKind::InvalidData, why)))
}

fn bytes(checkpoint: &Checkpoint) -> serde_json::Result<Vec<u8>> {
    let Checkpoint { run, course, weights, optimizer, best } = checkpoint;
    let shapes = |weights: &Weights| weights.tensors().iter().map(|t| (t.name.clone(), t.shape.clone())).collect();
    let header = serde_json::to_vec(&Header {
        run: run.clone(),
        course: course.clone(),
        weights: shapes(weights),
        best: best.as_ref().map(shapes),
        optimizer_step: optimizer.step,
        slots: optimizer.slots.iter().map(|slots| slots.iter().map(Vec::len).collect()).collect(),
    })?;
    let mut bytes = Vec::with_capacity(FRAME + header.len() + 12 * weights.count());
    bytes.extend(MAGIC);
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend(header);
    let tensors = weights.tensors().iter().chain(best.iter().flat_map(Weights::tensors)).map(|t| &t.values);
    for values in tensors.chain(optimizer.slots.iter().flatten()) {
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }
    let sum = Sha256::digest(&bytes);
    bytes.extend(sum);
    Ok(bytes)
}

fn whole(bytes: &[u8]) -> std::result::Result<Checkpoint, String> {
    if bytes.len() < FRAME || !bytes.starts_with(MAGIC) {
        return Err("it is no checkpoint of this format".into());
    }
    let (bytes, sum) = bytes.split_at(bytes.len() - 32);
    if Sha256::digest(bytes).as_slice() != sum {
        return Err("its checksum is not that of its contents".into());
    }
    let length = bytes[8..16].iter().rev().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
    let header = usize::try_from(length).ok().and_then(|length| bytes[16..].get(..length));
    let header = header.ok_or_else(|| format!("its header of {length} bytes is longer than the file"))?;
    let mut rest = &bytes[16 + header.len()..];
    let header: Header = serde_json::from_slice(header).map_err(|e| format!("its header: {e}"))?;
    let weights = weights(header.weights, &mut rest)?;
    let best = header.best.map(|shapes| self::weights(shapes, &mut rest)).transpose()?;
    let mut slots = Vec::new();
    for counts in header.slots {
        slots.push(counts.into_iter().map(|count| values(count, &mut rest)).collect::<std::result::Result<_, _>>()?);
    }
    if !rest.is_empty() {
        return Err(format!("{} bytes are left over", rest.len()));
    }
    let optimizer = OptimizerState { step: header.optimizer_step, slots };
    Ok(Checkpoint { run: header.run, course: header.course, weights, optimizer, best })
}

fn weights(shapes: Vec<(String, Vec<usize>)>, rest: &mut &[u8]) -> std::result::Result<Weights, String> {
    let mut tensors = Vec::new();
    for (name, shape) in shapes {
        let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let count = count.ok_or_else(|| format!("`{name}` of shape {shape:?} is too large"))?;
        tensors.push(NamedTensor { name, shape, values: values(count, rest)? });
    }
    Weights::new(tensors).map_err(|e| e.to_string())
}

/// Takes so many values off the front; memory is taken only for those that exist.
fn values(count: usize, rest: &mut &[u8]) -> std::result::Result<Vec<f32>, String> {
    let bytes = count.checked_mul(4).filter(|bytes| *bytes <= rest.len());
    let bytes = bytes.ok_or_else(|| format!("{count} values are announced and {} bytes are left", rest.len()))?;
    let (own, others) = rest.split_at(bytes);
    *rest = others;
    Ok(own.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}
