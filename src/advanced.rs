//! Parts for people who build their own sources, stages, kernels, training loops or readers of model tables.
//!
//! Programs that train and score need none of this. These names may change in any release.
//!
//! * **Protocol**: [`Client`] sends Spark Connect's own messages; [`Execution`] is the stream of one result's [`Event`]s.
//! * **Stages**: an estimator that needs aggregates alone returns an [`AggregateFit`], so that several share one query; a stage
//!   that treats each row by itself returns [`Step`]s, which the cluster and this process compute alike.
//! * **Decoding**: a `Decoder` turns Arrow batches into canonical ones, described by `TensorField`s; `Rows` copies `Minibatch`es
//!   out of them.
//! * **Kernels**: a `Tape` runs forward and backward over the processor's kernels; an `Updater` takes an optimizer's steps.
//! * **Boltzmann machines**: an `Rbm` and its `RbmLearner` without an estimator, with likelihoods; a `Pretrainer` of stacks.
//! * **Model tables**: `encode` and `decode` are the format of [`ModelTable`](crate::table::ModelTable), without a server.

pub use crate::{
    connect::{
        client::{Client, Interrupt, OperationState},
        execute::{ArrowPayload, Event, ExecuteOptions, Execution},
    },
    ml::{
        learning::{Aggregate, AggregateFit, AggregateResults, ElementExpr, ElementExprs, FitStep},
        stage::NativeStage,
        step::Step,
    },
    stream::{
        cache::{Cache, CacheOptions, CachedBatches},
        ipc::IpcDecoder,
    },
};
#[cfg(feature = "train")]
pub use crate::{
    nn::{
        layer::Mode,
        network::Parameter,
        op::cross_entropy,
        random::{Philox, Purpose},
        rbm::{LogPartition, Rbm, RbmLearner, RbmSpec, RbmStack, RbmStep},
        spec::{BranchSpec, ColumnRange, ParameterSpec},
        tape::Tape,
    },
    table::{
        decode::{decode, manifest},
        encode::encode,
        encoders::EncoderEntry,
        layout::TensorEntry,
    },
    tensor::{
        cells::{CellFault, Cells, Values},
        columns::LabelKind,
        decode::{Decoded, Decoder},
        example_decoder::{ExampleDecoder, FEATURES},
        features::{FeatureBlock, FeatureReader},
        field::{ElementType, RowShape, TensorField},
        input_decoder::InputDecoder,
        minibatch::{Minibatch, MinibatchInput, Targets},
        reader::{
            ColumnReader,
            records::{ReadRows, RecordDecoder, RecordReader, RowFault},
        },
        rows::Rows,
        sparse::SparseRows,
    },
    train::{
        checkpoint::CheckpointNetwork,
        loss::CrossEntropy,
        optimizer::{OptimizerState, Updater},
        pretrain::{Pretrained, Pretrainer, RbmLayer},
        schedule::{Plateau, Position},
    },
};
