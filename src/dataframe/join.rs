//! Two frames side by side.

use spark_connect::column::Column;
use spark_connect_proto::{self as proto, join::JoinType as Kind, relation::RelType};

use super::DataFrame;

/// Which rows of two frames a join keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JoinType {
    /// Pairs that match.
    Inner,
    /// Pairs that match, and the left rows without a partner.
    LeftOuter,
    /// Pairs that match, and the right rows without a partner.
    RightOuter,
    /// Pairs that match, and the rows of both sides without a partner.
    FullOuter,
    /// Left rows that have a partner.
    LeftSemi,
    /// Left rows that have none.
    LeftAnti,
    /// Every pair.
    Cross,
}

impl From<JoinType> for Kind {
    fn from(kind: JoinType) -> Self {
        match kind {
            JoinType::Inner => Kind::Inner,
            JoinType::LeftOuter => Kind::LeftOuter,
            JoinType::RightOuter => Kind::RightOuter,
            JoinType::FullOuter => Kind::FullOuter,
            JoinType::LeftSemi => Kind::LeftSemi,
            JoinType::LeftAnti => Kind::LeftAnti,
            JoinType::Cross => Kind::Cross,
        }
    }
}

impl DataFrame {
    /// Joins on columns that both sides have under these names; the result has them once.
    pub fn join<N: Into<String>>(
        &self,
        other: &DataFrame,
        names: impl IntoIterator<Item = N>,
        kind: JoinType,
    ) -> DataFrame {
        self.joined(other, None, names.into_iter().map(Into::into).collect(), kind)
    }

    /// Joins on a condition over columns of both sides ([`DataFrame::col`] says which side is meant).
    pub fn join_on(&self, other: &DataFrame, condition: Column, kind: JoinType) -> DataFrame {
        self.joined(other, Some(condition), Vec::new(), kind)
    }

    /// Returns every pair of rows.
    pub fn cross_join(&self, other: &DataFrame) -> DataFrame {
        self.joined(other, None, Vec::new(), JoinType::Cross)
    }

    fn joined(
        &self,
        other: &DataFrame,
        condition: Option<Column>,
        using_columns: Vec<String>,
        kind: JoinType,
    ) -> DataFrame {
        let join = proto::Join {
            left: self.input(),
            right: other.input(),
            join_condition: condition.map(|c| c.to_proto()),
            join_type: Kind::from(kind).into(),
            using_columns,
            join_data_type: None,
        };
        self.derive_with(other, RelType::Join(Box::new(join)))
    }
}
