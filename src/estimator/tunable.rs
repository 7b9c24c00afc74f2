//! Estimators that can learn again and again from rows that were read once.

use futures::future::BoxFuture;
use spark_connect::{Column, types::StructField};

use super::{
    NeuralClassifier, NeuralModel, NeuralMultilabelClassifier, NeuralRegressor, PreparedTraining,
    supervised::Supervised,
};
use crate::{
    Result,
    dataframe::{DataFrame, Schema, SourceOptions},
    ml::{Estimator, Params},
    nn::Devices,
    stream::{CacheOptions, RecordSource},
};

/// A network whose params can be tuned: candidates train on rows kept in this process.
///
/// Implemented by this crate's estimators with labels; sealed.
pub trait Tunable: Estimator + Params + Clone + sealed::Supervision {}

impl<E: Estimator + Params + Clone + sealed::Supervision> Tunable for E {}

/// Adds a column, told the schema and which of its columns are used.
pub(crate) type Also<'a> = Box<dyn FnOnce(&Schema, &[&StructField]) -> Result<Option<Column>> + Send + 'a>;

pub(crate) mod sealed {
    use super::{
        Also, BoxFuture, CacheOptions, DataFrame, Devices, NeuralModel, PreparedTraining, RecordSource, Result,
        SourceOptions,
    };

    /// The way from a frame to rows, and from rows to a model, apart.
    pub trait Supervision {
        /// Checks and counts; `also` may add a column to those that travel.
        fn prepare<'a>(&'a self, frame: &'a DataFrame, also: Also<'a>) -> BoxFuture<'a, Result<PreparedTraining>>;

        /// Trains on rows of the prepared columns.
        fn learn<'a, S: RecordSource + Clone>(
            &'a self,
            prepared: &'a PreparedTraining,
            rows: &'a S,
            expected: u64,
        ) -> BoxFuture<'a, Result<NeuralModel>>;

        /// Returns how rows are read and cached.
        fn reading(&self) -> (SourceOptions, CacheOptions);

        /// Where it trains.
        fn devices(&self) -> &Devices;

        /// Returns whether preparing needs the targets' scale.
        fn scales(&self) -> bool;
    }
}

/// Hands on to what all have in common.
macro_rules! supervised {
    ($($estimator:ty),+) => {$(
        impl sealed::Supervision for $estimator {
            fn prepare<'a>(
                &'a self,
                frame: &'a DataFrame,
                also: Also<'a>,
            ) -> BoxFuture<'a, Result<PreparedTraining>> {
                Box::pin(self.supervised().prepare(frame, also))
            }

            fn learn<'a, S: RecordSource + Clone>(
                &'a self,
                prepared: &'a PreparedTraining,
                rows: &'a S,
                expected: u64,
            ) -> BoxFuture<'a, Result<NeuralModel>> {
                Box::pin(self.supervised().learn(prepared, rows, expected))
            }

            fn reading(&self) -> (SourceOptions, CacheOptions) {
                let Supervised { source, training, .. } = self.supervised();
                (source.clone(), training.cache_options())
            }

            fn devices(&self) -> &Devices {
                &self.supervised().training.devices
            }

            fn scales(&self) -> bool {
                self.supervised().scales()
            }
        }
    )+};
}

supervised!(NeuralClassifier, NeuralRegressor, NeuralMultilabelClassifier);
