use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use serde::Deserialize;

use crate::nn::{
    Attention, InputShape, LayerSpec, Mode, NamedTensor, Network, NetworkSpec, SequenceOutput, Sequential, Tape,
    Weights,
    layer::LayerRun,
    op::alone,
    precision::Precision,
    slopes::{are_slopes, flat, slope, weighed},
    stage::stages,
};

/// Written by `reference/attention.py`.
#[derive(Deserialize)]
struct Case {
    settings: Attention,
    inputs: usize,
    time: usize,
    lengths: Vec<u32>,
    weights: BTreeMap<String, Vec<f32>>,
    x: Vec<f32>,
    y: Vec<f32>,
    upstream: Vec<f32>,
    dx: Vec<f32>,
    gradients: BTreeMap<String, Vec<f32>>,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("reference/attention.json")).unwrap()
}

impl Case {
    /// Its parameters, sequences of any length or rows of its own length.
    fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let (_, block) = self.settings.shape(&InputShape::sequence([self.inputs])).unwrap();
        self.settings.parameters(block).into_iter().map(|(name, dims, _)| (name.to_owned(), dims)).collect()
    }

    fn holds(&self, what: &str, found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len(), "{:?}: {what}", self.settings);
        for (found, expected) in found.iter().zip(expected) {
            let close = (found - expected).abs() <= 2e-5 * (1.0 + expected.abs());
            assert!(close, "{:?}: {what}: {found} for {expected}", self.settings);
        }
    }

    /// The outputs behind a sequence's end are anything; in PyTorch's numbers they are 0.
    fn blanked(&self, mut y: Vec<f32>) -> Vec<f32> {
        if self.settings.output == SequenceOutput::All {
            let width = y.len() / self.lengths.len() / self.time;
            for (row, &length) in y.chunks_exact_mut(self.time * width).zip(&self.lengths) {
                row[length as usize * width..].fill(0.0);
            }
        }
        y
    }
}

#[test]
fn kernels_give_the_outputs_and_gradients_of_pytorch() {
    use crate::nn::op::{Gradients, Pass, SavedState};
    for case in cases() {
        let input = InputShape::sequence([case.inputs]);
        let spec = NetworkSpec { inputs: input, outputs: 0, layers: vec![LayerSpec::Attention(case.settings)] };
        let stage = stages(&spec).unwrap().remove(0);
        let params: Vec<&[f32]> = case.parameters().iter().map(|(name, _)| &case.weights[name][..]).collect();
        let pass = Pass {
            rows: case.lengths.len(),
            x: &case.x,
            params: &params,
            mode: Mode::Eval,
            lengths: Some(&case.lengths),
            csr: None,
        };
        // What is there already must not show through.
        let (mut y, mut dx) = (vec![f32::NAN; case.y.len()], vec![f32::NAN; case.x.len()]);
        let mut gradients: Vec<Vec<f32>> = params.iter().map(|p| vec![f32::NAN; p.len()]).collect();
        let mut saved = SavedState::default();
        for _ in 0..2 {
            stage.kernel.forward(pass, &mut y, &mut saved);
            let mut slices: Vec<&mut [f32]> = gradients.iter_mut().map(Vec::as_mut_slice).collect();
            let into = Gradients { x: Some(&mut dx), params: &mut slices };
            stage.kernel.backward(pass, &y, &mut case.upstream.clone(), &mut saved, into);
        }
        case.holds("output", &case.blanked(y), &case.y);
        case.holds("gradient of the input", &dx, &case.dx);
        for ((name, _), found) in case.parameters().iter().zip(&gradients) {
            case.holds(name, found, &case.gradients[name]);
        }
    }
}

#[test]
fn candles_operations_give_the_outputs_and_gradients_of_pytorch() {
    for case in cases() {
        let place =
            |(name, dims): (String, Vec<usize>)| Var::from_slice(&case.weights[&name], dims, &Device::Cpu).unwrap();
        let params: Vec<Var> = case.parameters().into_iter().map(place).collect();
        let x = Var::from_slice(&case.x, (case.lengths.len(), case.time, case.inputs), &Device::Cpu).unwrap();
        let mut run = LayerRun { mode: Mode::Eval, precision: Precision::F32, found: Vec::new() };
        let own = (params.iter().map(|v| v.as_tensor()).collect(), Vec::new());
        let y = run.layer(&LayerSpec::Attention(case.settings), 0, &x, own, Some(&case.lengths)).unwrap();
        case.holds("output", &case.blanked(flat(&y)), &case.y);
        let upstream = Tensor::from_slice(&case.upstream, y.shape(), &Device::Cpu).unwrap();
        let store = (y * upstream).unwrap().sum_all().unwrap().backward().unwrap();
        case.holds("gradient of the input", &flat(store.get(&x).unwrap()), &case.dx);
        for ((name, _), param) in case.parameters().iter().zip(&params) {
            case.holds(name, &flat(store.get(param).unwrap()), &case.gradients[name]);
        }
    }
}

fn values(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) / 40.0).collect()
}

/// Two blocks and a readout over rows of one length, and over sequences that all have that length.
#[test]
fn rows_of_steps_are_sequences_of_one_length() {
    for output in [SequenceOutput::Last, SequenceOutput::Mean, SequenceOutput::Max] {
        let first = Attention { width: Some(6), positions: true, feed_forward: Some(5), ..Attention::new(3) };
        let network = Network::new().attention(first).attention(Attention { output, ..Attention::new(2) });
        let fixed = network.resolve([5, 4], 3).unwrap();
        let ragged = network.resolve(InputShape::sequence([4]), 3).unwrap();
        let fixed = Sequential::init(&fixed, 5, &Device::Cpu).unwrap();
        let ragged = Sequential::load(&ragged, &fixed.weights().unwrap(), &Device::Cpu).unwrap();
        let x = values(7 * 20);
        let learn = |y: &[f32], dy: &mut [f32]| {
            dy.copy_from_slice(y);
            y.to_vec()
        };
        let (mut a, mut b) = (Tape::new(&fixed).unwrap(), Tape::new(&ragged).unwrap());
        let one = a.learn(&fixed, &x, 7, Mode::Eval, learn).unwrap();
        assert_eq!(b.learn_sequences(&ragged, &x, &[5; 7], Mode::Eval, learn).unwrap(), one);
        for (a, b) in a.gradients().iter().zip(b.gradients()) {
            assert_eq!(flat(a), flat(b));
        }
        // As tensors with gradients, as tensors of any device, and a thread for some rows.
        let placed = Tensor::from_slice(&x, (7, 5, 4), &Device::Cpu).unwrap();
        let close = |y: &Tensor| flat(y).iter().zip(&one).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(
            close(&fixed.forward(&placed, Mode::Eval).unwrap())
                && close(&fixed.portably(&placed, 7, Mode::Eval).unwrap())
        );
        assert_eq!(alone(|| a.forward(&fixed, &x, 7, Mode::Eval).unwrap().to_vec()), one);
    }
}

#[test]
fn gradients_are_the_slopes_of_the_outputs() {
    let first = Attention { width: Some(6), positions: true, feed_forward: Some(5), ..Attention::new(3) };
    let last = Attention { output: SequenceOutput::Mean, ..Attention::new(2) };
    let network = Network::new().attention(first).attention(last);
    let network = Sequential::init(&network.resolve(InputShape::sequence([4]), 3).unwrap(), 5, &Device::Cpu).unwrap();
    let lengths = [3, 200, 129, 1];
    let x = values(4 * 200 * 4);
    let mut tape = Tape::new(&network).unwrap();
    let fill = |_: &[f32], dy: &mut [f32]| dy.iter_mut().enumerate().for_each(|(i, d)| *d = slope(i));
    tape.learn_sequences(&network, &x, &lengths, Mode::Eval, fill).unwrap();
    let gradients: Vec<Vec<f32>> = tape.gradients().iter().map(flat).collect();
    are_slopes(&network, &gradients, 1e-2, || {
        weighed(tape.forward_sequences(&network, &x, &lengths, Mode::Eval).unwrap())
    });
}

#[test]
fn what_does_not_fit_is_refused_and_the_rest_reads_back() {
    let refused = |settings: Attention, inputs: InputShape, words: &[&str]| {
        let message = Network::new().attention(settings).resolve(inputs, 2).unwrap_err().to_string();
        assert!(words.iter().all(|w| message.contains(w)), "{message}");
    };
    let steps = InputShape::sequence([12]);
    refused(Attention::new(5), steps.clone(), &["0 (attention)", "12 values for 5 heads", "divide"]);
    refused(Attention::new(0), steps.clone(), &["0 heads"]);
    refused(Attention { width: Some(0), ..Attention::new(1) }, steps.clone(), &["width = 0"]);
    refused(Attention { feed_forward: Some(0), ..Attention::new(1) }, steps.clone(), &["feed_forward = 0"]);
    refused(Attention::new(2), 12.into(), &["0 (attention)", "12", "steps × values"]);
    refused(Attention::new(2), steps.clone(), &["output", "steps×2"]);
    let json = r#"{"kind":"attention","num_heads":4,"width":32,"positions":true,"feed_forward":64,"output":"mean"}"#;
    let network: Network = serde_json::from_str(&format!(r#"{{"layers":[{json}]}}"#)).unwrap();
    assert_eq!(serde_json::to_string(&network).unwrap(), format!(r#"{{"layers":[{json}]}}"#));
    let spec = network.resolve(steps, 2).unwrap();
    assert_eq!(serde_json::from_str::<NetworkSpec>(&serde_json::to_string(&spec).unwrap()).unwrap(), spec);
    // As `nn.TransformerEncoderLayer(32, 4, 64)` and the linear layers around it.
    assert_eq!(spec.trained(), (12 + 1) * 32 + 8_544 + (32 + 1) * 2);
    assert!(spec.summary().contains("0 attention 4"), "{}", spec.summary());
    let named = |name: &str| NamedTensor { name: name.into(), shape: vec![1], values: vec![0.0] };
    let message = spec.check_weights(&Weights::new(vec![named("0.norm1.bias")]).unwrap()).unwrap_err().to_string();
    assert!(message.contains("`0."), "{message}");
}
