//! Networks: described, checked, initialised from a seed and built on a device.
//!
//! [`Network`] is what a user writes: layers without sizes that the data decides. [`Network::resolve`] fills those in
//! and gives a checked, serialisable [`NetworkSpec`]; [`Sequential`] is that specification with [`Weights`] on one
//! device, and [`Tape`] trains it on the processor. All randomness comes from [`Philox`](random::Philox), so a seed
//! decides every weight and every dropout mask on every device.

mod branches;
mod chain;
mod columns;
mod custom;
mod describe;
mod device;
mod files;
mod init;
pub(crate) mod layer;
pub(crate) mod network;
mod onnx;
pub(crate) mod op;
mod precision;
pub(crate) mod random;
pub(crate) mod rbm;
mod safetensors;
mod shape;
#[cfg(test)]
mod slopes;
pub(crate) mod spec;
mod split;
mod stage;
mod summary;
pub(crate) mod tape;
mod weights;

pub use columns::{Branch, CategoryEmbedding, InputColumn};
pub use custom::{Custom, CustomNetwork, CustomWeight, register};
pub use describe::{Network, NetworkLayer};
pub use device::{DeviceName, Devices};
pub(crate) use files::replace as replace_file;
pub(crate) use layer::Mode;
pub use layer::{Activation, Attention, Conv, ConvTranspose, Embedding, Pool, Recurrent, SequenceOutput};
pub(crate) use network::Parameter;
pub use network::Sequential;
pub(crate) use onnx::{FEATURES, Graph, LENGTHS, Onnx, OnnxAttribute, Side, data_type};
pub(crate) use op::cross_entropy;
pub(crate) use op::{Csr, add_into, alone, exp, sigmoid, wide};
pub use precision::Precision;
pub use rbm::{Annealing, ContrastiveDivergence, Sparsity, VisibleUnits};
pub(crate) use rbm::{Rbm, RbmLearner, RbmSpec, RbmStack};
pub use shape::InputShape;
pub(crate) use spec::Id;
pub(crate) use spec::{BranchSpec, ParameterSpec};
pub use spec::{LayerSpec, NetworkSpec};
pub(crate) use summary::grouped;
pub(crate) use tape::Tape;
pub use weights::{NamedTensor, Weights};
