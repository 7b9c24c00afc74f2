//! Spark Connect's expressions, made ready to be evaluated row by row.

use std::{collections::HashMap, sync::Arc};

use spark_connect::types::DataType;
use spark_connect_proto::{
    self as proto,
    expression::{ExprType, cast::CastToType, literal::LiteralType},
};

use super::{
    call::Function,
    cast::cast,
    hash,
    value::{Value, unknown},
};
use crate::{DataProblem, Error, Result, dataframe::Schema};

/// The row at hand: the cells of the columns that are read, and which of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowValues<'a> {
    pub(super) columns: &'a [Vec<Value>],
    pub(super) row: usize,
}

/// An expression of a schema's columns.
#[derive(Debug)]
pub(super) struct Compiled {
    node: Node,
    reads: Vec<usize>,
}

#[derive(Debug)]
pub(super) enum Node {
    Constant(Value),
    Column(usize),
    /// A lambda's variable, by its depth.
    Variable(usize),
    Case(Vec<(Node, Node)>, Box<Node>),
    Cast(Box<Node>, DataType),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Coalesce(Vec<Node>),
    Raise(Box<Node>),
    /// The place, from 1, of a text among constant ones.
    Place(HashMap<Arc<str>, i64>, Box<Node>),
    Each(Each, Box<Node>, Box<Node>),
    Aggregate(Box<Node>, Box<Node>, Box<Node>),
    /// With the type of each argument, which decides how it is hashed.
    Hash(Vec<(Node, DataType)>),
    Call(Function, Vec<Node>),
}

/// Purpose of a lambda over elements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Each {
    Transform,
    Filter,
    Exists,
}

impl Compiled {
    /// # Errors
    /// [`Error::Schema`] for a missing column; [`Error::Param`] for an unsupported expression.
    pub(super) fn new(expression: &proto::Expression, schema: &Schema) -> Result<Self> {
        let mut compiler = Compiler { schema, variables: Vec::new(), reads: Vec::new() };
        let node = compiler.node(expression)?;
        Ok(Self { node, reads: compiler.reads })
    }

    /// Returns the places of the columns that it reads.
    pub(super) fn reads(&self) -> &[usize] {
        &self.reads
    }

    /// Returns its root node.
    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    /// Returns its value in a row; `variables` is room for those of lambdas.
    ///
    /// # Errors
    /// [`Error::Data`], naming the row, where Spark fails the action that meets it.
    pub(super) fn value(&self, row: RowValues<'_>, variables: &mut Vec<Value>) -> Result<Value> {
        self.node.value(row, variables).map_err(|error| match error {
            Error::Data { column, problem, .. } => Error::Data { column, row: Some(row.row as u64), problem },
            other => other,
        })
    }
}

fn not_here(what: impl std::fmt::Display) -> Error {
    Error::param("expression", what, "one that can be evaluated without the cluster")
}

struct Compiler<'a> {
    schema: &'a Schema,
    variables: Vec<String>,
    reads: Vec<usize>,
}

impl Compiler<'_> {
    fn node(&mut self, expression: &proto::Expression) -> Result<Node> {
        match expression.expr_type.as_ref() {
            Some(ExprType::Literal(literal)) => constant(literal).map(Node::Constant),
            Some(ExprType::UnresolvedAttribute(attribute)) => self.column(&attribute.unparsed_identifier),
            Some(ExprType::UnresolvedNamedLambdaVariable(variable)) => {
                let name = variable.name_parts.join(".");
                let depth = self.variables.iter().rposition(|known| *known == name);
                depth.map(Node::Variable).ok_or_else(|| not_here(format!("the variable `{name}`, which is unknown")))
            }
            Some(ExprType::Alias(alias)) => self.inner(alias.expr.as_deref()),
            Some(ExprType::Cast(cast)) => {
                let to = match &cast.cast_to_type {
                    Some(CastToType::Type(data_type)) => DataType::from_proto(data_type).ok(),
                    Some(CastToType::TypeStr(text)) => DataType::from_ddl(text).ok(),
                    None => None,
                };
                let ordinary = proto::expression::cast::EvalMode::Unspecified as i32;
                let to = to.filter(|_| cast.eval_mode == ordinary).ok_or_else(|| not_here("a cast of another kind"))?;
                let node = self.inner(cast.expr.as_deref())?;
                Ok(folded(Node::Cast(Box::new(node), to)))
            }
            Some(ExprType::UnresolvedFunction(function)) => self.call(function),
            Some(ExprType::ExpressionString(sql)) => Err(not_here(format!("the SQL `{}`", sql.expression))),
            _ => Err(not_here("an expression of another kind")),
        }
    }

    fn inner(&mut self, expression: Option<&proto::Expression>) -> Result<Node> {
        self.node(expression.ok_or_else(|| not_here("an expression that is empty"))?)
    }

    fn column(&mut self, identifier: &str) -> Result<Node> {
        let name = unquoted(identifier).ok_or_else(|| not_here(format!("the path `{identifier}`")))?;
        let alike = |field: &&spark_connect::types::StructField| field.name.to_lowercase() == name.to_lowercase();
        if self.schema.fields().iter().filter(alike).count() > 1 {
            return Err(Error::schema(name, "one column of this name", "several, or such as differ only in case"));
        }
        let field = self.schema.require(&name)?;
        let place = self.schema.fields().iter().position(|other| std::ptr::eq(other, field)).unwrap_or_default();
        if !self.reads.contains(&place) {
            self.reads.push(place);
        }
        Ok(Node::Column(place))
    }

    fn call(&mut self, function: &proto::expression::UnresolvedFunction) -> Result<Node> {
        let (name, arguments) = (function.function_name.to_lowercase(), &function.arguments);
        let odd = || not_here(format!("`{name}` of {} arguments", arguments.len()));
        match (name.as_str(), arguments.as_slice()) {
            ("when" | "if", [_, _, ..]) => {
                let nodes = arguments.iter().map(|argument| self.node(argument)).collect::<Result<Vec<_>>>()?;
                let mut nodes = nodes.into_iter();
                let mut cases = Vec::new();
                loop {
                    match (nodes.next(), nodes.next()) {
                        (Some(condition), Some(value)) => cases.push((condition, value)),
                        (Some(otherwise), None) => return Ok(Node::Case(cases, Box::new(otherwise))),
                        _ => return Ok(Node::Case(cases, Box::new(Node::Constant(Value::Null)))),
                    }
                }
            }
            ("and", [a, b]) => Ok(Node::And(Box::new(self.node(a)?), Box::new(self.node(b)?))),
            ("or", [a, b]) => Ok(Node::Or(Box::new(self.node(a)?), Box::new(self.node(b)?))),
            ("coalesce", [_, ..]) => {
                Ok(Node::Coalesce(arguments.iter().map(|argument| self.node(argument)).collect::<Result<_>>()?))
            }
            ("raise_error", [message]) => Ok(Node::Raise(Box::new(self.node(message)?))),
            ("xxhash64", [_, ..]) => {
                let typed = arguments.iter().map(|argument| {
                    let data_type = self.type_of(argument).ok_or_else(|| not_here("`xxhash64` of an expression"))?;
                    Ok((self.node(argument)?, data_type))
                });
                Ok(Node::Hash(typed.collect::<Result<_>>()?))
            }
            ("transform", [list, lambda]) => self.each(Each::Transform, list, lambda, &[1, 2]),
            ("filter", [list, lambda]) => self.each(Each::Filter, list, lambda, &[1]),
            ("exists", [list, lambda]) => self.each(Each::Exists, list, lambda, &[1]),
            ("aggregate", [list, start, lambda]) => {
                let (list, start) = (self.node(list)?, self.node(start)?);
                let body = self.lambda(lambda, &[2])?;
                Ok(Node::Aggregate(Box::new(list), Box::new(start), Box::new(body)))
            }
            ("transform" | "filter" | "exists" | "aggregate" | "when" | "if" | "and" | "or" | "raise_error", _) => {
                Err(odd())
            }
            _ => {
                let known = Function::new(&name, arguments.len()).ok_or_else(odd)?;
                let nodes = arguments.iter().map(|argument| self.node(argument)).collect::<Result<Vec<_>>>()?;
                Ok(folded(searched(known, nodes)))
            }
        }
    }

    /// Returns the type of what is a column, a constant or a cast.
    fn type_of(&self, expression: &proto::Expression) -> Option<DataType> {
        match expression.expr_type.as_ref()? {
            ExprType::UnresolvedAttribute(attribute) => {
                let field = self.schema.get(&unquoted(&attribute.unparsed_identifier)?)?;
                Some(field.data_type.clone())
            }
            ExprType::Literal(literal) => match literal.literal_type.as_ref()? {
                LiteralType::Integer(_) => Some(DataType::Integer),
                LiteralType::Long(_) => Some(DataType::Long),
                _ => None,
            },
            ExprType::Cast(cast) => match cast.cast_to_type.as_ref()? {
                CastToType::Type(data_type) => DataType::from_proto(data_type).ok(),
                CastToType::TypeStr(text) => DataType::from_ddl(text).ok(),
            },
            _ => None,
        }
    }

    fn each(
        &mut self,
        each: Each,
        list: &proto::Expression,
        lambda: &proto::Expression,
        counts: &[usize],
    ) -> Result<Node> {
        let list = self.node(list)?;
        let body = self.lambda(lambda, counts)?;
        Ok(Node::Each(each, Box::new(list), Box::new(body)))
    }

    /// Compiles a lambda's body. It is always given two variables; the second goes unused where it has one.
    fn lambda(&mut self, lambda: &proto::Expression, counts: &[usize]) -> Result<Node> {
        let Some(ExprType::LambdaFunction(lambda)) = &lambda.expr_type else {
            return Err(not_here("a function in place of a lambda"));
        };
        let count = lambda.arguments.len();
        if !counts.contains(&count) {
            return Err(not_here(format!("a lambda of {count} variables")));
        }
        let depth = self.variables.len();
        self.variables.extend(lambda.arguments.iter().map(|variable| variable.name_parts.join(".")));
        self.variables.resize(depth + 2, String::new());
        let body = self.inner(lambda.function.as_deref());
        self.variables.truncate(depth);
        body
    }
}

/// Computes a node once if it depends on no row; a failure is reported for the first row that meets it.
fn folded(node: Node) -> Node {
    let constant = match &node {
        Node::Cast(inner, _) => matches!(**inner, Node::Constant(_)),
        Node::Call(_, arguments) => arguments.iter().all(|argument| matches!(argument, Node::Constant(_))),
        _ => false,
    };
    if !constant {
        return node;
    }
    match node.value(RowValues { columns: &[], row: 0 }, &mut Vec::new()) {
        Ok(value) => Node::Constant(value),
        Err(_) => node,
    }
}

/// Returns a search among constant texts looks them up.
fn searched(function: Function, mut arguments: Vec<Node>) -> Node {
    if function == Function::ArrayPosition
        && let [Node::Constant(Value::Array(list)), _] = arguments.as_slice()
        && list.iter().all(|element| matches!(element, Value::Text(_)))
    {
        let mut places = HashMap::with_capacity(list.len());
        for (element, place) in list.iter().zip(1..) {
            if let Value::Text(text) = element {
                places.entry(text.clone()).or_insert(place);
            }
        }
        return Node::Place(places, Box::new(arguments.remove(1)));
    }
    Node::Call(function, arguments)
}

fn constant(literal: &proto::expression::Literal) -> Result<Value> {
    Ok(match literal.literal_type.as_ref() {
        Some(LiteralType::Null(_)) => Value::Null,
        Some(LiteralType::Boolean(value)) => Value::Bool(*value),
        Some(LiteralType::Byte(value) | LiteralType::Short(value) | LiteralType::Integer(value)) => {
            Value::Whole((*value).into())
        }
        Some(LiteralType::Long(value)) => Value::Whole(*value),
        Some(LiteralType::Float(value)) => Value::Float(*value),
        Some(LiteralType::Double(value)) => Value::Double(*value),
        Some(LiteralType::String(value)) => Value::Text(value.as_str().into()),
        Some(LiteralType::Binary(value)) => Value::Binary(value[..].into()),
        _ => return Err(not_here("a literal of another kind")),
    })
}

/// Returns the name in an identifier that is no path; without its back-quotes.
fn unquoted(identifier: &str) -> Option<String> {
    let Some(quoted) = identifier.strip_prefix('`') else {
        return (!identifier.contains(['.', '`', '*'])).then(|| identifier.to_owned());
    };
    let name = quoted.strip_suffix('`')?;
    let unpaired = name.replace("``", "").contains('`');
    (!unpaired).then(|| name.replace("``", "`"))
}

impl Node {
    fn value(&self, row: RowValues<'_>, variables: &mut Vec<Value>) -> Result<Value> {
        match self {
            Node::Constant(value) => Ok(value.clone()),
            Node::Column(place) => {
                let cells = row.columns.get(*place).and_then(|cells| cells.get(row.row));
                cells.cloned().ok_or_else(|| not_here("a column in a constant"))
            }
            Node::Variable(depth) => {
                let value = variables.get(*depth).cloned();
                value.ok_or_else(|| not_here("a variable outside its lambda"))
            }
            Node::Case(cases, otherwise) => {
                for (condition, value) in cases {
                    if condition.value(row, variables)?.truth("when")? == Some(true) {
                        return value.value(row, variables);
                    }
                }
                otherwise.value(row, variables)
            }
            Node::Cast(inner, to) => cast(inner.value(row, variables)?, to),
            Node::And(a, b) => match a.value(row, variables)?.truth("and")? {
                Some(false) => Ok(Value::Bool(false)),
                known => Ok(match (known, b.value(row, variables)?.truth("and")?) {
                    (_, Some(false)) => Value::Bool(false),
                    (Some(true), other) => other.into(),
                    _ => Value::Null,
                }),
            },
            Node::Or(a, b) => match a.value(row, variables)?.truth("or")? {
                Some(true) => Ok(Value::Bool(true)),
                known => Ok(match (known, b.value(row, variables)?.truth("or")?) {
                    (_, Some(true)) => Value::Bool(true),
                    (Some(false), other) => other.into(),
                    _ => Value::Null,
                }),
            },
            Node::Coalesce(nodes) => {
                for node in nodes {
                    let value = node.value(row, variables)?;
                    if !value.is_null() {
                        return Ok(value);
                    }
                }
                Ok(Value::Null)
            }
            Node::Raise(message) => {
                let message = match message.value(row, variables)? {
                    Value::Text(text) | Value::Spelled(text) => text.to_string(),
                    Value::Null => "null".into(),
                    other => return Err(unknown("raise_error", [&other])),
                };
                Err(Error::rows(DataProblem::Expression { message }))
            }
            Node::Place(places, node) => match node.value(row, variables)? {
                Value::Null => Ok(Value::Null),
                Value::Text(text) => Ok(Value::Whole(places.get(&*text).copied().unwrap_or(0))),
                other => Err(unsure("array_position", &other)),
            },
            Node::Each(each, list, body) => {
                let list = match list.value(row, variables)? {
                    Value::Null => return Ok(Value::Null),
                    Value::Array(list) => list,
                    other => return Err(unknown("a lambda", [&other])),
                };
                let depth = variables.len();
                let result = for_each(*each, &list, body, row, variables);
                variables.truncate(depth);
                result
            }
            Node::Aggregate(list, start, body) => {
                let list = match list.value(row, variables)? {
                    Value::Null => return Ok(Value::Null),
                    Value::Array(list) => list,
                    other => return Err(unknown("aggregate", [&other])),
                };
                let mut found = start.value(row, variables)?;
                let depth = variables.len();
                for element in list.iter() {
                    variables.truncate(depth);
                    variables.extend([found, element.clone()]);
                    found = body.value(row, variables)?;
                }
                variables.truncate(depth);
                Ok(found)
            }
            Node::Hash(arguments) => {
                let hashed = arguments.iter().try_fold(hash::SEED, |seed, (argument, of)| {
                    hash::hash(&argument.value(row, variables)?, of, seed)
                });
                Ok(Value::Whole(hashed? as i64))
            }
            Node::Call(function, arguments) => {
                let values = arguments.iter().map(|argument| argument.value(row, variables));
                function.call(&values.collect::<Result<Vec<_>>>()?)
            }
        }
    }
}

/// Returns a number's text decides nothing where it depends on the cluster's Java: an error of the row, not of the
/// expression.
pub(super) fn unsure(of: &str, value: &Value) -> Error {
    match value {
        Value::Spelled(text) => Error::rows(DataProblem::Expression {
            message: format!("`{of}` of the number {text}, whose text depends on the version of the cluster's Java"),
        }),
        other => unknown(of, [other]),
    }
}

fn for_each(each: Each, list: &[Value], body: &Node, row: RowValues<'_>, variables: &mut Vec<Value>) -> Result<Value> {
    let depth = variables.len();
    let mut kept = Vec::with_capacity(if each == Each::Exists { 0 } else { list.len() });
    let mut unknown = false;
    for (element, place) in list.iter().zip(0..) {
        variables.truncate(depth);
        variables.extend([element.clone(), Value::Whole(place)]);
        let answer = body.value(row, variables)?;
        match each {
            Each::Transform => kept.push(answer),
            Each::Filter if answer.truth("filter")? == Some(true) => kept.push(element.clone()),
            Each::Filter => {}
            Each::Exists => match answer.truth("exists")? {
                Some(true) => return Ok(Value::Bool(true)),
                Some(false) => {}
                None => unknown = true,
            },
        }
    }
    Ok(match each {
        Each::Exists if unknown => Value::Null,
        Each::Exists => Value::Bool(false),
        _ => Value::Array(kept.into()),
    })
}
