use std::collections::HashMap;

use super::*;
use crate::{
    model::TrainedNetwork,
    model::{EncodeOptions, Encoded, Encoder, Lineage, PredictOptions},
    nn::{Network, Rbm, RbmSpec, RbmStack, Sequential, VisibleUnits},
    table::{decode, encode},
    tensor::Columns,
    train::TrainParams,
};

fn encoder(visible: usize, hidden: usize, seed: u64, code: &str) -> EncoderModel {
    let machine = Rbm::init(RbmSpec { visible, hidden, units: VisibleUnits::Gaussian }, seed).unwrap();
    let stack = RbmStack::new(visible, vec![machine]).unwrap();
    let (spec, weights) = stack.unrolled();
    let encoder = Encoder::new(spec, weights, Columns::unlabelled("x"), stack.depth(), History::default()).unwrap();
    let outputs = Encoded { code: code.into(), error: String::new(), ..Encoded::default() };
    let lineage = Lineage { source: code.into(), rows: 9, plan_hash: None };
    EncoderModel::new(encoder, TrainParams::default(), EncodeOptions { outputs, ..Default::default() }, lineage)
}

fn classifier() -> NeuralModel {
    let spec = Network::new().resolve(2, 3).unwrap();
    let weights = Sequential::init(&spec, 5, &candle_core::Device::Cpu).unwrap().weights().unwrap();
    let names = vec!["a".to_owned(), "b".into(), "c".into()];
    let model = TrainedNetwork::new(spec, weights, Columns::new("b", "label"), names, History::default()).unwrap();
    let lineage = Lineage { source: "t".into(), rows: 9, plan_hash: None };
    NeuralModel::new(model, TrainParams::default(), PredictOptions::default(), lineage).unwrap()
}

fn pipeline(encoders: &[EncoderModel], classifier: Option<NeuralModel>) -> PipelineModel {
    let encoders = encoders.iter().map(|encoder| Box::new(encoder.clone()) as Box<dyn Transformer>);
    PipelineModel::new(encoders.chain(classifier.map(|model| Box::new(model) as Box<dyn Transformer>)))
}

fn written_and_read(pipeline: &PipelineModel) -> PipelineModel {
    let (manifest, weights) = describe(pipeline, &HashMap::new()).unwrap();
    let (manifest, weights) = decode("t", "m", 1, &encode("m", 1, 0, &manifest, &weights).unwrap()).unwrap();
    restore(manifest, weights, HashMap::new()).unwrap()
}

#[test]
fn pipelines_of_several_networks_read_back_as_written() {
    let encoders = [encoder(4, 3, 1, "a"), encoder(3, 2, 2, "b")];
    for classifier in [Some(classifier()), None] {
        let read = written_and_read(&pipeline(&encoders, classifier.clone()));
        assert_eq!(read.stages().len(), 2 + usize::from(classifier.is_some()));
        for (stage, encoder) in read.stages().iter().zip(&encoders) {
            assert_eq!(stage.as_any().downcast_ref::<EncoderModel>().unwrap(), encoder);
        }
        let last = read.stages().last().unwrap().as_any();
        assert_eq!(last.downcast_ref::<NeuralModel>(), classifier.as_ref());
    }
}

#[test]
fn stages_that_name_other_networks_than_there_are_are_refused() {
    let (manifest, weights) =
        describe(&pipeline(&[encoder(4, 3, 1, "a")], Some(classifier())), &HashMap::new()).unwrap();
    let elsewhere = |change: fn(&mut Manifest)| {
        let mut manifest = manifest.clone();
        change(&mut manifest);
        restore(manifest, weights.clone(), HashMap::new()).unwrap_err().to_string()
    };
    let message = elsewhere(|manifest| manifest.stages[0]["encoder"] = 7.into());
    assert!(message.contains("encoder 7"), "{message}");
    let message = elsewhere(|manifest| manifest.stages[0]["layer_index"] = 9.into());
    assert!(message.contains("layer_index"), "{message}");
    let message = elsewhere(|manifest| _ = manifest.stages.pop());
    assert!(message.contains("exactly one"), "{message}");
    let smaller = Manifest { encoders: Vec::new(), ..manifest.clone() };
    assert!(encode("m", 1, 0, &smaller, &weights).unwrap_err().to_string().contains("2 together"));
    let two = pipeline(&[], Some(classifier()));
    let two = PipelineModel::new([two, pipeline(&[], Some(classifier()))].map(|p| Box::new(p) as Box<dyn Transformer>));
    assert!(describe(&two, &HashMap::new()).is_err(), "a pipeline within a pipeline with networks has no form as data");
}

#[test]
fn pipelines_read_back_from_files_as_written_and_not_when_damaged() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("größe/model");
    let ours = pipeline(&[encoder(4, 3, 1, "a")], Some(classifier()));
    // A second time over the first.
    for _ in 0..2 {
        ours.write_files(&folder).unwrap();
    }
    let read = PipelineModel::read_files(&folder).unwrap();
    let of = |pipeline: &PipelineModel| describe(pipeline, &HashMap::new()).unwrap();
    assert_eq!(of(&read), of(&ours));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);

    // Another's weights beside the manifest.
    let other = home.path().join("other");
    pipeline(&[encoder(4, 3, 2, "a")], Some(classifier())).write_files(&other).unwrap();
    let refused = |folder: &std::path::Path| PipelineModel::read_files(folder).unwrap_err().to_string();
    std::fs::copy(other.join("model.safetensors"), folder.join("model.safetensors")).unwrap();
    let message = refused(&folder);
    assert!(message.contains("manifest.json") && message.contains("checksum"), "{message}");
    pipeline(&[], Some(classifier())).write_files(&other).unwrap();
    std::fs::copy(other.join("model.safetensors"), folder.join("model.safetensors")).unwrap();
    let message = refused(&folder);
    assert!(message.contains("lists other tensors"), "{message}");
    std::fs::write(other.join("manifest.json"), r#"{"format": 9, "library": "later"}"#).unwrap();
    let message = refused(&other);
    assert!(message.contains("format 9") && message.contains("later"), "{message}");
    assert!(matches!(PipelineModel::read_files(home.path()).unwrap_err(), Error::Io { .. }));
    let message = PipelineModel::new([]).write_files(&folder).unwrap_err().to_string();
    assert!(message.contains("a pipeline with a network"), "{message}");
}
