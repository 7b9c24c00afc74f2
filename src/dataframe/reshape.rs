//! Columns into rows, and rows into columns.

use spark_connect::column::Column;
use spark_connect_proto::{self as proto, relation::RelType};

use super::{DataFrame, transform::protos};

impl DataFrame {
    /// Turns columns into rows: for each row and each column of `values`, a row with the `ids`, the column's name and its
    /// value. The values must have a type in common.
    pub fn unpivot<C: Into<Column>, V: Into<Column>>(
        &self,
        ids: impl IntoIterator<Item = C>,
        values: impl IntoIterator<Item = V>,
        variable_name: &str,
        value_name: &str,
    ) -> DataFrame {
        let values = Some(proto::unpivot::Values { values: protos(values) });
        self.unpivoted(protos(ids), values, variable_name, value_name)
    }

    /// As [`unpivot`](Self::unpivot), of all columns but the `ids`.
    pub fn unpivot_others<C: Into<Column>>(
        &self,
        ids: impl IntoIterator<Item = C>,
        variable_name: &str,
        value_name: &str,
    ) -> DataFrame {
        self.unpivoted(protos(ids), None, variable_name, value_name)
    }

    fn unpivoted(
        &self,
        ids: Vec<proto::Expression>,
        values: Option<proto::unpivot::Values>,
        variable_name: &str,
        value_name: &str,
    ) -> DataFrame {
        let unpivot = proto::Unpivot {
            input: None,
            ids,
            values,
            variable_column_name: variable_name.to_owned(),
            value_column_name: value_name.to_owned(),
        };
        self.derive(RelType::Unpivot(Box::new(unpivot)))
    }

    /// Turns rows into columns: the values of `index` (of the first column if `None`) become column names, and column
    /// names the values of the first column, `key`. The columns must have a type in common; for small frames.
    pub fn transpose(&self, index: Option<Column>) -> DataFrame {
        let transpose = proto::Transpose { input: None, index_columns: protos(index) };
        self.derive(RelType::Transpose(Box::new(transpose)))
    }
}
