//! What learns without labels, on rows of the cluster: features for a classifier, reconstructions, networks to train further.

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{Float32Type, Float64Type},
};
use futures::TryStreamExt;
use tinderbox::{
    dataframe::is_vector,
    nn::{Annealing, VisibleUnits},
    prelude::*,
    tensor::codec::{Dtype, TensorType},
    train::{Corruption, Loss},
};

use crate::support::{database_for, session};

/// Rows of 16 values, four patterns with some noise: `id`, `label`, `features`.
async fn patterns(spark: &Session, rows: usize) -> DataFrame {
    let text = format!(
        "SELECT id, id % 4 AS label, transform(sequence(0, 15), i -> \
         IF((i div 4 = id % 4) != (pmod(hash(id, i), 100) < 3), 1.0F, 0.0F)) AS features FROM range(0, {rows}, 1, 2)"
    );
    spark.sql(&text).await.unwrap()
}

fn belief() -> DeepBelief {
    DeepBelief::new([12, 6]).epochs(20).learning_rate(0.1).batch_size(20).seed(3)
}

fn autoencoder() -> Autoencoder {
    Autoencoder::new([12], 4).loss(Loss::BinaryCrossEntropy).epochs(30).learning_rate(0.01).batch_size(20).seed(3)
}

async fn collect(stream: RecordStream) -> Vec<RecordBatch> {
    stream.try_collect().await.unwrap()
}

fn doubles(batches: &[RecordBatch], name: &str) -> Vec<f64> {
    let columns = batches.iter().map(|batch| batch.column_by_name(name).unwrap().as_primitive::<Float64Type>());
    columns.flat_map(|column| column.values().to_vec()).collect()
}

fn lists(batches: &[RecordBatch], name: &str) -> Vec<Vec<f32>> {
    let columns = batches.iter().map(|batch| batch.column_by_name(name).unwrap().as_list::<i32>());
    let row = |row: Option<arrow::array::ArrayRef>| row.unwrap().as_primitive::<Float32Type>().values().to_vec();
    columns.flat_map(|column| column.iter().map(row).collect::<Vec<_>>()).collect()
}

async fn mean_error(model: &EncoderModel, frame: &DataFrame) -> f64 {
    let errors = doubles(&collect(model.encode(frame).await.unwrap()).await, "reconstructionError");
    errors.iter().sum::<f64>() / errors.len() as f64
}

#[tokio::test]
async fn features_learnt_without_labels_feed_a_classifier_in_one_pipeline() {
    let spark = session().await;
    let database = database_for("features_learnt_without_labels_feed_a_classifier_in_one_pipeline").await;
    let frame = patterns(&spark, 300).await;
    let classifier =
        NeuralClassifier::new(Network::new()).features_col("learnt").epochs(40).learning_rate(0.05).seed(1);
    let pipeline = Pipeline::new().stage(belief().output_col("learnt")).stage(classifier);
    let model = pipeline.fit(&frame).await.unwrap();

    let scored = collect(model.predict(&frame).await.unwrap()).await;
    let rows: usize = scored.iter().map(RecordBatch::num_rows).sum();
    let right = doubles(&scored, "prediction");
    let labels = scored.iter().flat_map(|batch| {
        let labels = batch.column_by_name("label").unwrap().as_primitive::<arrow::datatypes::Int64Type>();
        labels.values().to_vec()
    });
    let right = labels.zip(right).filter(|(label, predicted)| *label as f64 == *predicted).count();
    assert_eq!(rows, 300);
    assert!(right >= 285, "{right}");

    let table = database.table("scored");
    model.predict_into(&frame, &table).await.unwrap();
    let written = spark.table(&table);
    assert_eq!(written.count().await.unwrap(), 300);
    let schema = written.schema().await.unwrap();
    let names: Vec<&str> = schema.names().collect();
    let encoded = ["id", "label", "features", "learnt", "reconstructionError"];
    let predicted = ["rawPrediction", "probability", "prediction", "predictedLabel"];
    assert_eq!(names, [encoded.as_slice(), predicted.as_slice()].concat());
    let learnt = schema.require("learnt").unwrap();
    assert!(is_vector(&learnt.data_type));
    let attributes = &learnt.metadata["ml_attr"];
    assert_eq!((&attributes["num_attrs"], &attributes["attrs"]["numeric"][5]["name"]), (&6.into(), &"learnt_5".into()));

    let models = database.table("models");
    model.save(&spark, &models, "patterns").await.unwrap();
    let loaded = PipelineModel::load(&spark, &models, "patterns", None).await.unwrap();
    let again = collect(loaded.predict(&frame).await.unwrap()).await;
    assert_eq!(doubles(&again, "reconstructionError"), doubles(&scored, "reconstructionError"));
    assert_eq!(doubles(&again, "prediction"), doubles(&scored, "prediction"));
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn rows_unlike_those_learnt_from_are_made_up_badly() {
    let spark = session().await;
    let frame = patterns(&spark, 200).await;
    let model = autoencoder().reconstruction_col("again").validation_fraction(0.1).fit_frame(&frame).await.unwrap();
    assert_eq!((model.encoder().code_width(), model.encoder().layer_index()), (4, 3));
    let history = model.encoder().history();
    assert!(history.last().unwrap().held_out.unwrap().loss < 0.7 * history.epochs[0].training.loss);
    let encoded = collect(model.encode(&frame).await.unwrap()).await;
    let (rows, again) = (lists(&encoded, "features"), lists(&encoded, "again"));
    assert!(again.iter().flatten().all(|value| (0.0..=1.0).contains(value)));
    for ((row, again), error) in rows.iter().zip(&again).zip(doubles(&encoded, "reconstructionError")) {
        let mean = row.iter().zip(again).map(|(x, y)| (x - y).powi(2)).sum::<f32>() / 16.0;
        assert!((f64::from(mean) - error).abs() < 1e-5, "{mean} {error}");
    }
    let text = "SELECT transform(sequence(0, 15), i -> float(pmod(hash(id, i), 2))) AS features FROM range(100)";
    let strange = mean_error(&model, &spark.sql(text).await.unwrap()).await;
    let usual = mean_error(&model, &frame).await;
    assert!(strange > 2.0 * usual, "{usual} {strange}");

    // As a transformer it gives vectors that later stages on the cluster can take.
    let transformed = model.transform(&frame).await.unwrap();
    let schema = transformed.schema().await.unwrap();
    assert_eq!(schema.require("again").unwrap().metadata["ml_attr"]["num_attrs"], 16);
    let scaler = StandardScaler::new("code", "scaled").fit(&transformed).await.unwrap();
    assert_eq!(scaler.transform(&transformed).await.unwrap().count().await.unwrap(), 200);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_convolutional_auto_encoder_whose_halves_share_weights_restores_pictures() {
    let spark = session().await;
    let frame = patterns(&spark, 200).await;
    let conv = Conv { padding: 1, ..Conv::new(4, 3) };
    let encoder = Network::new().conv2d(conv).activation(Activation::Relu).max_pool2d(Pool::new(2)).linear(4);
    let pictures = TensorReader::new("features").of(TensorType::new(Dtype::Float32, [1, 4, 4]));
    let autoencoder = Autoencoder::mirrored(encoder).tied_weights(true).input(pictures);
    let autoencoder = autoencoder.loss(Loss::BinaryCrossEntropy).epochs(30).learning_rate(0.02).batch_size(20).seed(3);
    let model = autoencoder.fit_frame(&frame).await.unwrap();
    // Convolution, activation, pooling, flattening, the code.
    assert_eq!((model.encoder().code_width(), model.encoder().layer_index()), (4, 5));
    let weights = model.encoder().weights();
    assert_eq!(weights.get("0.weight").unwrap().shape, [4, 1, 3, 3]);
    assert!(weights.get("5.weight").is_none() && weights.get("5.bias").is_some());
    let error = mean_error(&model, &frame).await;
    // The variance of a value is about 0.2.
    assert!(error < 0.06, "{error}");
    // What follows begins where this ended.
    let longer = model.autoencoder().epochs(1).learning_rate(1e-6).batch_size(20).fit_frame(&frame).await.unwrap();
    assert!((mean_error(&longer, &frame).await - error).abs() < 1e-3);

    let tied = Autoencoder::of(Network::mlp([4])).tied_weights(true).fit_frame(&frame).await;
    let message = tied.unwrap_err().to_string();
    assert!(message.contains("tiedWeights") && message.contains("mirrored"), "{message}");
}

#[tokio::test]
async fn what_was_learnt_without_labels_is_where_further_training_begins() {
    let spark = session().await;
    let frame = patterns(&spark, 200).await;
    let unlabelled = belief().fit_frame(&frame).await.unwrap();
    let still = unlabelled.classifier().unwrap().epochs(1).learning_rate(1e-9).fit_frame(&frame).await.unwrap();
    let (before, after) = (unlabelled.encoder().weights(), still.model().weights());
    for name in ["0.weight", "0.bias", "2.weight", "2.bias"] {
        let (before, after) = (&before.get(name).unwrap().values, &after.get(name).unwrap().values);
        assert!(before.iter().zip(after).all(|(a, b)| (a - b).abs() < 1e-6), "{name}");
    }
    let refined = unlabelled.autoencoder().epochs(10).learning_rate(0.01).fit_frame(&frame).await.unwrap();
    let (first, then) = (mean_error(&unlabelled, &frame).await, mean_error(&refined, &frame).await);
    assert!(then < 0.9 * first, "{first} {then}");
    assert_eq!(refined.encoder().layer_index(), unlabelled.encoder().layer_index());
    assert_eq!(refined.encoder().spec(), unlabelled.encoder().spec());
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_machine_says_how_likely_rows_are() {
    let spark = session().await;
    let frame = patterns(&spark, 200).await;
    let estimator = RestrictedBoltzmannMachine::new(8).epochs(30).learning_rate(0.1).batch_size(20).seed(3);
    let (machine, history) = estimator.fit_machine(&frame).await.unwrap();
    assert_eq!((history.rows.trained, history.epochs.len()), (200, 30));
    let exact = machine.log_partition().unwrap();
    let annealed = machine.anneal(Annealing::default()).unwrap();
    assert!((annealed.value - exact).abs() < 5.0 * annealed.standard_error.max(0.02), "{annealed:?} {exact}");
    let rows = lists(&collect(frame.stream().await.unwrap()).await, "features").concat();
    let likelihood = machine.log_likelihood(&rows, exact).unwrap();
    assert!(likelihood > -9.0, "{likelihood}: 16 fair coins have -11.1");
    let model = estimator.fit_frame(&frame).await.unwrap();
    assert_eq!(lists(&collect(model.encode(&frame.limit(1)).await.unwrap()).await, "code")[0].len(), 8);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_learnt_is_refused_with_its_column() {
    let spark = session().await;
    let frame = patterns(&spark, 40).await;
    let grey = "SELECT transform(features, x -> x * 255) AS features FROM {p}";
    let grey = spark.sql(&grey.replace("{p}", "(SELECT array(0.5F, 1.0F) AS features)")).await.unwrap();
    for (message, words) in [
        (belief().fit_frame(&grey).await.unwrap_err().to_string(), vec!["`features`", "[0, 1]"]),
        (autoencoder().fit_frame(&grey).await.unwrap_err().to_string(), vec!["`features`", "[0, 1]"]),
        (belief().features_col("id2").fit_frame(&frame).await.unwrap_err().to_string(), vec!["`id2`", "features"]),
        (belief().output_col("label").fit_frame(&frame).await.unwrap_err().to_string(), vec!["`label`"]),
        (DeepBelief::new([]).fit_frame(&frame).await.unwrap_err().to_string(), vec!["layers"]),
        (autoencoder().loss(Loss::Poisson).fit_frame(&frame).await.unwrap_err().to_string(), vec!["loss", "Poisson"]),
        (autoencoder().layer_index(99).fit_frame(&frame).await.unwrap_err().to_string(), vec!["layer_index", "99"]),
        (
            autoencoder().corruption(Corruption::Mask(2.0)).fit_frame(&frame).await.unwrap_err().to_string(),
            vec!["corruption", "2"],
        ),
    ] {
        assert!(words.iter().all(|word| message.contains(word)), "{message}: {words:?}");
    }
    let gaussian = belief().visible_units(VisibleUnits::Gaussian).learning_rate(0.001).epochs(1);
    assert_eq!(gaussian.fit_frame(&grey).await.unwrap().encoder().history().rows.trained, 1);
    spark.stop().await.unwrap();
}
