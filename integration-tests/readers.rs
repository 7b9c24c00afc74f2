//! Record readers on files and tables: what is decoded, what is skipped, what is asked for.

use std::{fs, path::Path};

use arrow::array::AsArray;
use arrow::datatypes::Float64Type;
use futures::TryStreamExt;
use image::{ImageFormat, Rgb, RgbImage};
use spark_connect::functions::expr;
use tinderbox::{
    dataframe::{ExplainMode, function},
    prelude::*,
    tensor::codec::Dtype,
};

use crate::support::{database_for, own_server, session};

const WHOLE: usize = 48;
const BROKEN: usize = 3;

/// Pictures in the folders `left` and `right`, brighter on that side, every other a JPEG; three files are no pictures, and
/// one is empty, which is no row to Spark.
fn pictures(folder: &Path) {
    for (class, name) in ["left", "right"].into_iter().enumerate() {
        fs::create_dir(folder.join(name)).unwrap();
        for i in 0..WHOLE / 2 {
            let (width, height) = (20 + i as u32, 16);
            let picture = RgbImage::from_fn(width, height, |x, y| {
                let bright = (x * 2 < width) == (class == 0);
                let noise = (x * 7 + y * 13 + i as u32 * 5) % 60;
                Rgb([if bright { 190 + noise as u8 } else { noise as u8 }; 3])
            });
            let (end, format) = if i % 2 == 0 { ("png", ImageFormat::Png) } else { ("jpg", ImageFormat::Jpeg) };
            picture.save_with_format(folder.join(format!("{name}/{i} ä.{end}")), format).unwrap();
        }
    }
    let whole = fs::read(folder.join("left/0 ä.png")).unwrap();
    let jpeg = fs::read(folder.join("left/1 ä.jpg")).unwrap();
    fs::write(folder.join("left/cut.png"), &whole[..whole.len() / 2]).unwrap();
    fs::write(folder.join("left/cut.jpg"), &jpeg[..jpeg.len() / 2]).unwrap();
    fs::write(folder.join("right/empty.png"), []).unwrap();
    fs::write(folder.join("right/text.png"), "no picture").unwrap();
}

#[tokio::test]
async fn a_folder_of_pictures_some_broken_becomes_a_classifier() {
    let server = own_server().start().await.unwrap();
    let spark = Session::builder().remote(server.remote()).create().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path());
    let path = folder.path().to_str().unwrap();
    let files = spark.read().format("binaryFile").option("recursiveFileLookup", true).load([path]);

    let classifier = NeuralClassifier::new(Network::mlp([8]))
        .input(ImageReader::new("content", 8, 8).grey())
        .label(PathLabel::parent("path"))
        .epochs(60)
        .learning_rate(0.01)
        .seed(7);
    let refused = classifier.fit_frame(&files).await.unwrap_err().to_string();
    assert!(refused.contains("`content`") && refused.contains(path), "{refused}");

    let model = classifier.handle_invalid(HandleInvalid::Keep).fit_frame(&files).await.unwrap();
    let rows = model.model().history().rows;
    assert_eq!((rows.trained, rows.skipped), (WHOLE as u64, BROKEN as u64));
    assert_eq!(model.model().classes(), ["left", "right"]);
    assert!(model.model().history().last().unwrap().training.metric > 0.95);

    // What was saved reads pictures as what was trained does.
    let pipeline = PipelineModel::new([Box::new(model) as Box<dyn Transformer>]);
    pipeline.save(&spark, "models", "pictures").await.unwrap();
    let loaded = PipelineModel::load(&spark, "models", "pictures", None).await.unwrap();
    let mut scores = Vec::new();
    for pipeline in [&pipeline, &loaded] {
        let batches: Vec<_> = pipeline.predict(&files.order_by(["path"])).await.unwrap().try_collect().await.unwrap();
        let (mut right, mut none, mut all) = (0, 0, Vec::new());
        for batch in &batches {
            let (paths, labels) =
                (batch.column_by_name("path").unwrap(), batch.column_by_name("predictedLabel").unwrap());
            for (path, label) in paths.as_string::<i32>().iter().zip(labels.as_string::<i32>()) {
                match label {
                    None => none += 1,
                    Some(label) => right += usize::from(path.unwrap().contains(&format!("/{label}/"))),
                }
            }
            all.extend(batch.column_by_name("prediction").unwrap().as_primitive::<Float64Type>().iter());
        }
        assert_eq!(none, BROKEN);
        assert!(right >= WHOLE - 2, "{right}");
        scores.push(all);
    }
    assert_eq!(scores[0], scores[1]);
    spark.stop().await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn only_what_the_readers_declare_is_read_from_the_table() {
    let spark = session().await;
    let database = database_for("only_what_the_readers_declare_is_read_from_the_table").await;
    let table = database.table("wide");
    let wide = "SELECT id, id % 2 AS label, CAST(repeat('x', 2) AS BINARY) AS raw, CAST(repeat('y', 99) AS BINARY) AS blob, \
                CAST(id AS STRING) AS text, array(id, 2 * id) AS numbers, id AS a, id AS b FROM range(20)";
    let vector = function("array_to_vector", [expr("array(CAST(id AS DOUBLE), 1D, 2D)")]);
    let wide = spark.sql(wide).await.unwrap().with_column("v", vector);
    wide.write().format("parquet").save_as_table(&table).await.unwrap();
    let classifier = NeuralClassifier::new(Network::mlp([4]))
        .input(TensorReader::bytes("raw", Dtype::Uint8, [2]))
        .input(TensorReader::new("numbers"))
        .input(TensorReader::new("v"))
        .input(TextReader::new("text", 2))
        .input(OneHotReader::new("a"))
        .epochs(1);
    let plan =
        classifier.training_frame(&spark.table(&table)).await.unwrap().explain(ExplainMode::Formatted).await.unwrap();
    let schema = plan.lines().find(|line| line.contains("ReadSchema")).unwrap_or_else(|| panic!("{plan}"));
    for name in ["raw:binary", "numbers:array", "v:struct", "text:string", "a:bigint", "label:"] {
        assert!(schema.contains(name), "{name}: {schema}");
    }
    assert!(!schema.contains("blob") && !schema.contains("b:"), "{schema}");

    // Words, categories and the sizes of the array and of the vector are learnt from the table.
    let model = classifier.fit_frame(&spark.table(&table)).await.unwrap();
    assert_eq!(model.model().spec().inputs.count(), 2 + 2 + 3 + 2 + 20);
    assert_eq!(model.model().history().rows.trained, 20);
    let scored = model.score(&spark.table(&table)).await.unwrap().collect().await.unwrap();
    assert_eq!(scored.iter().map(|batch| batch.num_rows()).sum::<usize>(), 20);
    spark.stop().await.unwrap();
}
