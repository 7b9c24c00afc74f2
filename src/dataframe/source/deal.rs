//! Rows dealt out to groups, one partition a group.

use spark_connect::{
    column::Column,
    lit,
    types::{DataType, StructField},
};

use crate::dataframe::{DataFrame, Schema, column, function};

/// The column of a row's group, while the rows are kept.
pub(super) const GROUP: &str = "__tinderbox_group";

/// The column of a key that Spark's hash partitioning puts into the group's partition, while rows are dealt.
const KEY: &str = "__tinderbox_key";

/// The column of a hash of a row's values, while the rows are kept.
const HASH: &str = "__tinderbox_hash";

/// The column of a row's place among all, while the rows are kept.
const PLACE: &str = "__tinderbox_place";

/// Expression that decides a row's group.
///
/// A cluster that loses an executor computes some partitions again, and their rows may come in another order than
/// before. A group must follow from what a row *is*; where it followed from where the row was, some rows would come
/// twice and others never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deal {
    /// The row's values. Rows that are alike go to one group, however many they are.
    ByValue,
    /// The row's place among the rows of its partition in order of their hashes, so that only rows that are alike can
    /// change places. One more sort.
    ByPlace,
}

/// Returns the frame's rows with their group, a number from 0, in column [`GROUP`]. A group is one partition, in an
/// order that is the same whenever it is computed.
pub(super) fn deal(frame: &DataFrame, schema: &Schema, groups: usize, by: Deal) -> DataFrame {
    let hashed = frame.with_column(HASH, hash(schema));
    let (ranked, rank) = match by {
        Deal::ByValue => (hashed, HASH),
        Deal::ByPlace => {
            let sorted = hashed.sort_within_partitions([column(HASH)]);
            (sorted.with_column(PLACE, function("monotonically_increasing_id", [])).drop([HASH]), PLACE)
        }
    };
    let keys = partition_keys(groups).into_iter().map(|key| lit(i64::from(key)).cast(DataType::Integer));
    let any = function("pmod", [function("xxhash64", [column(rank)]), lit(groups as i64)]);
    let key = function("element_at", [function("array", keys), column(GROUP) + lit(1).cast(DataType::Integer)]);
    ranked
        .with_column(GROUP, any.cast(DataType::Integer))
        .with_column(KEY, key)
        .repartition_by(Some(groups as i32), [column(KEY)])
        .sort_within_partitions([column(GROUP), column(rank)])
        .drop([KEY])
}

/// Returns a hash of all values of a row.
fn hash(schema: &Schema) -> Column {
    function("xxhash64", schema.fields().iter().map(hash_input))
}

/// Returns a column as Spark's hash functions accept it: they refuse types without an order.
pub(crate) fn hash_input(field: &StructField) -> Column {
    match has_unordered(&field.data_type) {
        true => function("to_json", [column(&field.name)]),
        false => column(&field.name),
    }
}

fn has_unordered(data_type: &DataType) -> bool {
    use DataType as T;
    match data_type {
        T::Map { .. } | T::Variant => true,
        T::Array { element_type, .. } => has_unordered(element_type),
        T::Struct { fields } => fields.iter().any(|field| has_unordered(&field.data_type)),
        _ => false,
    }
}

/// Returns the rows of one group, as they were.
pub(super) fn of_group(dealt: &DataFrame, key: i32) -> DataFrame {
    dealt.filter(group_is(key)).drop([GROUP, HASH, PLACE])
}

pub(super) fn group_is(key: i32) -> Column {
    column(GROUP).eq(lit(i64::from(key)).cast(DataType::Integer))
}

/// Finds a number for each partition that Spark's hash partitioning puts there, so that each partition has exactly one
/// group. Were Spark to hash otherwise some day, the groups would still be right, and only less even.
pub(super) fn partition_keys(partitions: usize) -> Vec<i32> {
    let mut keys = vec![None; partitions];
    let mut missing = partitions;
    for candidate in 0.. {
        let key = &mut keys[partition_of(candidate, partitions)];
        if key.is_none() {
            *key = Some(candidate);
            missing -= 1;
            if missing == 0 {
                break;
            }
        }
    }
    keys.into_iter().flatten().collect()
}

/// Returns the partition of an int: its 32-bit Murmur3 hash with seed 42, modulo their number.
fn partition_of(value: i32, partitions: usize) -> usize {
    let k = (value as u32).wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let mut h = (42 ^ k).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64) ^ 4;
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^= h >> 16;
    (h as i32).rem_euclid(partitions as i32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_a_key_of_its_own() {
        // `SELECT pmod(hash(0), 7), pmod(hash(1), 7), pmod(hash(-5), 7), pmod(hash(2147483647), 7)` on Spark 4.2.1.
        assert_eq!([0, 1, -5, i32::MAX].map(|value| partition_of(value, 7)), [1, 2, 6, 4]);
        for partitions in [1, 2, 9, 500] {
            let keys = partition_keys(partitions);
            let of: Vec<_> = keys.iter().map(|key| partition_of(*key, partitions)).collect();
            assert_eq!(of, (0..partitions).collect::<Vec<_>>());
        }
    }
}
