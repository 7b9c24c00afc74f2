//! Models of Spark ML's that the server no longer has: told in words that help, never a wrong result.

use spark_connect_proto::{self as proto, command::CommandType, ml_command as ml, plan::OpType};
use tinderbox::{
    advanced::{Client, ExecuteOptions},
    dataframe::DataFrame,
    ml::{
        PipelineModel, Transformer,
        feature::{MaxAbsScaler, VectorAssembler},
        operator::{RemoteEstimator, RemoteModel},
    },
    prelude::*,
};

use crate::{
    ml::{mixed, vectors},
    support::{self, Proxy, own_server, session},
};

async fn assembled(spark: &Session, seed: i64) -> DataFrame {
    VectorAssembler::new(["float", "dec"], "raw").transform(&mixed(spark, seed)).await.unwrap()
}

/// The server forgets all models of the session, as when it needs their memory.
async fn forget(client: &Client) {
    let command = proto::MlCommand { command: Some(ml::Command::CleanCache(ml::CleanCache {})) };
    let command = proto::Command { command_type: Some(CommandType::MlCommand(command)) };
    let plan = proto::Plan { op_type: Some(OpType::Command(command)) };
    client.execute(plan, ExecuteOptions::default()).responses().await.unwrap();
}

/// The words in which a use of the model is refused.
async fn refusals(model: &RemoteModel, frame: &DataFrame) -> Vec<String> {
    let pipeline = PipelineModel::new([Box::new(model.clone()) as Box<dyn Transformer>]);
    let folder = tempfile::tempdir().unwrap();
    vec![
        model.transform(frame).await.map(drop).unwrap_err().to_string(),
        pipeline.transform(frame).await.map(drop).unwrap_err().to_string(),
        model.attribute("explainedVariance").await.unwrap_err().to_string(),
        model.save(&folder.path().join("lost").display().to_string(), false).await.unwrap_err().to_string(),
    ]
}

#[tokio::test]
async fn a_model_that_the_server_forgot_is_told_of_and_not_taken_for_another() {
    let spark = session().await;
    let frame = assembled(&spark, 70).await;
    let model = RemoteEstimator::pca("raw", "components", 2).fit_remote(&frame).await.unwrap();
    let lazy = model.transform(&frame).await.unwrap();
    let before = vectors(&lazy, "components").await;
    forget(spark.client()).await;
    for told in refusals(&model, &frame).await {
        println!("{told}");
        assert!(told.contains("org.apache.spark.ml.feature.PCAModel") && told.contains("fit it again"), "{told}");
    }
    let gone = lazy.collect().await.unwrap_err();
    assert!(gone.server().is_some_and(|e| e.is("CONNECT_ML")), "{gone}");

    // One that is fitted since then is another, whatever the server calls it.
    let other = assembled(&spark, 71).await.filter_expr("id < 50");
    let newer = RemoteEstimator::pca("raw", "components", 1).fit_remote(&other).await.unwrap();
    assert_eq!(vectors(&newer.transform(&frame).await.unwrap(), "components").await[0].1.len(), 1);
    assert!(lazy.collect().await.is_err() && model.transform(&frame).await.is_err());
    let again = RemoteEstimator::pca("raw", "components", 2).fit_remote(&frame).await.unwrap();
    assert_eq!(vectors(&again.transform(&frame).await.unwrap(), "components").await, before);

    // A pipeline that is to learn behind a lost stage stops before it.
    let behind = Pipeline::new().stage(model).stage(MaxAbsScaler::new("components", "small"));
    let told = behind.fit(&frame).await.unwrap_err().to_string();
    assert!(told.contains("fit it again"), "{told}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_model_of_a_server_that_was_started_again_or_of_a_session_that_ended_is_told_of() {
    let first = own_server().start().await.unwrap();
    let proxy = Proxy::to(&first.remote()).await;
    let spark = Session::new(support::connect(&proxy.remote()).await.unwrap());
    let frame = assembled(&spark, 72).await;
    let model = RemoteEstimator::pca("raw", "components", 2).fit_remote(&frame).await.unwrap();
    let lazy = model.transform(&frame).await.unwrap();
    let before = vectors(&lazy, "components").await;
    support::send("KILL", first.process_id());
    let second = own_server().start().await.unwrap();
    proxy.lead_to(&second.remote());
    first.stop().await;
    for told in refusals(&model, &frame).await {
        println!("{told}");
        assert!(told.contains("SESSION"), "{told}");
    }
    assert!(lazy.collect().await.is_err());

    let renewed = Session::new(support::connect(&proxy.remote()).await.unwrap());
    let frame = assembled(&renewed, 72).await;
    let told = model.transform(&frame).await.map(drop).unwrap_err().to_string();
    assert!(told.contains("fit it there"), "{told}");
    let again = RemoteEstimator::pca("raw", "components", 2).fit_remote(&frame).await.unwrap();
    assert_eq!(vectors(&again.transform(&frame).await.unwrap(), "components").await, before);
    renewed.stop().await.unwrap();
    let ended = again.transform(&frame).await.map(drop).unwrap_err().to_string();
    assert!(ended.contains("SESSION"), "{ended}");
    second.stop().await;
}
