//! The names of the devices to train and predict on.

use std::{fmt, str::FromStr};

use candle_core::Device;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// One device by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DeviceName {
    /// The processor, all of its cores.
    #[default]
    Cpu,
    /// The CUDA device with this number (feature `cuda`).
    Cuda(usize),
    /// The Metal device (feature `metal`).
    Metal,
}

impl DeviceName {
    /// Opens the device.
    ///
    /// # Errors
    /// [`Error::Param`] when the crate was built without the device's feature, or the machine has no such device.
    pub fn open(self) -> Result<Device> {
        let (feature, built, opened) = match self {
            DeviceName::Cpu => return Ok(Device::Cpu),
            DeviceName::Cuda(ordinal) => ("cuda", cfg!(feature = "cuda"), Device::new_cuda(ordinal)),
            DeviceName::Metal => ("metal", cfg!(feature = "metal"), Device::new_metal(0)),
        };
        if !built {
            return Err(Error::param(
                "devices",
                self,
                format!("a device this build knows: `cpu`, or build with feature `{feature}`"),
            ));
        }
        opened.map_err(|e| Error::param("devices", self, format!("a device of this machine ({e})")))
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceName::Cpu => f.write_str("cpu"),
            DeviceName::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
            DeviceName::Metal => f.write_str("metal"),
        }
    }
}

/// The devices that share the work, one replica of the network each. The default is `cpu`.
///
/// Parsed from `cpu`, `metal`, `cuda` (the first), `cuda:all`, or a list such as `cuda:0,cuda:1`. A device may be
/// listed twice: it then runs two replicas.
///
/// ```
/// let devices: tinderbox::nn::Devices = "cuda:0, cuda:1".parse()?;
/// assert_eq!(devices.to_string(), "cuda:0,cuda:1");
/// # Ok::<(), tinderbox::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Devices(List);

#[derive(Debug, Clone, PartialEq, Eq)]
enum List {
    AllCuda,
    Named(Vec<DeviceName>),
}

impl Devices {
    /// Creates the processor alone.
    pub fn cpu() -> Self {
        Self(List::Named(vec![DeviceName::Cpu]))
    }

    /// Returns whether the processor is one of them.
    pub(super) fn include_processor(&self) -> bool {
        matches!(&self.0, List::Named(names) if names.contains(&DeviceName::Cpu))
    }

    /// Returns whether only the processor is listed, once or more.
    pub(crate) fn are_processor(&self) -> bool {
        matches!(&self.0, List::Named(names) if names.iter().all(|name| *name == DeviceName::Cpu))
    }

    /// Opens every device, in the order listed.
    ///
    /// # Errors
    /// [`Error::Param`] when one is not built in or missing.
    pub fn open(&self) -> Result<Vec<Device>> {
        match &self.0 {
            List::Named(names) => names.iter().map(|name| name.open()).collect(),
            List::AllCuda => {
                let first = DeviceName::Cuda(0).open()?;
                // candle cannot count devices: open them until one is missing.
                Ok(std::iter::once(first).chain((1..).map_while(|n| Device::new_cuda(n).ok())).collect())
            }
        }
    }
}

impl Devices {
    /// Returns one for every device, each alone: what can be worked on at the same time.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn each(&self) -> Result<Vec<Devices>> {
        let names = match &self.0 {
            List::Named(names) => names.clone(),
            List::AllCuda => (0..self.open()?.len()).map(DeviceName::Cuda).collect(),
        };
        Ok(names.into_iter().map(|name| Devices(List::Named(vec![name]))).collect())
    }
}

impl Default for Devices {
    fn default() -> Self {
        Self::cpu()
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            List::AllCuda => f.write_str("cuda:all"),
            List::Named(names) => {
                let names: Vec<String> = names.iter().map(DeviceName::to_string).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

impl FromStr for Devices {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::param("devices", text, "`cpu`, `metal`, `cuda:all`, or a list such as `cuda:0,cuda:1`");
        if text.trim() == "cuda:all" {
            return Ok(Self(List::AllCuda));
        }
        let name = |word: &str| match word.trim() {
            "cpu" => Ok(DeviceName::Cpu),
            "metal" => Ok(DeviceName::Metal),
            "cuda" => Ok(DeviceName::Cuda(0)),
            word => {
                let ordinal = word.strip_prefix("cuda:").ok_or_else(bad)?;
                ordinal.parse().map(DeviceName::Cuda).map_err(|_| bad())
            }
        };
        Ok(Self(List::Named(text.split(',').map(name).collect::<Result<_>>()?)))
    }
}

impl TryFrom<String> for Devices {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Devices> for String {
    fn from(devices: Devices) -> Self {
        devices.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_lists_are_read_and_written_alike() {
        for text in ["cpu", "metal", "cuda:all", "cuda:0,cuda:0,cpu"] {
            assert_eq!(text.parse::<Devices>().unwrap().to_string(), text);
        }
        assert_eq!(" cuda , cpu ".parse::<Devices>().unwrap().to_string(), "cuda:0,cpu");
        for text in ["", "gpu", "cuda:", "cuda:x", "cpu,,cpu", "cuda:-1", "cuda:all,cpu"] {
            let message = text.parse::<Devices>().unwrap_err().to_string();
            assert!(message.contains("cuda:all"), "{message}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_left_out_of_the_build_is_refused_by_name_of_the_feature() {
        let message = "cuda:3".parse::<Devices>().unwrap().open().unwrap_err().to_string();
        assert!(message.contains("cuda:3") && message.contains("feature `cuda`"), "{message}");
    }
}
