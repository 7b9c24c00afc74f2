//! Against machines summed over all their states by NumPy, see `reference/rbm.py`.

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Case {
    units: VisibleUnits,
    weight: Vec<f32>,
    visible_bias: Vec<f32>,
    hidden_bias: Vec<f32>,
    x: Vec<f32>,
    hidden: Vec<f32>,
    reconstruction: Vec<f32>,
    free_energy: Vec<f64>,
    log_partition: f64,
    gradient: Gradients,
}

#[derive(Deserialize)]
struct Gradients {
    weight: Vec<f32>,
    visible_bias: Vec<f32>,
    hidden_bias: Vec<f32>,
}

impl Case {
    fn rbm(&self) -> Rbm {
        let spec = RbmSpec { visible: self.visible_bias.len(), hidden: self.hidden_bias.len(), units: self.units };
        Rbm::new(spec, self.weight.clone(), self.visible_bias.clone(), self.hidden_bias.clone()).unwrap()
    }
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("reference/rbm.json")).unwrap()
}

fn farthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Rows of a pattern that a machine can learn: two groups of values, one of which is on.
fn patterns(rows: usize, width: usize) -> Vec<f32> {
    let mut random = Philox::new(1, Purpose::Split, 0, 0);
    let mut values = Vec::with_capacity(rows * width);
    for row in 0..rows {
        values.extend((0..width).map(|i| f32::from((i < width / 2) == (row % 2 == 0) && random.next_f32() < 0.9)));
    }
    values
}

#[test]
fn conditionals_free_energies_and_partition_functions_are_numpys() {
    for case in cases() {
        let rbm = case.rbm();
        let hidden = rbm.hidden(&case.x).unwrap();
        assert!(farthest(&hidden, &case.hidden) < 1e-6);
        assert!(farthest(&rbm.visible(&hidden).unwrap(), &case.reconstruction) < 5e-6);
        let energies = rbm.free_energy(&case.x).unwrap();
        assert!(energies.iter().zip(&case.free_energy).all(|(a, b)| (a - b).abs() < 1e-5), "{energies:?}");
        let found = rbm.log_partition().unwrap();
        assert!((found - case.log_partition).abs() < 1e-5, "{found} {}", case.log_partition);
        let mean = -case.free_energy.iter().sum::<f64>() / case.free_energy.len() as f64 - case.log_partition;
        assert!((rbm.log_likelihood(&case.x, found).unwrap() - mean).abs() < 1e-5);
    }
}

#[test]
fn either_layer_can_be_summed_over() {
    let case = &cases()[0];
    let rbm = case.rbm();
    let RbmSpec { visible, hidden, units } = rbm.spec();
    // The same machine with its layers exchanged.
    let weight = (0..visible * hidden).map(|i| rbm.weight()[i % hidden * visible + i / hidden]).collect();
    let spec = RbmSpec { visible: hidden, hidden: visible, units };
    let turned = Rbm::new(spec, weight, case.hidden_bias.clone(), case.visible_bias.clone()).unwrap();
    assert!((turned.log_partition().unwrap() - case.log_partition).abs() < 1e-5);
}

#[test]
fn annealing_agrees_with_enumeration() {
    let mut worst = 0.0f64;
    for case in cases() {
        let found = case.rbm().anneal(Annealing { chains: 500, temperatures: 1000, seed: 7 }).unwrap();
        assert!(found.standard_error > 0.0 && found.standard_error < 0.05, "{found:?}");
        worst = worst.max((found.value - case.log_partition).abs() / found.standard_error);
    }
    // A trained machine, large enough for the estimate to take some doing.
    let spec = RbmSpec { visible: 30, hidden: 12, units: VisibleUnits::Bernoulli };
    let rows = patterns(200, 30);
    let mut rbm = Rbm::init(spec, 3).unwrap();
    let mut learner = RbmLearner::new(spec, ContrastiveDivergence::default(), 3).unwrap();
    for _ in 0..400 {
        learner.step(&mut rbm, &rows, 0.2, 0.5).unwrap();
    }
    let exact = rbm.log_partition().unwrap();
    let found = rbm.anneal(Annealing { chains: 500, temperatures: 2000, seed: 7 }).unwrap();
    worst = worst.max((found.value - exact).abs() / found.standard_error);
    assert!((found.value - exact).abs() < 0.2, "{found:?}, {exact}");
    assert!(worst < 4.0, "{worst} standard errors");
    let independent = 30.0 * std::f64::consts::LN_2;
    let likelihood = rbm.log_likelihood(&rows, exact).unwrap();
    assert!(likelihood > 0.75 * -independent, "{likelihood}: it has learnt");
}

#[test]
fn chains_give_the_exact_gradient_in_the_long_run() {
    for case in cases() {
        let chains = 4000;
        let x: Vec<f32> = case.x.iter().copied().cycle().take(chains * case.x.len()).collect();
        let long = ContrastiveDivergence { sample_visible: true, ..ContrastiveDivergence::steps(40) };
        for (settings, steps) in [(long, 1), (ContrastiveDivergence::persistent(10), 4)] {
            let mut rbm = case.rbm();
            let mut learner = RbmLearner::new(rbm.spec(), settings, 11).unwrap();
            // Without a learning rate the machine stays as it is while persistent chains go on.
            for _ in 0..steps {
                learner.step(&mut rbm, &x, 0.0, 0.0).unwrap();
            }
            assert_eq!(rbm, case.rbm());
            let found = learner.gradient();
            let exact = &case.gradient;
            let errors = [
                farthest(&found.weight, &exact.weight),
                farthest(&found.visible_bias, &exact.visible_bias),
                farthest(&found.hidden_bias, &exact.hidden_bias),
            ];
            // The noise of 24,000 chains, whose states differ by 1 to 3, is 0.01 at most.
            assert!(errors.iter().all(|e| *e < 0.03), "{:?}: {errors:?}", case.units);
            let largest = exact.weight.iter().fold(0.0f32, |m, g| m.max(g.abs()));
            assert!(largest > 5.0 * 0.03, "there is something to agree about: {largest}");
        }
    }
}

#[test]
fn one_step_of_divergence_follows_the_gradient_roughly() {
    for case in cases() {
        let x: Vec<f32> = case.x.iter().copied().cycle().take(1000 * case.x.len()).collect();
        let mut rbm = case.rbm();
        let mut learner = RbmLearner::new(rbm.spec(), ContrastiveDivergence::default(), 11).unwrap();
        learner.step(&mut rbm, &x, 0.0, 0.0).unwrap();
        let (found, exact) = (&learner.gradient().weight, &case.gradient.weight);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let cosine = dot(found, exact) / (dot(found, found) * dot(exact, exact)).sqrt();
        assert!(cosine > 0.5, "{:?}: {cosine}", case.units);
    }
}

#[test]
fn updates_carry_momentum_and_shrink_weights() {
    let case = &cases()[0];
    let settings = ContrastiveDivergence { weight_decay: 0.5, ..ContrastiveDivergence::default() };
    let mut rbm = case.rbm();
    let mut learner = RbmLearner::new(rbm.spec(), settings, 1).unwrap();
    learner.step(&mut rbm, &case.x, 0.1, 0.9).unwrap();
    let first = learner.gradient().clone();
    let update: Vec<f32> = first.weight.iter().zip(&case.weight).map(|(g, w)| 0.1 * (g - 0.5 * w)).collect();
    let after: Vec<f32> = case.weight.iter().zip(&update).map(|(w, u)| w + u).collect();
    assert!(farthest(rbm.weight(), &after) < 1e-6);
    let before = rbm.visible_bias().to_vec();
    learner.step(&mut rbm, &case.x, 0.1, 0.9).unwrap();
    let second = learner.gradient();
    let want: Vec<f32> =
        (0..after.len()).map(|i| after[i] + 0.9 * update[i] + 0.1 * (second.weight[i] - 0.5 * after[i])).collect();
    assert!(farthest(rbm.weight(), &want) < 1e-6);
    let biases: Vec<f32> = (0..before.len())
        .map(|i| before[i] + 0.9 * 0.1 * first.visible_bias[i] + 0.1 * second.visible_bias[i])
        .collect();
    assert!(farthest(rbm.visible_bias(), &biases) < 1e-6);
}

#[test]
fn sparsity_makes_units_rarer() {
    let rows = patterns(100, 20);
    let spec = RbmSpec { visible: 20, hidden: 10, units: VisibleUnits::Bernoulli };
    let mean_activity = |sparsity| {
        let settings = ContrastiveDivergence { sparsity, ..ContrastiveDivergence::default() };
        let mut rbm = Rbm::init(spec, 2).unwrap();
        let mut learner = RbmLearner::new(spec, settings, 2).unwrap();
        (0..300).for_each(|_| _ = learner.step(&mut rbm, &rows, 0.1, 0.5).unwrap());
        let hidden = rbm.hidden(&rows).unwrap();
        hidden.iter().sum::<f32>() / hidden.len() as f32
    };
    let (free, sparse) = (mean_activity(None), mean_activity(Some(Sparsity::new(0.1, 3.0))));
    assert!(sparse < 0.2 && free > 0.3, "{free} {sparse}");
}

#[test]
fn the_seed_decides_the_machine_whatever_the_threads() {
    let spec = RbmSpec { visible: 300, hidden: 200, units: VisibleUnits::Bernoulli };
    let rows = patterns(256, 300);
    let train = |threads: usize, seed| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut rbm = Rbm::init(spec, seed).unwrap();
            let mut learner = RbmLearner::new(spec, ContrastiveDivergence::persistent(2), seed).unwrap();
            (0..5).for_each(|_| _ = learner.step(&mut rbm, &rows, 0.1, 0.5).unwrap());
            rbm
        })
    };
    let one = train(1, 4);
    assert_eq!(one, train(4, 4));
    assert_ne!(one, train(1, 5));
}

#[test]
fn reconstructions_improve() {
    for units in [VisibleUnits::Bernoulli, VisibleUnits::Gaussian] {
        let spec = RbmSpec { visible: 20, hidden: 8, units };
        let rows = patterns(100, 20);
        let mut rbm = Rbm::init(spec, 6).unwrap();
        let mut learner = RbmLearner::new(spec, ContrastiveDivergence::default(), 6).unwrap();
        let first = learner.step(&mut rbm, &rows, 0.05, 0.5).unwrap();
        (0..300).for_each(|_| _ = learner.step(&mut rbm, &rows, 0.05, 0.5).unwrap());
        let errors = rbm.reconstruction_error(&rows).unwrap();
        let last = errors.iter().sum::<f64>() / errors.len() as f64;
        assert_eq!(errors.len(), 100);
        assert!(last < 0.6 * first.reconstruction_error, "{units:?}: {} to {last}", first.reconstruction_error);
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let spec = RbmSpec { visible: 3, hidden: 2, units: VisibleUnits::Bernoulli };
    let mut rbm = Rbm::init(spec, 1).unwrap();
    let message = |e: Error| e.to_string();
    assert!(message(rbm.hidden(&[0.0; 4]).unwrap_err()).contains("4 values; a row has 3"));
    assert!(message(rbm.visible(&[0.0; 3]).unwrap_err()).contains("hidden units has 2"));
    assert!(message(rbm.log_likelihood(&[], 0.0).unwrap_err()).contains("none"));
    assert!(message(Rbm::init(RbmSpec { hidden: 0, ..spec }, 1).unwrap_err()).contains("hidden"));
    let refused = Rbm::new(spec, vec![0.0; 6], vec![0.0; 3], vec![0.0; 3]).unwrap_err();
    assert!(message(refused).contains("3 values of `hidden bias`; it takes 2"));
    let large = Rbm::init(RbmSpec { visible: 40, hidden: 40, ..spec }, 1).unwrap();
    assert!(message(large.log_partition().unwrap_err()).contains("anneal"));
    assert!(message(rbm.anneal(Annealing { chains: 0, ..Annealing::default() }).unwrap_err()).contains("chains"));
    let mut learner = RbmLearner::new(RbmSpec { hidden: 3, ..spec }, ContrastiveDivergence::default(), 1).unwrap();
    let refused = learner.step(&mut rbm, &[0.0; 3], 0.1, 0.0).unwrap_err();
    assert!(message(refused).contains("made for 3-3"));
    let mut own = RbmLearner::new(spec, ContrastiveDivergence::default(), 1).unwrap();
    assert_eq!(own.step(&mut rbm, &[], 0.1, 0.0).unwrap(), RbmStep::default());
    let base = ContrastiveDivergence::default();
    for (settings, words) in [
        (ContrastiveDivergence::steps(0), "steps"),
        (ContrastiveDivergence { momentum: 1.0, ..base }, "`momentum`"),
        (ContrastiveDivergence { initial_momentum: f64::NAN, ..base }, "initial_momentum"),
        (ContrastiveDivergence { weight_decay: -1.0, ..base }, "weight_decay"),
        (ContrastiveDivergence { sparsity: Some(Sparsity::new(0.0, 1.0)), ..base }, "sparsity.target"),
        (ContrastiveDivergence { sparsity: Some(Sparsity::new(0.1, f64::INFINITY)), ..base }, "sparsity.cost"),
    ] {
        assert!(message(settings.check().unwrap_err()).contains(words), "{words}");
    }
    let json = r#"{"steps":3,"sparsity":{"target":0.05,"cost":1.0}}"#;
    let read: ContrastiveDivergence = serde_json::from_str(json).unwrap();
    assert_eq!(read, ContrastiveDivergence { steps: 3, sparsity: Some(Sparsity::new(0.05, 1.0)), ..base });
}
