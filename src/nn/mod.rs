//! Networks: described, checked, initialised from a seed and built on a device.
//!
//! [`Network`] is what a user writes: layers without sizes that the data decides. [`Network::resolve`] fills those in and
//! gives a checked, serialisable [`NetworkSpec`]; [`Sequential`] is that specification with [`Weights`] on one device, and
//! [`Tape`] trains it on the processor. All randomness comes from [`random`], so a seed decides every weight and every
//! dropout mask on every device.

mod branches;
mod chain;
mod columns;
mod custom;
mod describe;
mod device;
mod files;
mod init;
mod layer;
mod network;
mod onnx;
mod op;
mod precision;
pub mod random;
mod rbm;
mod safetensors;
mod shape;
#[cfg(test)]
mod slopes;
mod spec;
mod split;
mod stage;
mod summary;
mod tape;
mod weights;

pub use columns::{Branch, Embed, InputColumn};
pub use custom::{Custom, CustomNetwork, CustomWeight, register};
pub use describe::{Network, NetworkLayer};
pub use device::{DeviceName, Devices};
pub(crate) use files::replace as replace_file;
pub use layer::{Activation, Attention, Conv, ConvTranspose, Mode, Pool, Readout, Recurrent, Table};
pub use network::{Parameter, Sequential};
pub(crate) use onnx::{Attribute, FEATURES, Graph, LENGTHS, Onnx, Side, data_type};
pub use op::cross_entropy;
pub(crate) use op::{Csr, add_into, alone, exp, sigmoid, wide};
pub use precision::Precision;
pub use rbm::{
    Annealing, ContrastiveDivergence, LogPartition, Rbm, RbmLearner, RbmSpec, RbmStack, RbmStep, Sparsity, VisibleUnits,
};
pub use shape::InputShape;
pub(crate) use spec::Id;
pub use spec::{BranchSpec, LayerSpec, NetworkSpec, ParameterSpec, Part};
pub use tape::Tape;
pub use weights::{NamedTensor, Weights};
