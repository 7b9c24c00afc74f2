//! Rows of two frames: in either, in both, in one alone.

use spark_connect_proto::{self as proto, relation::RelType, set_operation::SetOpType};

use super::DataFrame;

impl DataFrame {
    /// Returns the rows of both, by position of the columns, duplicates kept.
    pub fn union(&self, other: &DataFrame) -> DataFrame {
        self.combined(other, operation(SetOpType::Union, true))
    }

    /// Returns the rows of all, by position of the columns, duplicates kept.
    ///
    /// For many frames: the plan of a chain of [`union`](Self::union) is as deep as the chain is long; this one's depth
    /// grows with the logarithm.
    pub fn union_all<'a>(&self, others: impl IntoIterator<Item = &'a DataFrame>) -> DataFrame {
        let mut frames: Vec<DataFrame> = others.into_iter().cloned().collect();
        frames.insert(0, self.clone());
        while frames.len() > 1 {
            let pairs = frames.chunks(2).map(|pair| match pair {
                [left, right] => left.union(right),
                rest => rest[0].clone(),
            });
            frames = pairs.collect();
        }
        frames.swap_remove(0)
    }

    /// Returns the rows of both, by name of the columns; what one lacks is null if `allow_missing`.
    pub fn union_by_name(&self, other: &DataFrame, allow_missing: bool) -> DataFrame {
        let union = operation(SetOpType::Union, true);
        let by_name = proto::SetOperation { by_name: Some(true), ..union };
        self.combined(other, proto::SetOperation { allow_missing_columns: Some(allow_missing), ..by_name })
    }

    /// Returns the rows that are in both, each once.
    pub fn intersect(&self, other: &DataFrame) -> DataFrame {
        self.combined(other, operation(SetOpType::Intersect, false))
    }

    /// Returns the rows that are in both, as often as in the one that has fewer of them.
    pub fn intersect_all(&self, other: &DataFrame) -> DataFrame {
        self.combined(other, operation(SetOpType::Intersect, true))
    }

    /// Returns this frame's rows that are not in the other, each once (SQL's `EXCEPT`).
    pub fn subtract(&self, other: &DataFrame) -> DataFrame {
        self.combined(other, operation(SetOpType::Except, false))
    }

    /// Returns this frame's rows without one for each equal row of the other.
    pub fn except_all(&self, other: &DataFrame) -> DataFrame {
        self.combined(other, operation(SetOpType::Except, true))
    }

    fn combined(&self, other: &DataFrame, operation: proto::SetOperation) -> DataFrame {
        self.derive_with(other, RelType::SetOp(Box::new(operation)))
    }
}

fn operation(kind: SetOpType, is_all: bool) -> proto::SetOperation {
    proto::SetOperation {
        left_input: None,
        right_input: None,
        set_op_type: kind.into(),
        is_all: Some(is_all),
        by_name: Some(false),
        allow_missing_columns: Some(false),
    }
}
