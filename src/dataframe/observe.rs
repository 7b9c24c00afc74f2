//! Aggregates that the cluster takes of rows while an action moves them.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value, json};
use spark_connect::column::Column;
use spark_connect_proto::{
    self as proto, execute_plan_response::ObservedMetrics, expression::literal::LiteralType, relation::RelType,
};
use uuid::Uuid;

use super::{DataFrame, plan::Attached, transform::protos};

/// Aggregates of the rows that pass through a frame, known once an action has run. Spark's `Observation`.
///
/// A clone is the same observation. Every action that runs a plan with it replaces what it has seen.
///
/// ```no_run
/// # use tinderbox::{Result, dataframe::Observation, prelude::*};
/// # async fn example(sales: DataFrame) -> Result<()> {
/// let seen = Observation::new();
/// let observed = sales.observe(&seen, [functions::count(lit(1)).alias("rows"), functions::max(col("price")).alias("top")]);
/// observed.write().save_as_table("sales_copy").await?;
/// println!("{:?}", seen.get());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Observation {
    name: String,
    seen: Arc<Mutex<Option<Map<String, Value>>>>,
}

impl Observation {
    /// Creates an observation with a name of its own.
    #[expect(clippy::new_without_default, reason = "each has another name")]
    pub fn new() -> Self {
        Self::named(&Uuid::new_v4().to_string())
    }

    /// Creates an observation with a name, under which a streaming query's progress shows it.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), seen: Arc::default() }
    }

    /// Returns the aggregates by name; `None` until an action has run to its end.
    ///
    /// Whole numbers, fractions, text and truth values as such; decimals as text; dates in days and timestamps in
    /// microseconds since 1970; anything else is null.
    pub fn get(&self) -> Option<Map<String, Value>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns a whole number; 0 when there is none.
    pub(crate) fn count(&self, name: &str) -> u64 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.as_ref().and_then(|seen| seen.get(name)?.as_u64()).unwrap_or_default()
    }

    /// Takes note of what an action reports, if it is this observation's.
    pub(super) fn record(&self, metrics: &ObservedMetrics) {
        if metrics.name == self.name {
            let seen = metrics.keys.iter().cloned().zip(metrics.values.iter().map(to_json)).collect();
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        }
    }
}

impl DataFrame {
    /// Returns the frame, of whose rows every action takes aggregates on the way.
    pub fn observe(&self, observation: &Observation, aggregates: impl IntoIterator<Item = Column>) -> DataFrame {
        let name = observation.name.clone();
        let observe = proto::CollectMetrics { input: None, name, metrics: protos(aggregates) };
        let observation = Attached::Observation(observation.clone());
        self.with_attachment(RelType::CollectMetrics(Box::new(observe)), vec![self.plan.clone()], observation)
    }
}

fn to_json(literal: &proto::expression::Literal) -> Value {
    match &literal.literal_type {
        Some(LiteralType::Boolean(value)) => json!(value),
        Some(LiteralType::Byte(value) | LiteralType::Short(value) | LiteralType::Integer(value)) => json!(value),
        Some(LiteralType::Long(value)) => json!(value),
        Some(LiteralType::Float(value)) => json!(value),
        Some(LiteralType::Double(value)) => json!(value),
        Some(LiteralType::Decimal(decimal)) => json!(decimal.value),
        Some(LiteralType::String(text)) => json!(text),
        Some(LiteralType::Date(days)) => json!(days),
        Some(LiteralType::Timestamp(micros) | LiteralType::TimestampNtz(micros)) => json!(micros),
        _ => Value::Null,
    }
}
