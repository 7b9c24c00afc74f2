//! A frame's plan: nodes that share what lies under them, so that one more costs the same at any depth.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use spark_connect_proto::{self as proto, relation::RelType};

use super::{
    checkpoint::HeldRows,
    observe::Observation,
    subquery::{self, Subquery},
};
use crate::{Error, Result};

/// Transformations that may lie one on the other. A server reads 1,024 messages within each other, of which a
/// transformation takes two; Spark's own analysis may end earlier (`spark.sql.analyzer.maxIterations`).
const DEEPEST: usize = 400;

/// Nodes of a plan as it is sent, where a frame that is used twice counts twice.
const LARGEST: usize = 100_000;

/// A node, without what is under it, and the nodes under it in the order of the relation's inputs.
#[derive(Debug)]
pub(super) struct PlanNode {
    relation: proto::Relation,
    inputs: Vec<Arc<PlanNode>>,
    /// Frames of the subqueries in its expressions.
    subqueries: Vec<Subquery>,
    /// Number of transformations on top of each other.
    depth: usize,
    /// Number of nodes in the tree that is sent.
    size: usize,
    /// True if the tree has parts that only its own session has: uploads, kept frames, models.
    is_session_bound: bool,
    /// Attachments of the whole tree.
    attachments: Vec<Arc<Attached>>,
}

/// Something of this process's that belongs to a node.
#[derive(Debug)]
pub(super) enum Attached {
    /// Records aggregates of a node's rows.
    Observation(Observation),
    /// Keeps a node's rows on the cluster.
    Rows(#[expect(dead_code, reason = "held for its end")] HeldRows),
}

impl PlanNode {
    /// Returns a node with a number of its own, over others.
    pub(super) fn new(mut kind: RelType, mut inputs: Vec<Arc<PlanNode>>) -> Self {
        let common = next_common();
        let subqueries = subquery::take(&mut kind);
        let depths = inputs.iter().map(|input| input.depth).chain(subqueries.iter().map(|subquery| subquery.depth));
        let depth = depths.max().map_or(0, |deepest| deepest + 1);
        let size = inputs.iter().fold(1, |size: usize, input| size.saturating_add(input.size));
        let is_session_bound = binds_session(&kind)
            || inputs.iter().any(|input| input.is_session_bound)
            || subqueries.iter().any(|subquery| subquery.is_session_bound);
        let mut attachments: Vec<Arc<Attached>> = Vec::new();
        for attached in inputs.iter().flat_map(|input| &input.attachments) {
            if attachments.iter().all(|known| !Arc::ptr_eq(known, attached)) {
                attachments.push(attached.clone());
            }
        }
        if depth > DEEPEST {
            // Neither memory nor stack grows with what is refused.
            inputs.clear();
        }
        let relation = proto::Relation { common, rel_type: Some(kind) };
        Self { relation, inputs, subqueries, depth, size, is_session_bound, attachments }
    }

    /// Returns a tree that was made from a node's as one node.
    pub(super) fn whole(relation: proto::Relation, like: &PlanNode) -> Self {
        let is_session_bound = like.is_session_bound || relation.rel_type.as_ref().is_some_and(binds_session);
        let (depth, size) = (like.depth + 1, like.size.saturating_add(1));
        let (inputs, subqueries, attachments) = (Vec::new(), Vec::new(), like.attachments.clone());
        Self { relation, inputs, subqueries, depth, size, is_session_bound, attachments }
    }

    /// Adds something of this process's.
    pub(super) fn with_attachment(mut self, attachment: Attached) -> Self {
        self.attachments.push(Arc::new(attachment));
        self
    }

    /// Returns the observations of the tree.
    pub(super) fn observations(&self) -> Vec<Observation> {
        let observations = self.attachments.iter().filter_map(|attachment| match &**attachment {
            Attached::Observation(observation) => Some(observation.clone()),
            Attached::Rows(_) => None,
        });
        observations.collect()
    }

    pub(super) fn id(&self) -> Option<i64> {
        self.relation.common.as_ref().and_then(|common| common.plan_id)
    }

    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    pub(super) fn kind(&self) -> Option<&RelType> {
        self.relation.rel_type.as_ref()
    }

    pub(super) fn is_session_bound(&self) -> bool {
        self.is_session_bound
    }

    /// # Errors
    /// [`Error::Param`] for a plan that is too deep or too large for a server.
    pub(super) fn check(&self) -> Result<()> {
        let (found, legal) = if self.depth > DEEPEST {
            (
                format!("{} transformations one on the other", self.depth),
                format!("at most {DEEPEST}, which servers read"),
            )
        } else if self.size > LARGEST {
            (
                format!("{} nodes, with each frame that is used twice counted twice", self.size),
                format!("at most {LARGEST}"),
            )
        } else {
            return Ok(());
        };
        let remedy = "write the rows to a table in between, add many columns at once (`with_columns`), or unite many \
                      frames at once (`union_all`)";
        Err(Error::param("plan", found, format!("{legal}; {remedy}")))
    }

    /// Returns the tree in the protocol's terms.
    pub(super) fn to_proto(&self) -> proto::Relation {
        let mut relation = self.relation.clone();
        let mut inputs = self.inputs.iter().map(|input| input.to_proto());
        if let Some(kind) = &mut relation.rel_type {
            for place in inputs_of(kind) {
                if place.is_none() {
                    *place = inputs.next().map(Box::new);
                }
            }
            if let RelType::WithRelations(with) = kind {
                with.references.extend(&mut inputs);
            }
        }
        debug_assert!(inputs.next().is_none(), "a relation without a place for its input: {:?}", self.relation);
        if self.subqueries.is_empty() {
            return relation;
        }
        // The number of the whole is another than that of its root.
        let references = self.subqueries.iter().map(|subquery| subquery.plan.clone()).collect();
        let root = Some(Box::new(relation));
        let rel_type = Some(RelType::WithRelations(Box::new(proto::WithRelations { root, references })));
        proto::Relation { common: next_common(), rel_type }
    }
}

/// Returns the number of a new relation.
fn next_common() -> Option<proto::RelationCommon> {
    static NEXT: AtomicI64 = AtomicI64::new(0);
    let plan_id = Some(NEXT.fetch_add(1, Ordering::Relaxed));
    Some(proto::RelationCommon { plan_id, ..Default::default() })
}

/// Returns the places of a relation's inputs.
fn inputs_of(kind: &mut RelType) -> Vec<&mut Option<Box<proto::Relation>>> {
    macro_rules! places {
        (one: $($one:ident)*; root: $with:ident; two: $($two:ident $left:ident $right:ident,)*) => {
            match kind {
                $(RelType::$one(relation) => vec![&mut relation.input],)*
                RelType::$with(relation) => vec![&mut relation.root],
                $(RelType::$two(relation) => vec![&mut relation.$left, &mut relation.$right],)*
                _ => Vec::new(),
            }
        };
    }
    places! {
        one: Project Filter Sort Limit Aggregate Sample Offset Deduplicate SubqueryAlias Repartition ToDf
            WithColumnsRenamed ShowString HtmlString Drop Tail WithColumns Hint Unpivot ToSchema RepartitionByExpression
            MapPartitions CollectMetrics Parse WithWatermark Transpose FillNa DropNa Replace Summary Crosstab Describe
            Cov Corr ApproxQuantile FreqItems SampleBy;
        root: WithRelations;
        two: Join left right, SetOp left_input right_input, AsOfJoin left right, LateralJoin left right,
            NearestByJoin left right, Zip left right,
    }
}

/// Returns whether a copy of the session lacks the node: uploads, kept frames and models belong to one session.
fn binds_session(kind: &RelType) -> bool {
    matches!(
        kind,
        RelType::MlRelation(_)
            | RelType::CachedRemoteRelation(_)
            | RelType::CachedLocalRelation(_)
            | RelType::ChunkedCachedLocalRelation(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf() -> Arc<PlanNode> {
        Arc::new(PlanNode::new(RelType::Range(proto::Range::default()), Vec::new()))
    }

    fn united(left: &Arc<PlanNode>, right: &Arc<PlanNode>) -> Arc<PlanNode> {
        let union = RelType::SetOp(Box::default());
        Arc::new(PlanNode::new(union, vec![left.clone(), right.clone()]))
    }

    #[test]
    fn inputs_are_put_in_their_places_in_order() {
        let (left, right) = (leaf(), leaf());
        let Some(RelType::SetOp(union)) = united(&left, &right).to_proto().rel_type else { panic!("no union") };
        let id = |relation: Option<Box<proto::Relation>>| relation.unwrap().common.unwrap().plan_id;
        assert_eq!((id(union.left_input), id(union.right_input)), (left.id(), right.id()));
    }

    #[test]
    fn plan_that_doubles_with_each_step_is_refused_by_its_size() {
        let mut plan = leaf();
        for _ in 0..100 {
            plan = united(&plan, &plan);
        }
        let error = plan.check().unwrap_err().to_string();
        assert!(error.contains(&format!("{} nodes", usize::MAX)), "{error}");
    }

    #[test]
    fn union_is_bound_to_the_session_that_either_side_is_bound_to() {
        let kept = Arc::new(PlanNode::new(RelType::CachedRemoteRelation(Default::default()), Vec::new()));
        assert!(united(&leaf(), &kept).is_session_bound() && united(&kept, &leaf()).is_session_bound());
        assert!(!united(&leaf(), &leaf()).is_session_bound());
    }
}
