//! Two frames side by side.

use spark_connect::column::Column;
use spark_connect_proto::{self as proto, join::JoinType as Kind, relation::RelType};

use super::DataFrame;
use crate::{Error, Result};

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

/// In which direction [`AsOfJoin`] looks for the right row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AsOfDirection {
    /// The last one at or before the left row.
    #[default]
    Backward,
    /// The first one at or after it.
    Forward,
    /// The nearest one.
    Nearest,
}

/// Settings of [`DataFrame::as_of_join`].
///
/// | field | default | purpose |
/// |---|---|---|
/// | `names` | none | columns in which both rows must be equal |
/// | `keeps_unmatched` | false | left rows without a partner are kept |
/// | `tolerance` | none | greatest distance of the two values, as a literal |
/// | `allows_exact` | true | equal values are partners |
/// | `direction` | [`AsOfDirection::Backward`] | where to look for the right row |
#[derive(Debug, Clone)]
pub struct AsOfJoin {
    /// Columns in which both rows must be equal.
    pub names: Vec<String>,
    /// True to keep left rows without a partner.
    pub keeps_unmatched: bool,
    /// Greatest distance of the two values.
    pub tolerance: Option<Column>,
    /// True if equal values are partners.
    pub allows_exact: bool,
    /// Where to look for the right row.
    pub direction: AsOfDirection,
}

impl Default for AsOfJoin {
    fn default() -> Self {
        let direction = AsOfDirection::default();
        Self { names: Vec::new(), keeps_unmatched: false, tolerance: None, allows_exact: true, direction }
    }
}

/// Settings of [`DataFrame::nearest_by_join`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearestByJoin {
    /// Right rows for each left row, from 1 to 100,000.
    pub rows: i32,
    /// True if the cluster may miss some of the nearest for speed.
    pub approximate: bool,
    /// True if the greatest ranks are the nearest (similarities), false if the least are (distances).
    pub by_similarity: bool,
    /// True to keep left rows without a partner.
    pub keeps_unmatched: bool,
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
            left: None,
            right: None,
            join_condition: condition.map(|c| c.to_proto()),
            join_type: Kind::from(kind).into(),
            using_columns,
            join_data_type: None,
        };
        self.derive_with(other, RelType::Join(Box::new(join)))
    }
    /// Joins each left row with every row that the other frame gives for it: the other's expressions may use this
    /// frame's columns, by name (`col("a")`, or `col("l.a")` if this frame is [`alias("l")`](DataFrame::alias)). Inner,
    /// left and cross joins. Spark 4.0 or later.
    ///
    /// # Errors
    /// [`Error::Param`] for another kind of join.
    pub fn lateral_join(&self, other: &DataFrame, condition: Option<Column>, kind: JoinType) -> Result<DataFrame> {
        if !matches!(kind, JoinType::Inner | JoinType::LeftOuter | JoinType::Cross) {
            return Err(Error::param("kind", format!("{kind:?}"), "Inner, LeftOuter or Cross, for a lateral join"));
        }
        let join = proto::LateralJoin {
            left: None,
            right: None,
            join_condition: condition.map(|c| c.to_proto()),
            join_type: Kind::from(kind).into(),
        };
        Ok(self.derive_with(other, RelType::LateralJoin(Box::new(join))))
    }

    /// Joins each left row with at most one right row: that whose value (a time, for example) is next to the left
    /// row's, by the settings.
    pub fn as_of_join(&self, other: &DataFrame, left: Column, right: Column, settings: AsOfJoin) -> DataFrame {
        let direction = match settings.direction {
            AsOfDirection::Backward => "backward",
            AsOfDirection::Forward => "forward",
            AsOfDirection::Nearest => "nearest",
        };
        let join = proto::AsOfJoin {
            left: None,
            right: None,
            left_as_of: Some(left.to_proto()),
            right_as_of: Some(right.to_proto()),
            join_expr: None,
            using_columns: settings.names,
            join_type: if settings.keeps_unmatched { "left" } else { "inner" }.into(),
            tolerance: settings.tolerance.map(|tolerance| tolerance.to_proto()),
            allow_exact_matches: settings.allows_exact,
            direction: direction.into(),
        };
        self.derive_with(other, RelType::AsOfJoin(Box::new(join)))
    }

    /// Joins each left row with the right rows that are nearest to it by a rank over columns of both. Spark 4.2 or later.
    ///
    /// # Errors
    /// [`Error::Param`] for a number of rows that is not from 1 to 100,000.
    pub fn nearest_by_join(&self, other: &DataFrame, rank: Column, settings: NearestByJoin) -> Result<DataFrame> {
        if !(1..=100_000).contains(&settings.rows) {
            return Err(Error::param("rows", settings.rows, "1 to 100,000"));
        }
        let join = proto::NearestByJoin {
            left: None,
            right: None,
            ranking_expression: Some(rank.to_proto()),
            num_results: settings.rows,
            join_type: if settings.keeps_unmatched { "leftouter" } else { "inner" }.into(),
            mode: if settings.approximate { "approx" } else { "exact" }.into(),
            direction: if settings.by_similarity { "similarity" } else { "distance" }.into(),
        };
        Ok(self.derive_with(other, RelType::NearestByJoin(Box::new(join))))
    }
}
