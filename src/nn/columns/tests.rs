use candle_core::{Device, Tensor};

use super::*;
use crate::{
    DataProblem,
    nn::{Activation, Conv, Mode, NetworkSpec, Sequential, Tape, slopes::flat},
};

const TRAIN: Mode = Mode::Train { seed: 3, step: 1, first_row: 2 };

/// Two categories, three figures and a small picture.
fn columns() -> Vec<InputColumn> {
    let mut columns = InputColumn::side_by_side([
        ("city", vec![]),
        ("figures", vec![3]),
        ("plan", vec![]),
        ("picture", vec![1, 2, 3]),
    ]);
    (columns[0].categories, columns[2].categories) = (Some(4), Some(7));
    columns
}

/// Everything at once: embeddings, a column in two branches, convolution and normalisation, masks.
fn network() -> Network {
    let pictures = Network::new().conv2d(Conv::new(2, 2)).batch_norm().activation(Activation::Tanh).dropout(0.25);
    let deep = Branch::numbers(["figures"]).through(Network::mlp([4]).with_dropout(0.25));
    let branches = [
        Branch::categories(["plan", "city"]).through(Network::new().batch_norm()),
        Branch::numbers(["picture"]).through(pictures),
        deep,
        Branch::rest(),
        Branch::numbers(["figures"]),
    ];
    Network::new().join(branches).linear(5).activation(Activation::Silu)
}

fn rows(count: usize) -> Vec<f32> {
    let value = |row: usize, at: usize| match at {
        0 => (row * 3 % 4) as f32,
        4 => (row * 5 % 7) as f32,
        at => ((row * 11 + at) as f32 * 0.7).sin(),
    };
    (0..count).flat_map(|row| (0..11).map(move |at| value(row, at))).collect()
}

#[test]
fn columns_go_their_own_ways() {
    let spec = network().resolve_columns(&columns(), 11, 3).unwrap();
    let shapes: Vec<String> = spec.shapes().unwrap().iter().map(InputShape::to_string).collect();
    // 4 for a plan and 2 for a city; 2 channels of 1 × 2; 4 units; the figures. Nothing is left over.
    assert_eq!(shapes, ["11", "17", "5", "5", "3"]);
    let names: Vec<String> = spec.parameters().into_iter().map(|p| p.name).collect();
    for name in ["0.0.0.weight_0", "0.0.0.weight_1", "0.0.1.running_var", "0.1.0.weight", "0.2.0.bias", "1.weight"] {
        assert!(names.iter().any(|n| n == name), "{name}: {names:?}");
    }
    assert_eq!(serde_json::from_str::<NetworkSpec>(&serde_json::to_string(&spec).unwrap()).unwrap(), spec);
    let summary = spec.summary();
    for line in [
        "0 join ",
        "  of plan, city: 2\n  0 categories ",
        "  of picture: 1×2×3\n  0 conv2d 2×2 ",
        "  of figures: 3\n1 linear",
    ] {
        assert!(summary.contains(line), "{summary}");
    }
}

#[test]
fn kernels_and_tensor_operations_agree_on_outputs_gradients_and_statistics() {
    let spec = network().resolve_columns(&columns(), 11, 3).unwrap();
    let x = rows(9);
    let placed = Tensor::from_slice(&x, (9, 11), &Device::Cpu).unwrap();
    let one = Sequential::init(&spec, 5, &Device::Cpu).unwrap();
    let [other, third] = [(); 2].map(|()| Sequential::load(&spec, &one.weights().unwrap(), &Device::Cpu).unwrap());
    let mut tape = Tape::new(&one).unwrap();
    let fill = |y: &[f32], dy: &mut [f32]| {
        dy.iter_mut().zip(y).for_each(|(d, y)| *d = 2.0 * y);
        y.to_vec()
    };
    let outputs = tape.learn(&one, &x, 9, TRAIN, fill).unwrap();
    let far = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let y = other.portably(&placed, 9, TRAIN).unwrap();
    assert!(far(&outputs, &flat(&y)) < 1e-5);
    let store = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    for ((parameter, own), known) in other.parameters().iter().zip(tape.gradients()).zip(one.parameters()) {
        assert_eq!(parameter.name, known.name);
        let far = far(&flat(own), &flat(store.get(&parameter.var).unwrap()));
        assert!(far < 1e-4, "{}: {far}", parameter.name);
    }
    assert!(far(&outputs, &flat(&third.forward(&placed, TRAIN).unwrap())) < 1e-5);
    for network in [&other, &third] {
        assert_eq!(one.statistics().len(), 4);
        for (own, known) in network.statistics().iter().zip(one.statistics()) {
            assert!(far(&flat(&own.var), &flat(&known.var)) < 1e-6, "{}", own.name);
            assert!(flat(&own.var).iter().any(|v| *v != 0.0 && *v != 1.0), "{}", own.name);
        }
    }
    let predicted = tape.forward(&one, &x, 9, Mode::Eval).unwrap().to_vec();
    assert!(far(&predicted, &flat(&other.portably(&placed, 9, Mode::Eval).unwrap())) < 1e-5);
}

#[test]
fn what_no_branch_names_is_the_rest() {
    let spans = |branches: &[Branch], known: &[InputColumn], width: usize| {
        let spec = Network::new().join(branches.to_vec()).resolve_columns(known, width, 1).unwrap();
        let LayerSpec::Join { branches } = &spec.layers[0] else { panic!("{spec:?}") };
        let of = |branch: &BranchSpec| branch.columns.iter().map(|p| (p.name.clone(), p.begin, p.count)).collect();
        branches.iter().map(of).collect::<Vec<Vec<(String, usize, usize)>>>()
    };
    let named =
        |all: &[(&str, usize, usize)]| all.iter().map(|(n, b, c)| ((*n).to_owned(), *b, *c)).collect::<Vec<_>>();
    let found = spans(&[Branch::categories(["city"]), Branch::rest()], &columns(), 11);
    assert_eq!(found[1], named(&[("figures", 1, 3), ("plan", 4, 1), ("picture", 5, 6)]));
    // A vector whose values have names of their own.
    let mut known = InputColumn::side_by_side([("features", vec![5])]);
    known.push(InputColumn::category("city", 2, 4));
    let found = spans(&[Branch::categories(["city"]), Branch::rest()], &known, 5);
    assert_eq!(found, [named(&[("city", 2, 1)]), named(&[("features", 0, 2), ("features", 3, 2)])]);
    assert_eq!(spans(&[Branch::numbers(["features"]), Branch::rest()], &known, 5).len(), 1);
}

#[test]
fn branches_that_do_not_fit_are_refused() {
    let refused = |network: Network, words: &[&str]| {
        let message = network.resolve_columns(&columns(), 11, 2).unwrap_err().to_string();
        assert!(words.iter().all(|w| message.contains(w)), "{message}");
    };
    let join = |branch: Branch| Network::new().join([branch]);
    refused(join(Branch::numbers(["town"])), &["0 (join)", "no column `town`", "city, figures, plan, picture"]);
    refused(join(Branch::categories(["figures"])), &["branch 0", "column `figures` of 3 values", "one value"]);
    let unknown = Branch::numbers(["picture", "figures"]).through(Network::new().conv2d(Conv::new(1, 1)));
    refused(join(unknown), &["0 (join): branch 0: 0 (conv2d)", "rows of shape 9"]);
    refused(join(Branch::numbers(Vec::<String>::new())), &["branch 0", "no column"]);
    refused(Network::mlp([3]).join([Branch::rest()]), &["2 (join)", "first layer"]);
    refused(Network::new().residual(join(Branch::rest())), &["(join)", "first layer"]);
    refused(Network::new().join(Vec::new()), &["0 (join)", "no branches"]);
    let mut plain = columns();
    plain[0].categories = None;
    let message = join(Branch::categories(["city"])).resolve_columns(&plain, 11, 2).unwrap_err().to_string();
    for words in ["column `city`", "counts no categories", "StringIndexer", "`count`"] {
        assert!(message.contains(words), "{words}: {message}");
    }
    let mut far = columns();
    far[1].begin = usize::MAX;
    let message = join(Branch::rest()).resolve_columns(&far, 11, 2).unwrap_err().to_string();
    assert!(message.contains("column `figures`") && message.contains("a row has 11 values"), "{message}");
    let message = join(Branch::rest()).resolve(11, 2).unwrap_err().to_string();
    assert!(message.contains("no names"), "{message}");
    let spec = r#"{"inputs":3,"outputs":2,"layers":[{"kind":"join","branches":[{"columns":[{"name":"a","begin":2,"count":2}],"inputs":2}]}]}"#;
    let shapeless = r#"{"inputs":1,"outputs":1,"layers":[{"kind":"join","branches":[{"columns":[{"name":"a","begin":0,"count":1}],"inputs":[],"layers":[{"kind":"batch_norm"}]}]}]}"#;
    let message = serde_json::from_str::<NetworkSpec>(shapeless).unwrap().check().unwrap_err().to_string();
    assert!(message.contains("branch 0"), "{message}");
    let message = serde_json::from_str::<NetworkSpec>(spec).unwrap().check().unwrap_err().to_string();
    assert!(message.contains("column `a` of 2 values from value 2 on") && message.contains("3 values"), "{message}");
}

#[test]
fn a_description_of_branches_reads_back_as_written() {
    let json = r#"{"layers":[{"kind":"join","branches":[{"columns":["city","plan"],"embed":{"num_embeddings":9}},{"columns":["*"],"layers":[{"kind":"linear","out_features":8}]}]}]}"#;
    let network: Network = serde_json::from_str(json).unwrap();
    assert_eq!(serde_json::to_string(&network).unwrap(), json);
    let spec = network.resolve_columns(&columns(), 11, 2).unwrap();
    assert_eq!(spec.shapes().unwrap()[1], InputShape::from(2 * 5 + 8));
    let ids = spec.ids();
    assert_eq!(
        ids.iter().map(|id| (id.place, id.column.as_deref())).collect::<Vec<_>>(),
        [(0, Some("city")), (4, Some("plan"))]
    );
    let mut row = rows(1);
    assert!(ids.iter().all(|id| id.missing(&row).is_none()));
    for wrong in [9.0, -1.0, 0.5, f32::NAN] {
        row[4] = wrong;
        assert!(ids[0].missing(&row).is_none());
        assert_eq!(ids[1].missing(&row).map(f32::to_bits), Some(wrong.to_bits()));
    }
    let refusal = ids[1].refusal("features", 7, 9.0, 4);
    let problem = DataProblem::UnknownCategory { value: 9.0, categories: 9, place: None };
    assert!(
        matches!(&refusal, Error::Data { column: Some(column), row: Some(7), problem: found } if column == "plan" && *found == problem),
        "{refusal}"
    );
    assert_eq!(network.with_activation(Activation::Tanh).with_dropout(0.1).layers.len(), 1);
}
