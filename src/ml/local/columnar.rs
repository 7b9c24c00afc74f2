//! Expressions evaluated over all rows at once, where no value is missing.
//!
//! Supported expressions are computed as [`super::expression`] does row by row, operation for operation. Anything
//! unusual (a null, a text, a missing element, a row that fails) gives no result, and is left to that module.

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{DataType, Float32Type, Float64Type, Int8Type, Int32Type, Int64Type},
};
use spark_connect::types::DataType as SparkType;

use super::{
    call::{Comparison, Function, Operation},
    expression::{Each, Node},
    value::Value,
};

/// A value for each lane: a row, or an element of a row's array.
#[derive(Debug, Clone)]
pub(super) enum Lanes {
    /// The same in all.
    Constant(Value),
    Double(Vec<f64>),
    Float(Vec<f32>),
    Whole(Vec<i64>),
    Bool(Vec<bool>),
    /// Arrays of doubles: where each begins and the last ends, and all elements.
    Lists(Vec<usize>, Vec<f64>),
    /// Dense vectors, likewise.
    Vectors(Vec<usize>, Vec<f64>),
}

/// Values visible to an expression.
struct Scope<'a> {
    /// The columns that are read, by their places; none within a lambda.
    columns: Option<&'a [Option<ArrayRef>]>,
    lanes: usize,
    /// Variables of a lambda: an element, and its position.
    variables: &'a [Lanes],
}

/// Returns the values of an expression in every row, if all is in order.
pub(super) fn evaluate(node: &Node, columns: &[Option<ArrayRef>], rows: usize) -> Option<Lanes> {
    Scope { columns: Some(columns), lanes: rows, variables: &[] }.evaluate(node)
}

impl Scope<'_> {
    fn evaluate(&self, node: &Node) -> Option<Lanes> {
        match node {
            Node::Constant(Value::Null) => None,
            Node::Constant(value) => Some(Lanes::Constant(value.clone())),
            Node::Column(place) => column(self.columns?.get(*place)?.as_ref()?),
            Node::Variable(depth) => self.variables.get(*depth).cloned(),
            Node::Case(cases, otherwise) => self.case(cases, otherwise),
            Node::Cast(inner, SparkType::Double) => match self.evaluate(inner)? {
                Lanes::Whole(values) => Some(Lanes::Double(values.into_iter().map(|value| value as f64).collect())),
                Lanes::Float(values) => Some(Lanes::Double(values.into_iter().map(f64::from).collect())),
                same @ Lanes::Double(_) => Some(same),
                _ => None,
            },
            Node::And(a, b) => self.both(a, b, |a, b| a & b),
            Node::Or(a, b) => self.both(a, b, |a, b| a | b),
            // The first is never null in this evaluation.
            Node::Coalesce(nodes) => self.evaluate(nodes.first()?),
            Node::Each(each, list, body) => self.each(*each, list, body),
            Node::Call(function, arguments) => self.call(*function, arguments),
            Node::Cast(..) | Node::Raise(_) | Node::Place(..) | Node::Aggregate(..) | Node::Hash(_) => None,
        }
    }

    /// Returns a branch that no lane takes is not evaluated, and one that fails is of no use.
    fn case(&self, cases: &[(Node, Node)], otherwise: &Node) -> Option<Lanes> {
        let Some(((condition, value), rest)) = cases.split_first() else { return self.evaluate(otherwise) };
        let taken = self.bools(condition)?;
        match (taken.contains(&true), taken.contains(&false)) {
            (false, _) => self.case(rest, otherwise),
            (true, false) => self.evaluate(value),
            (true, true) => {
                let no = self.spread_doubles(self.case(rest, otherwise)?)?;
                let yes = self.doubles(value)?;
                let chosen =
                    taken.iter().zip(yes.iter().zip(&no)).map(|(taken, (yes, no))| if *taken { *yes } else { *no });
                Some(Lanes::Double(chosen.collect()))
            }
        }
    }

    fn both(&self, a: &Node, b: &Node, join: fn(bool, bool) -> bool) -> Option<Lanes> {
        let (a, b) = (self.bools(a)?, self.bools(b)?);
        Some(Lanes::Bool(a.into_iter().zip(b).map(|(a, b)| join(a, b)).collect()))
    }

    fn each(&self, each: Each, list: &Node, body: &Node) -> Option<Lanes> {
        let Lanes::Lists(offsets, elements) = self.evaluate(list)? else { return None };
        // A lambda within a lambda sees the variables of both.
        self.columns?;
        let lanes = elements.len();
        let places = offsets.windows(2).flat_map(|ends| 0..(ends[1] - ends[0]) as i64).collect();
        let variables = [Lanes::Double(elements), Lanes::Whole(places)];
        let inner = Scope { columns: None, lanes, variables: &variables };
        let answers = inner.evaluate(body)?;
        match each {
            Each::Transform => Some(Lanes::Lists(offsets, inner.spread_doubles(answers)?)),
            Each::Exists => {
                let found = inner.spread_bools(answers)?;
                Some(Lanes::Bool(offsets.windows(2).map(|ends| found[ends[0]..ends[1]].contains(&true)).collect()))
            }
            Each::Filter => None,
        }
    }

    fn call(&self, function: Function, arguments: &[Node]) -> Option<Lanes> {
        use Function as F;
        let one = || arguments.first().and_then(|node| self.evaluate(node));
        Some(match (function, arguments) {
            // Values of this evaluation are never null.
            (F::IsNull, [_]) => one().map(|_| Lanes::Bool(vec![false; self.lanes]))?,
            (F::IsNotNull, [_]) => one().map(|_| Lanes::Bool(vec![true; self.lanes]))?,
            (F::IsNan, [node]) => Lanes::Bool(self.doubles(node)?.iter().map(|value| value.is_nan()).collect()),
            (F::Not, [node]) => Lanes::Bool(self.bools(node)?.iter().map(|value| !value).collect()),
            (F::Abs, [node]) => Lanes::Double(self.doubles(node)?.iter().map(|value| value.abs()).collect()),
            (F::Sqrt, [node]) => Lanes::Double(self.doubles(node)?.iter().map(|value| value.sqrt()).collect()),
            (F::Array, [_, ..]) => self.array(arguments)?,
            (F::Concat, [_, ..]) => self.concat(arguments)?,
            (F::ArrayToVector, [_]) => match one()? {
                Lanes::Lists(offsets, elements) => Lanes::Vectors(offsets, elements),
                _ => return None,
            },
            (F::VectorToArray, [_, kind @ ..]) => match (one()?, kind) {
                (Lanes::Vectors(offsets, elements), []) => Lanes::Lists(offsets, elements),
                (Lanes::Vectors(offsets, elements), [Node::Constant(Value::Text(kind))]) if **kind == *"float64" => {
                    Lanes::Lists(offsets, elements)
                }
                _ => return None,
            },
            (F::Size, [_]) => match one()? {
                Lanes::Lists(offsets, _) => {
                    Lanes::Whole(offsets.windows(2).map(|ends| (ends[1] - ends[0]) as i64).collect())
                }
                _ => return None,
            },
            (F::Get, [Node::Constant(Value::Array(list)), place]) => {
                let list: Vec<f64> = list.iter().map(double).collect::<Option<_>>()?;
                let at = |place: i64| list.get(usize::try_from(place).ok()?).copied();
                Lanes::Double(self.wholes(place)?.into_iter().map(at).collect::<Option<_>>()?)
            }
            (F::Compare(comparison), [a, b]) => self.compare(comparison, a, b)?,
            (F::Arithmetic(operation), [a, b]) => {
                let (a, b) = (self.doubles(a)?, self.doubles(b)?);
                let pairs = a.into_iter().zip(b);
                Lanes::Double(match operation {
                    Operation::Add => pairs.map(|(a, b)| a + b).collect(),
                    Operation::Subtract => pairs.map(|(a, b)| a - b).collect(),
                    Operation::Multiply => pairs.map(|(a, b)| a * b).collect(),
                    Operation::Divide => pairs.map(|(a, b)| (b != 0.0).then_some(a / b)).collect::<Option<_>>()?,
                    _ => return None,
                })
            }
            _ => return None,
        })
    }

    fn compare(&self, comparison: Comparison, a: &Node, b: &Node) -> Option<Lanes> {
        let (a, b) = (self.evaluate(a)?, self.evaluate(b)?);
        let of = |comparison: Comparison, order: std::cmp::Ordering| match comparison {
            Comparison::Equal => order.is_eq(),
            Comparison::Less => order.is_lt(),
            Comparison::AtMost => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::AtLeast => order.is_ge(),
        };
        if let (Some(a), Some(b)) = (self.spread_wholes(&a), self.spread_wholes(&b)) {
            return Some(Lanes::Bool(a.into_iter().zip(b).map(|(a, b)| of(comparison, a.cmp(&b))).collect()));
        }
        let pairs = self.spread_doubles(a)?.into_iter().zip(self.spread_doubles(b)?);
        // NaN has an order of Spark's own.
        let order = pairs.map(|(a, b)| a.partial_cmp(&b).map(|order| of(comparison, order)));
        Some(Lanes::Bool(order.collect::<Option<_>>()?))
    }

    fn array(&self, arguments: &[Node]) -> Option<Lanes> {
        let parts: Vec<Vec<f64>> = arguments.iter().map(|node| self.doubles(node)).collect::<Option<_>>()?;
        let mut elements = Vec::with_capacity(self.lanes * parts.len());
        (0..self.lanes).for_each(|lane| elements.extend(parts.iter().map(|part| part[lane])));
        Some(Lanes::Lists((0..=self.lanes).map(|lane| lane * parts.len()).collect(), elements))
    }

    fn concat(&self, arguments: &[Node]) -> Option<Lanes> {
        let mut parts = Vec::with_capacity(arguments.len());
        for node in arguments {
            let Lanes::Lists(offsets, elements) = self.evaluate(node)? else { return None };
            parts.push((offsets, elements));
        }
        let mut elements = Vec::with_capacity(parts.iter().map(|(_, elements)| elements.len()).sum());
        let mut offsets = Vec::with_capacity(self.lanes + 1);
        offsets.push(0);
        for lane in 0..self.lanes {
            parts.iter().for_each(|(ends, all)| elements.extend_from_slice(&all[ends[lane]..ends[lane + 1]]));
            offsets.push(elements.len());
        }
        Some(Lanes::Lists(offsets, elements))
    }

    fn doubles(&self, node: &Node) -> Option<Vec<f64>> {
        self.spread_doubles(self.evaluate(node)?)
    }

    fn bools(&self, node: &Node) -> Option<Vec<bool>> {
        self.spread_bools(self.evaluate(node)?)
    }

    fn wholes(&self, node: &Node) -> Option<Vec<i64>> {
        self.spread_wholes(&self.evaluate(node)?)
    }

    fn spread_doubles(&self, lanes: Lanes) -> Option<Vec<f64>> {
        match lanes {
            Lanes::Double(values) => Some(values),
            Lanes::Constant(value) => double(&value).map(|value| vec![value; self.lanes]),
            _ => None,
        }
    }

    fn spread_bools(&self, lanes: Lanes) -> Option<Vec<bool>> {
        match lanes {
            Lanes::Bool(values) => Some(values),
            Lanes::Constant(Value::Bool(value)) => Some(vec![value; self.lanes]),
            _ => None,
        }
    }

    fn spread_wholes(&self, lanes: &Lanes) -> Option<Vec<i64>> {
        match lanes {
            Lanes::Whole(values) => Some(values.clone()),
            Lanes::Constant(Value::Whole(value)) => Some(vec![*value; self.lanes]),
            _ => None,
        }
    }
}

fn double(value: &Value) -> Option<f64> {
    match value {
        Value::Double(value) => Some(*value),
        _ => None,
    }
}

/// Returns a column without nulls.
fn column(array: &ArrayRef) -> Option<Lanes> {
    if array.null_count() > 0 {
        return None;
    }
    Some(match array.data_type() {
        DataType::Float64 => Lanes::Double(array.as_primitive::<Float64Type>().values().to_vec()),
        DataType::Float32 => Lanes::Float(array.as_primitive::<Float32Type>().values().to_vec()),
        DataType::Int32 => {
            Lanes::Whole(array.as_primitive::<Int32Type>().values().iter().map(|v| (*v).into()).collect())
        }
        DataType::Int64 => Lanes::Whole(array.as_primitive::<Int64Type>().values().to_vec()),
        DataType::List(item) if *item.data_type() == DataType::Float64 => {
            let (offsets, elements) = list(array)?;
            Lanes::Lists(offsets, elements)
        }
        DataType::Struct(_) => {
            let vectors = array.as_struct();
            let kinds = vectors.column_by_name("type")?.as_primitive_opt::<Int8Type>()?;
            let dense = kinds.null_count() == 0 && kinds.values().iter().all(|kind| *kind == 1);
            let (offsets, elements) = list(vectors.column_by_name("values")?).filter(|_| dense)?;
            Lanes::Vectors(offsets, elements)
        }
        _ => return None,
    })
}

fn list(array: &ArrayRef) -> Option<(Vec<usize>, Vec<f64>)> {
    let lists = array.as_list_opt::<i32>().filter(|lists| lists.null_count() == 0)?;
    let ends = lists.value_offsets();
    let (first, last) = (*ends.first()? as usize, *ends.last()? as usize);
    let elements = lists.values().slice(first, last - first);
    let elements = elements.as_primitive_opt::<Float64Type>().filter(|elements| elements.null_count() == 0)?;
    Some((ends.iter().map(|end| *end as usize - first).collect(), elements.values().to_vec()))
}
