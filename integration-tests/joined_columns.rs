//! Networks over several columns by name: categories by their metadata, numbers beside them.

use tinderbox::prelude::*;

use crate::support::session;

/// Whether a row is `true` depends on its city, whose number means nothing, and on the sign of a figure.
async fn customers(spark: &Session) -> DataFrame {
    let text = "SELECT element_at(array('Oslo', 'Rome', 'Bern', 'Kyiv', 'Bonn'), 1 + CAST(pmod(hash(id), 5) AS INT)) AS city, \
                element_at(array('basic', 'family'), 1 + CAST(pmod(hash(id, 1), 2) AS INT)) AS plan, \
                pmod(hash(id, 2), 200) / 100.0D - 1 AS x, pmod(hash(id, 3), 200) / 100.0D - 1 AS y, \
                CAST((pmod(hash(id), 5) IN (1, 3)) = (pmod(hash(id, 2), 200) > 100) AS DOUBLE) AS label \
                FROM range(0, 600, 1, 2)";
    spark.sql(text).await.unwrap()
}

fn pipeline(classifier: NeuralClassifier) -> Pipeline {
    Pipeline::new()
        .stage(StringIndexer::new("city", "city_index"))
        .stage(StringIndexer::new("plan", "plan_index"))
        .stage(VectorAssembler::new(["x", "y"], "figures"))
        .stage(VectorAssembler::new(["x", "city_index", "y", "plan_index"], "features"))
        .stage(classifier)
}

fn classifier() -> NeuralClassifier {
    NeuralClassifier::new(Network::tabular(["city_index", "plan_index"], [32])).epochs(40).learning_rate(0.01).seed(7)
}

fn network(model: &PipelineModel) -> &NeuralModel {
    model.network().unwrap()
}

#[tokio::test]
async fn categories_of_columns_and_within_a_vector_are_found_by_their_metadata() {
    let spark = session().await;
    let rows = customers(&spark).await;
    // Three columns, or one vector whose values carry the columns' names; the categories are not the first of it.
    for classifier in [classifier().features_cols(["city_index", "figures", "plan_index"]), classifier()] {
        let model = pipeline(classifier).fit(&rows).await.unwrap();
        let network = network(&model).model();
        let parameter = |name: &str| network.weights().get(name).unwrap().shape.clone();
        assert_eq!((parameter("0.0.0.weight_0"), parameter("0.0.0.weight_1")), (vec![5, 3], vec![2, 1]));
        assert_eq!(parameter("1.weight"), [32, 3 + 1 + 2]);
        assert!(network.history().last().unwrap().training.metric > 0.9, "{:?}", network.history().last());
        let scored = model.transform(&rows).await.unwrap();
        let right = scored.filter_expr("prediction = label").count().await.unwrap();
        assert!(right > 540, "{right} of 600");
        let summary = network.spec().summary();
        assert!(summary.contains("of city_index, plan_index: 2"), "{summary}");
    }
}

#[tokio::test]
async fn a_column_that_is_no_known_category_is_refused_by_name() {
    let spark = session().await;
    let rows = customers(&spark).await;
    let classifier = NeuralClassifier::new(Network::tabular(["x"], [4])).features_cols(["x", "y"]).epochs(1);
    let message = Pipeline::new().stage(classifier).fit(&rows).await.unwrap_err().to_string();
    assert!(message.contains("column `x`") && message.contains("StringIndexer"), "{message}");
    let classifier = NeuralClassifier::new(Network::tabular(["town"], [4])).features_cols(["x", "y"]).epochs(1);
    let message = Pipeline::new().stage(classifier).fit(&rows).await.unwrap_err().to_string();
    assert!(message.contains("no column `town`") && message.contains("x, y"), "{message}");
}
