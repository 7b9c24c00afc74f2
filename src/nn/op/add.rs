//! Adding one tensor to another where that lies.

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, bail};
use rayon::prelude::*;

use super::{threads, wide};

/// Values that one thread takes at a time.
const RUN: usize = 1 << 15;

/// Adds `values` to `sum`, both of the same shape and on the same device. On the processor nothing is allocated;
/// elsewhere `sum` becomes another tensor.
pub(crate) fn add_into(sum: &mut Tensor, values: &Tensor) -> Result<()> {
    if !sum.device().is_cpu() {
        *sum = (&*sum + values)?;
        return Ok(());
    }
    sum.inplace_op2(values, &Add)
}

struct Add;

impl InplaceOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(&self, sum: &mut CpuStorage, own: &Layout, values: &CpuStorage, other: &Layout) -> Result<()> {
        let (CpuStorage::F32(sum), CpuStorage::F32(values)) = (sum, values) else { bail!("sums are single precision") };
        let (Some((start, end)), Some((from, to))) = (own.contiguous_offsets(), other.contiguous_offsets()) else {
            bail!("sums are contiguous")
        };
        let (sum, values) = (&mut sum[start..end], &values[from..to]);
        if sum.len() != values.len() {
            bail!("{} values are added to {}", values.len(), sum.len())
        }
        sum.par_chunks_mut(RUN).zip(values.par_chunks(RUN)).for_each(|(sum, values)| add_run(sum, values));
        Ok(())
    }
}

fn add_run(sum: &mut [f32], values: &[f32]) {
    wide(|| sum.iter_mut().zip(values).for_each(|(s, v)| *s += v));
}

/// Adds values to others where they lie, on as many threads as kernels may use.
pub(crate) fn add_values(sum: &mut [f32], values: &[f32]) {
    if sum.len() <= RUN || threads() == 1 {
        add_run(sum, values);
    } else {
        sum.par_chunks_mut(RUN).zip(values.par_chunks(RUN)).for_each(|(sum, values)| add_run(sum, values));
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn sums_are_added_up_in_place() {
        let mut sum = Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap();
        let same = sum.clone();
        add_into(&mut sum, &Tensor::new(&[[10f32, 20.0], [30.0, 40.0]], &Device::Cpu).unwrap()).unwrap();
        assert_eq!(same.to_vec2::<f32>().unwrap(), [[11.0, 22.0], [33.0, 44.0]]);
        let message = add_into(&mut sum, &Tensor::new(&[1f32], &Device::Cpu).unwrap()).unwrap_err().to_string();
        assert!(message.contains("1 values are added to 4"), "{message}");
    }
}
