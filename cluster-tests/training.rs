//! Networks that learn while something fails: the same weights, or an error with a checkpoint to go on from.

use std::time::Instant;

use tinderbox::{Error, ml::Estimator, train::Checkpoints};

use crate::{
    docker::{container, containers, docker, healthy, lose_both_workers_for_a_while, restore},
    gateway::{self, demand},
    work::{classifier, disturbed, patient, session, table, told, weights},
};

const DURING: &str = "the first epoch";

/// A step of the first epoch, of which there are 1,563.
const AT: usize = 150;

#[tokio::test]
async fn training_comes_to_the_same_weights_through_lost_workers_and_a_restarted_server() {
    restore().await;
    let spark = session().await;
    let undisturbed = weights(&*classifier().fit(&table(&spark).await).await.unwrap());
    spark.stop().await.unwrap();
    let server = container("connect");
    type Fault = Box<dyn FnOnce() + Send>;
    let faults: [(&str, Fault); 3] = [
        ("a worker killed", Box::new(|| _ = docker(&["kill", &containers("worker")[1]]))),
        ("both workers killed, one back after 10 s", Box::new(lose_both_workers_for_a_while)),
        ("the Connect server restarted", Box::new(move || _ = docker(&["restart", "-t", "0", &server]))),
    ];
    for (fault, make) in faults {
        restore().await;
        let spark = session().await;
        let frame = table(&spark).await;
        let began = Instant::now();
        let model = disturbed(AT, make).fit(&frame).await.unwrap();
        assert!(weights(&*model) == undisturbed, "{fault}: other weights");
        told(fault, DURING, began, "the same weights");
    }
    restore().await;
}

#[tokio::test]
async fn a_server_that_stays_away_leaves_a_checkpoint_that_the_run_goes_on_from() {
    restore().await;
    let server = container("connect");
    let spark = patient(5).await;
    let frame = table(&spark).await;
    let undisturbed = weights(&*classifier().fit(&frame).await.unwrap());
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = || Checkpoints::new(folder.path()).every_steps(20);
    let began = Instant::now();
    let stop = move || _ = docker(&["stop", "-t", "0", &server]);
    let error = disturbed(AT, stop).checkpoints(checkpoints()).fit(&frame).await.unwrap_err();
    told("the Connect server stopped for good, patience of 5 s", DURING, began, &error);
    assert!(matches!(error, Error::Interrupted { step, .. } if step >= AT - 20), "{error:?}");
    restore().await;
    let spark = session().await;
    let model = classifier().checkpoints(checkpoints()).fit(&table(&spark).await).await.unwrap();
    assert!(weights(&*model) == undisturbed, "other weights");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_token_that_runs_out_leaves_a_checkpoint_that_the_run_goes_on_from() {
    healthy("gateway").await;
    let spark = gateway::through(|builder| builder).await.unwrap();
    let frame = table(&spark).await;
    let undisturbed = weights(&*classifier().fit(&frame).await.unwrap());
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = || Checkpoints::new(folder.path()).every_steps(20);
    let began = Instant::now();
    let error = disturbed(AT, || demand("another")).checkpoints(checkpoints()).fit(&frame).await.unwrap_err();
    demand(&gateway::token());
    told("a token that expires, without a provider", DURING, began, &error);
    let Error::Interrupted { source, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(**source, Error::Unauthenticated { .. }), "{error:?}");
    let spark = gateway::through(|builder| builder).await.unwrap();
    let model = classifier().checkpoints(checkpoints()).fit(&table(&spark).await).await.unwrap();
    assert!(weights(&*model) == undisturbed, "other weights");
    spark.stop().await.unwrap();
}
