//! Weights as files of the safetensors format, which other frameworks read and write.

use std::{collections::HashMap, fs, io, path::Path};

use candle_core::{DType, Device, Tensor, safetensors};

use super::{NamedTensor, Weights, files};
use crate::{Error, Result};

impl Weights {
    /// Reads all tensors of a safetensors file, in any precision, as single precision. PyTorch's `state_dict` of an
    /// `nn.Sequential` of the same layers has the names and shapes of
    /// [`NetworkSpec::parameters`](super::NetworkSpec::parameters); [`renamed`](Self::renamed) converts other names.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, or does not hold what its header says; the tensor is named.
    pub fn read_safetensors(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|e| Error::io(path, e))?;
        Self::from_safetensors(&bytes).map_err(|why| Error::io(path, io::Error::new(io::ErrorKind::InvalidData, why)))
    }

    /// Writes all tensors to a safetensors file, in single precision; a file of that name is replaced.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written, [`Error::Tensor`] never on a machine with memory to spare.
    pub fn write_safetensors(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let mut tensors = HashMap::new();
        for NamedTensor { name, shape, values } in self.tensors() {
            let tensor = Tensor::from_slice(values, shape.as_slice(), &Device::Cpu);
            tensors.insert(name, tensor.map_err(|e| Error::tensor(format!("copying `{name}`"), e))?);
        }
        files::replace(path, |part| safetensors::save(&tensors, part).map_err(io::Error::other))
    }

    fn from_safetensors(bytes: &[u8]) -> std::result::Result<Self, String> {
        let file = safetensors::SliceSafetensors::new(bytes).map_err(|e| format!("it is no safetensors file: {e}"))?;
        let mut tensors = Vec::new();
        for (name, _) in file.tensors() {
            let failed = |e| format!("tensor `{name}`: {e}");
            let tensor = file.load(&name, &Device::Cpu).and_then(|t| t.to_dtype(DType::F32)).map_err(failed)?;
            let values = tensor.flatten_all().and_then(|t| t.to_vec1()).map_err(failed)?;
            let shape = tensor.dims().to_vec();
            tensors.push(NamedTensor { name, shape, values });
        }
        Self::new(tensors).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, shape: &[usize], values: &[f32]) -> NamedTensor {
        NamedTensor { name: name.into(), shape: shape.into(), values: values.into() }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.safetensors");
        let ours = Weights::new(vec![
            tensor("0.weight", &[2, 3], &[0.0, -0.0, 1.5, f32::MIN_POSITIVE, f32::MAX, 0.1]),
            tensor("0.bias", &[2], &[7.0, -7.0]),
            tensor("scale", &[], &[3.0]),
        ])
        .unwrap();
        ours.write_safetensors(&path).unwrap();
        ours.write_safetensors(&path).unwrap();
        assert_eq!(Weights::read_safetensors(&path).unwrap(), ours);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let nowhere = folder.path().join("no folder").join("net.safetensors");
        assert!(ours.write_safetensors(&nowhere).unwrap_err().to_string().contains("no folder"));
    }

    /// A linear layer and batch normalisation under the names and types that PyTorch's modules have, each in another
    /// precision.
    #[test]
    fn other_precisions_are_read_and_foreign_names_changed() {
        let f = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
        let half =
            |values: &[f32]| values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect::<Vec<_>>();
        let parts = [
            ("net.0.weight", "F16", "[1,2]", half(&[0.5, -1.25])),
            ("net.0.bias", "BF16", "[1]", half::bf16::from_f32(3.0).to_le_bytes().to_vec()),
            ("net.1.running_mean", "F64", "[1]", 0.25f64.to_le_bytes().to_vec()),
            ("net.1.running_var", "F32", "[1]", f(&[1.0])),
            ("net.1.num_batches_tracked", "I64", "[]", 4i64.to_le_bytes().to_vec()),
        ];
        let (mut header, mut data) = (Vec::new(), Vec::new());
        for (name, dtype, shape, bytes) in &parts {
            let (from, to) = (data.len(), data.len() + bytes.len());
            header.push(format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}"#));
            data.extend(bytes);
        }
        let header = format!("{{{}}}", header.join(","));
        let file = [(header.len() as u64).to_le_bytes().to_vec(), header.into_bytes(), data].concat();
        let read = Weights::from_safetensors(&file).unwrap();
        let ours = read.renamed(|name| {
            name.strip_prefix("net.").filter(|name| !name.ends_with("num_batches_tracked")).map(str::to_owned)
        });
        let expected = [
            tensor("0.bias", &[1], &[3.0]),
            tensor("0.weight", &[1, 2], &[0.5, -1.25]),
            tensor("1.running_mean", &[1], &[0.25]),
            tensor("1.running_var", &[1], &[1.0]),
        ];
        assert_eq!(ours.unwrap().tensors(), expected);
        assert_eq!(read.get("net.1.num_batches_tracked").unwrap().values, [4.0]);

        for length in 0..file.len() {
            assert!(Weights::from_safetensors(&file[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn files_that_lie_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lie.safetensors");
        assert!(Weights::read_safetensors(&path).unwrap_err().to_string().contains("lie.safetensors"));
        for header in [
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,400000000000]}}"#,
            r#"{"a":{"dtype":"F32","shape":[9223372036854775807,9],"data_offsets":[0,4]}}"#,
            r#"{"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}}"#,
            "no JSON",
        ] {
            let file = [(header.len() as u64).to_le_bytes().as_slice(), header.as_bytes(), &[0; 4]].concat();
            fs::write(&path, file).unwrap();
            let message = Weights::read_safetensors(&path).unwrap_err().to_string();
            assert!(message.contains("lie.safetensors"), "{header}: {message}");
        }
        fs::write(&path, u64::MAX.to_le_bytes()).unwrap();
        assert!(Weights::read_safetensors(&path).is_err());
    }
}
