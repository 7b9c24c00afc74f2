//! Which of a row's values are which column's, and which of them are categories, as metadata tells.

use crate::{
    Result,
    dataframe::Schema,
    ml::{
        PreflightReport,
        attribute::{Attribute, AttributeGroup, AttributeKind},
    },
    nn::InputColumn,
};

/// Returns the columns side by side; behind them, the values of vectors with named elements.
pub(super) fn columns(schema: &Schema, names: &[String], report: &PreflightReport) -> Result<Vec<InputColumn>> {
    let length = |name: &String| {
        let counts = report.columns.iter().find(|counts| counts.name == *name);
        counts.and_then(|counts| counts.lengths).map(|(_, longest)| longest)
    };
    let mut columns = InputColumn::side_by_side(names.iter().map(|name| (name, Vec::from_iter(length(name)))));
    let mut inside = Vec::new();
    for column in &mut columns {
        let metadata = &schema.require(&column.name)?.metadata;
        if column.dims.is_empty() {
            column.categories = Attribute::from_metadata(metadata).as_ref().and_then(categories);
        } else if let Some(AttributeGroup::Attributes(attributes)) = AttributeGroup::from_metadata(metadata)
            && attributes.len() == column.count()
        {
            inside.extend(attributes.into_iter().enumerate().filter_map(|(i, attribute)| {
                let (begin, categories) = (column.begin + i, categories(&attribute));
                Some(InputColumn { name: attribute.name?, begin, dims: Vec::new(), categories })
            }));
        }
    }
    columns.extend(inside);
    Ok(columns)
}

/// Returns the number of categories.
fn categories(attribute: &Attribute) -> Option<usize> {
    match &attribute.kind {
        AttributeKind::Nominal { values, num_values, .. } => values.as_ref().map(Vec::len).or(*num_values),
        AttributeKind::Binary { .. } => Some(2),
        AttributeKind::Numeric { .. } => None,
    }
}
