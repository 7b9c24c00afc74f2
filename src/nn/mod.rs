//! Networks: described, checked, initialised from a seed and built on a device.
//!
//! [`Network`] is what a user writes: layers without sizes that the data decides. [`Network::resolve`] fills those in and
//! gives a checked, serialisable [`NetworkSpec`]; [`Sequential`] is that specification with [`Weights`] on one device.
//! All randomness comes from [`random`], so a seed decides every weight and every dropout mask on every device.

mod device;
mod init;
mod layer;
mod network;
mod op;
pub mod random;
mod spec;
mod weights;

pub use device::{DeviceName, Devices};
pub use layer::{Activation, Mode};
pub use network::{Parameter, Sequential};
pub use spec::{LayerSpec, Network, NetworkLayer, NetworkSpec, ParameterSpec};
pub use weights::{NamedTensor, Weights};
