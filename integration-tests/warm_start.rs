//! Networks that start from the weights of others: fitted, saved, or written to a file.

use tinderbox::{
    nn::{NamedTensor, VisibleUnits, Weights},
    prelude::*,
    table::ModelTable,
    train::Loss,
};

use crate::support::{database_for, session};

/// Rows of 8 values, four patterns with some noise: `label`, `odd`, `y`, `features`.
async fn patterns(spark: &Session) -> DataFrame {
    let text = "SELECT id % 4 AS label, id % 2 AS odd, double(id % 4) * 2 AS y, transform(sequence(0, 7), i -> \
                IF((i div 2 = id % 4) != (pmod(hash(id, i), 100) < 3), 1.0F, 0.0F)) AS features FROM range(0, 200, 1, 2)";
    spark.sql(text).await.unwrap()
}

/// The largest difference of the tensors that both have.
fn apart(a: impl Into<Weights>, b: impl Into<Weights>) -> f32 {
    let (a, b) = (a.into(), b.into());
    let common: Vec<_> = a.tensors().iter().filter_map(|t| Some((t, b.get(&t.name)?))).collect();
    assert!(!common.is_empty());
    let differences = common.iter().flat_map(|(a, b)| a.values.iter().zip(&b.values));
    differences.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn classifier() -> NeuralClassifier {
    NeuralClassifier::new(Network::mlp([12, 6])).epochs(30).learning_rate(0.02).seed(1)
}

/// Another seed, and steps too small to be seen: the weights stay where they begin.
fn still(classifier: NeuralClassifier) -> NeuralClassifier {
    classifier.epochs(1).learning_rate(1e-12).weight_decay(0.0).seed(2)
}

#[tokio::test]
async fn every_estimator_begins_with_weights_of_a_fitted_stage_a_table_or_a_file() {
    let spark = session().await;
    let database = database_for("every_estimator_begins_with_weights_of_a_fitted_stage_a_table_or_a_file").await;
    let frame = patterns(&spark).await;
    let learnt = classifier().fit_frame(&frame).await.unwrap();
    assert!(apart(&still(classifier()).fit_frame(&frame).await.unwrap(), &learnt) > 0.1);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("patterns.safetensors");
    learnt.model().weights().write_safetensors(&file).unwrap();
    let models = database.table("models");
    Pipeline::new().stage(classifier()).fit(&frame).await.unwrap().save(&spark, &models, "patterns").await.unwrap();
    let (_, _, saved) = ModelTable::new(&spark, &models).load("patterns", None).await.unwrap();
    for weights in [Weights::from(&learnt), Weights::read_safetensors(&file).unwrap(), saved] {
        let again = still(classifier()).initial_weights(weights).fit_frame(&frame).await.unwrap();
        assert!(apart(&again, &learnt) < 1e-6);
    }

    let regressor = |seed| NeuralRegressor::new(Network::mlp([6])).label_col("y").epochs(5).seed(seed);
    let learnt = regressor(1).fit_frame(&frame).await.unwrap();
    let again = regressor(2).learning_rate(1e-12).initial_weights(&learnt).fit_frame(&frame).await.unwrap();
    assert!(apart(&again, &learnt) < 1e-6);

    let autoencoder = |seed| Autoencoder::new([6], 3).loss(Loss::BinaryCrossEntropy).epochs(5).seed(seed);
    let learnt = autoencoder(1).fit_frame(&frame).await.unwrap();
    let again = autoencoder(2).learning_rate(1e-12).initial_weights(&learnt).fit_frame(&frame).await.unwrap();
    assert!(apart(&again, &learnt) < 1e-6);

    let belief = |seed| DeepBelief::new([6, 3]).epochs(5).seed(seed);
    let learnt = belief(1).fit_frame(&frame).await.unwrap();
    let again = belief(2).learning_rate(1e-12).initial_weights(&learnt).fit_frame(&frame).await.unwrap();
    assert!(apart(&again, &learnt) < 1e-6);
    let machine = |seed| RestrictedBoltzmannMachine::new(5).visible_units(VisibleUnits::Gaussian).epochs(5).seed(seed);
    let learnt = machine(1).learning_rate(0.005).fit_frame(&frame).await.unwrap();
    let again = machine(2).learning_rate(1e-12).initial_weights(&learnt).fit_frame(&frame).await.unwrap();
    assert!(apart(&again, &learnt) < 1e-6);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_trained_trunk_gets_a_new_head_and_stays_frozen() {
    let spark = session().await;
    let frame = patterns(&spark).await;
    let classifier = |seed| NeuralClassifier::new(Network::mlp([32, 16])).epochs(30).learning_rate(0.01).seed(seed);
    let learnt = classifier(1).fit_frame(&frame).await.unwrap();
    let trunk = Weights::from(&learnt).layers(..4);
    let head = |seed| classifier(seed).label_col("odd").tol(0.0);
    let model = head(2).initial_weights(&trunk).freeze(["0."]).fit_frame(&frame).await.unwrap();
    assert_eq!((model.model().classes().len(), model.model().spec().outputs), (2, 2));
    assert_eq!(apart(&model, trunk.layers(..1)), 0.0);
    assert!(apart(&model, trunk.layers(2..)) > 0.0);
    let training = model.model().history().last().unwrap().training;
    assert!(training.metric > 0.95, "{training:?}");

    // The old head gives four classes.
    let error = head(2).initial_weights(&learnt).fit_frame(&frame).await.unwrap_err().to_string();
    assert!(error.contains("`4.bias`") && error.contains("[4]") && error.contains("[2]"), "{error}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn weights_that_do_not_fit_are_refused_by_name() {
    let spark = session().await;
    let frame = patterns(&spark).await;
    let of = |name: &str, shape: &[usize]| {
        let values = vec![0.5; shape.iter().product()];
        Weights::new(vec![NamedTensor { name: name.into(), shape: shape.into(), values }]).unwrap()
    };
    let (classifier, autoencoder) = (classifier(), Autoencoder::new([6], 3));
    let (belief, machine) = (DeepBelief::new([6, 3]), RestrictedBoltzmannMachine::new(5));
    for (name, shape, words) in [
        ("0.weight", [3, 8], ["`0.weight`", "[3, 8]", "takes"]),
        ("fc1.weight", [12, 8], ["`fc1.weight`", "no parameter of this name", "0.weight"]),
    ] {
        let weights = of(name, &shape);
        let errors = [
            classifier.clone().initial_weights(&weights).fit_frame(&frame).await.unwrap_err(),
            autoencoder.clone().initial_weights(&weights).fit_frame(&frame).await.unwrap_err(),
            belief.clone().initial_weights(&weights).fit_frame(&frame).await.unwrap_err(),
            machine.clone().initial_weights(&weights).fit_frame(&frame).await.unwrap_err(),
        ];
        for message in errors.map(|error| error.to_string()) {
            assert!(words.iter().all(|word| message.contains(word)), "{message}");
        }
    }
    spark.stop().await.unwrap();
}
