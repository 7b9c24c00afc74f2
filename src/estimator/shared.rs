//! The methods that all estimators of networks have, with their words.

/// Writes the methods of an estimator whose settings are in its field `shared`.
macro_rules! shared_methods {
    ($estimator:ident) => {
        // A separate block, for the names that the methods need.
        const _: () = {
            use std::{any::Any, path::PathBuf, sync::Arc};

            use futures::future::BoxFuture;

            use $crate::{
                Result,
                dataframe::{DataFrame, Schema, SourceOptions},
                estimator::{NeuralModel, params::policies, shared::some},
                ml::{Estimator, Model, PreflightReport, feature::HandleInvalid},
                nn::{Devices, NetworkSpec, Weights},
                tensor::reader::{Reader, TensorReader},
                train::{Checkpoints, Observer, Stop, TrainParams},
            };

            impl $estimator {
                /// Names the column of features: a Spark ML vector, an array of numbers, or a number.
                pub fn features_col(mut self, name: impl Into<String>) -> Self {
                    self.shared.columns.features = vec![name.into()];
                    self
                }

                /// Names several columns of features, which lie side by side. A network that joins columns
                /// ([`Network::tabular`](crate::nn::Network::tabular)) finds them by these names.
                pub fn features_cols<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
                    self.shared.columns.features = names.into_iter().map(Into::into).collect();
                    self
                }

                /// Reads an input by a reader: images, text, categories, raw bytes. Several lie side by side. What a
                /// reader is not given (words, categories, a size) is fitted on the cluster; the model keeps it.
                /// Replaces the column of features.
                pub fn input(mut self, reader: impl Into<Reader>) -> Self {
                    self.shared = self.shared.read(|readers| readers.input(reader));
                    self
                }

                /// Names a column of sequences that vary in length, such as an array of arrays of numbers, one per
                /// step; how many numbers a step has comes from the data. Replaces the column of features.
                pub fn sequence_col(self, name: impl Into<String>) -> Self {
                    self.input(TensorReader::new(name))
                }

                /// Reads the label by a reader, such as the class that a file's folder names.
                pub fn label(mut self, reader: impl Into<Reader>) -> Self {
                    self.shared = self.shared.read(|readers| readers.label(reader));
                    self
                }

                /// Names a column that says where a row comes from, for errors about cells that cannot be read.
                pub fn origin_col(mut self, name: impl Into<String>) -> Self {
                    self.shared = self.shared.read(|readers| readers.origin(name));
                    self
                }

                /// Names the column that says how much each row counts.
                pub fn weight_col(mut self, name: impl Into<String>) -> Self {
                    self.shared.columns.weight = some(name);
                    self
                }

                /// Names the boolean column that is true for rows to hold out.
                pub fn validation_indicator_col(mut self, name: impl Into<String>) -> Self {
                    self.shared.columns.validation = some(name);
                    self
                }

                /// Says what to do with rows that cannot be used. [`HandleInvalid::Keep`] keeps them when predicting,
                /// with null predictions, and leaves them out of training.
                pub fn handle_invalid(mut self, policy: HandleInvalid) -> Self {
                    let (trained, applied) = policies(policy);
                    (self.shared.training.on_invalid, self.shared.prediction.on_invalid) = (trained, applied);
                    self
                }

                /// Passes over the rows, Spark's `maxIter`.
                pub fn epochs(mut self, epochs: usize) -> Self {
                    self.shared.training.epochs = epochs;
                    self
                }

                /// Sets the optimizer's step size, Spark's `stepSize`.
                pub fn learning_rate(mut self, rate: f64) -> Self {
                    self.shared.training.learning_rate = rate;
                    self
                }

                /// Rows per step.
                pub fn batch_size(mut self, rows: usize) -> Self {
                    self.shared.training.batch_size = rows;
                    self
                }

                /// Stops when an epoch changes the loss by less than this share of it.
                pub fn tol(mut self, tol: f64) -> Self {
                    self.shared.training.tol = tol;
                    self
                }

                /// Decides everything random.
                pub fn seed(mut self, seed: u64) -> Self {
                    self.shared.training.seed = seed;
                    self
                }

                /// Sets the share of rows to hold out.
                pub fn validation_fraction(mut self, fraction: f64) -> Self {
                    self.shared.training.validation_fraction = fraction;
                    self
                }

                /// Sets the optimizer's decoupled weight decay.
                pub fn weight_decay(mut self, decay: f64) -> Self {
                    self.shared.training.weight_decay = decay;
                    self
                }

                /// Trains one replica of the network on each device.
                pub fn devices(mut self, devices: Devices) -> Self {
                    self.shared.training.devices = devices;
                    self
                }

                /// Sets the bytes of rows that the first epoch shuffles together; it trains while they arrive.
                pub fn shuffle_buffer(mut self, bytes: u64) -> Self {
                    self.shared.training.shuffle_buffer = bytes;
                    self
                }

                /// Sets the bytes of rows that are kept in memory for later epochs; the others go to disk.
                pub fn cache_memory(mut self, bytes: u64) -> Self {
                    self.shared.training.cache_memory = bytes;
                    self
                }

                /// Sets the folder of rows that exceed the cache's memory; it must exist.
                pub fn cache_folder(mut self, folder: impl Into<PathBuf>) -> Self {
                    self.shared.training.cache_folder = Some(folder.into());
                    self
                }

                /// Sets how the rows are read from the cluster: the strategy and size of partition groups.
                pub fn source(mut self, options: SourceOptions) -> Self {
                    self.shared.source = options;
                    self
                }

                /// Changes training parameters that have no method on the estimator.
                pub fn train_params(mut self, change: impl FnOnce(&mut TrainParams)) -> Self {
                    change(&mut self.shared.training);
                    self
                }

                /// Begins with these weights; tensors of the network that are not among them are drawn from the seed.
                ///
                /// A fitted stage will do (`&model`), or what [`Weights::read_safetensors`] reads;
                /// [`Weights::layers`] takes a part of it, for a network that ends otherwise.
                pub fn initial_weights(mut self, weights: impl Into<Weights>) -> Self {
                    self.shared.initial = Some(weights.into());
                    self
                }

                /// Keeps the parameters whose names begin so as they are at the beginning: `["0.", "3."]` freezes
                /// layers 0 and 3. Running statistics of batch normalisation still follow the rows.
                pub fn freeze(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
                    self.shared.training.freeze(names);
                    self
                }

                /// Adds someone to tell how training goes.
                pub fn observe(mut self, observer: Arc<dyn Observer>) -> Self {
                    self.shared.observers.push(observer);
                    self
                }

                /// Writes checkpoints while training, and resumes from the last one of the same run if there is one.
                pub fn checkpoints(mut self, checkpoints: Checkpoints) -> Self {
                    self.shared.checkpoints = Some(checkpoints);
                    self
                }

                /// Ends training early at the request of `stop`.
                pub fn stop(mut self, stop: Stop) -> Self {
                    self.shared.stop = stop;
                    self
                }

                /// Shows [`ProgressObserver`](crate::train::ProgressObserver) on standard error.
                #[cfg(feature = "progress")]
                pub fn progress(self) -> Self {
                    self.observe(Arc::new(crate::train::ProgressObserver::new()))
                }

                /// Returns the network as the rows of a frame would give it, and what they hold; nothing is trained. No
                /// network where readers decode the rows, which tells its shape.
                ///
                /// # Errors
                /// As [`fit_frame`](Self::fit_frame) before training.
                pub async fn look(&self, frame: &DataFrame) -> Result<(Option<NetworkSpec>, PreflightReport)> {
                    self.shared.look(frame).await
                }

                /// Trains on the rows of a frame.
                ///
                /// The columns are checked, the cluster counts their values, and then exactly those columns are
                /// streamed, cast on the cluster. Dropping the future stops all of it.
                ///
                /// # Errors
                /// As [`Trainer::fit`](crate::train::Trainer::fit); also [`Error::Server`](crate::Error::Server) and
                /// [`Error::Unreachable`](crate::Error::Unreachable).
                pub async fn fit_frame(&self, frame: &DataFrame) -> Result<NeuralModel> {
                    self.shared.fit(frame).await
                }

                /// Returns the frame whose rows are streamed: exactly the columns that training uses, cast on the
                /// cluster.
                ///
                /// # Errors
                /// As [`fit_frame`](Self::fit_frame), as far as a schema tells.
                pub async fn training_frame(&self, frame: &DataFrame) -> Result<DataFrame> {
                    self.shared.training_frame(frame).await
                }
            }

            impl Estimator for $estimator {
                fn fit<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<Box<dyn Model>>> {
                    Box::pin(async { Ok(Box::new(self.fit_frame(frame).await?) as Box<dyn Model>) })
                }

                fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
                    self.shared.transform_schema(schema)
                }

                fn as_any(&self) -> &dyn Any {
                    self
                }
            }
        };
    };
}

pub(super) use shared_methods;

/// Returns the column's name; none when it is empty.
pub(super) fn some(name: impl Into<String>) -> Option<String> {
    Some(name.into()).filter(|name| !name.is_empty())
}
