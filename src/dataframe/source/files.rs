//! The file that each row comes from, where that is known: a plan that only reads files and works row by row gives the
//! same rows however its files are divided over queries.

use spark_connect::col;
use spark_connect_proto::{self as proto, read::ReadType, relation::RelType};

use crate::{
    Result,
    dataframe::{DataFrame, ExplainMode, column},
};

/// Nodes of a physical plan that work row by row.
const ROW_WISE: [&str; 5] = ["Project", "Filter", "ColumnarToRow", "FileScan", "Generate"];

/// Functions whose value is another the next time, or depends on how rows are divided.
const UNSTEADY: [&str; 9] = [
    "rand(",
    "randn(",
    "randstr(",
    "uniform(",
    "uuid(",
    "shuffle(",
    "monotonically_increasing_id(",
    "spark_partition_id(",
    "input_file_block",
];

/// Returns the frame with one more column, the path of the file that a row comes from; `None` when the plan is not of
/// that kind.
pub(super) fn with_path(frame: &DataFrame, name: &str) -> Option<DataFrame> {
    let relation = carry(&frame.relation(), name)?;
    Some(DataFrame::from_relation(frame, relation))
}

/// Returns whether the plan only reads files, row by row, and gives the same rows every time.
///
/// # Errors
/// As [`DataFrame::explain`].
pub(super) async fn is_row_wise(frame: &DataFrame) -> Result<bool> {
    Ok(explains_row_wise(&frame.explain(ExplainMode::Simple).await?))
}

fn explains_row_wise(plan: &str) -> bool {
    let lower = plan.to_ascii_lowercase();
    let mut scans = 0;
    for line in plan.lines().filter(|line| !line.trim().is_empty() && !line.starts_with("==")) {
        // "   +- *(1) Filter …": the tree's lines, then the stage of generated code, then the node.
        let node = line.trim_start_matches([' ', '+', '-', ':']);
        let node = node.strip_prefix("*(").and_then(|rest| rest.split_once(") ")).map_or(node, |(_, node)| node);
        let name = node.split([' ', '[', '(']).next().unwrap_or_default();
        if !ROW_WISE.contains(&name) {
            return false;
        }
        scans += usize::from(name == "FileScan");
    }
    scans == 1 && !UNSTEADY.iter().any(|function| lower.contains(function))
}

/// Returns the relation with the path's column carried from its one scan to the top.
fn carry(relation: &proto::Relation, name: &str) -> Option<proto::Relation> {
    let below = |input: &Option<Box<proto::Relation>>| Some(Some(Box::new(carry(input.as_deref()?, name)?)));
    let kind = match relation.rel_type.as_ref()? {
        RelType::Read(read) => {
            let files = match read.read_type.as_ref()? {
                ReadType::NamedTable(_) => true,
                ReadType::DataSource(source) => !source.paths.is_empty(),
            };
            if !files || read.is_streaming {
                return None;
            }
            let path = proto::expression::Alias {
                expr: Some(Box::new(col("_metadata.file_path").to_proto())),
                name: vec![name.to_owned()],
                metadata: None,
            };
            let with = proto::WithColumns { input: Some(Box::new(relation.clone())), aliases: vec![path] };
            return Some(proto::Relation { common: None, rel_type: Some(RelType::WithColumns(Box::new(with))) });
        }
        RelType::Project(project) => {
            let mut project = project.clone();
            project.input = below(&project.input)?;
            project.expressions.push(column(name).to_proto());
            RelType::Project(project)
        }
        RelType::Filter(filter) => {
            let mut filter = filter.clone();
            filter.input = below(&filter.input)?;
            RelType::Filter(filter)
        }
        RelType::WithColumns(with) => {
            let mut with = with.clone();
            with.input = below(&with.input)?;
            RelType::WithColumns(with)
        }
        RelType::WithColumnsRenamed(renamed) => {
            let mut renamed = renamed.clone();
            renamed.input = below(&renamed.input)?;
            RelType::WithColumnsRenamed(renamed)
        }
        RelType::Drop(drop) => {
            let mut drop = drop.clone();
            drop.input = below(&drop.input)?;
            RelType::Drop(drop)
        }
        RelType::ToDf(to) => {
            let mut to = to.clone();
            to.input = below(&to.input)?;
            to.column_names.push(name.to_owned());
            RelType::ToDf(to)
        }
        RelType::SubqueryAlias(alias) => {
            let mut alias = alias.clone();
            alias.input = below(&alias.input)?;
            RelType::SubqueryAlias(alias)
        }
        _ => return None,
    };
    Some(proto::Relation { common: relation.common.clone(), rel_type: Some(kind) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_row_wise_when_it_only_projects_and_filters_one_scan() {
        let scan = "== Physical Plan ==\n*(1) Project [a#1]\n+- *(1) Filter (a#1 > 3)\n   +- *(1) ColumnarToRow\n      \
                    +- FileScan parquet [a#1] Batched: true\n\n";
        assert!(explains_row_wise(scan));
        assert!(!explains_row_wise(&scan.replace("Project [a#1]", "Project [rand(7) AS r#2]")));
        assert!(!explains_row_wise(&scan.replace("*(1) Filter (a#1 > 3)", "*(1) HashAggregate(keys=[a#1])")));
        assert!(!explains_row_wise(&scan.replace("FileScan parquet", "InMemoryTableScan")));
        assert!(!explains_row_wise("== Physical Plan ==\n*(1) Project [1 AS a#1]\n"));
        assert!(!explains_row_wise(""));
    }
}
