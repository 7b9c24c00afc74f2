//! Stages that say which rows go where: into which part of a split, into which partition.

mod parts;
mod repartition;
mod split;
mod time_split;

pub use self::{
    repartition::Repartition,
    split::Split,
    time_split::{TimeSplit, TimeSplitModel},
};
