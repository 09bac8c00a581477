//! A cell's description in a file of ours as a formula: see `unrolled.cells` of the Python package, which writes it.

use super::LoadError;
use super::json::{At, Json, Object, indices, refused};
use crate::cell::formula::{
    Binary, Description, Fed, Formula, MOST_NODES, MapOf, Node, Surrogate, Unary,
};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

const KEYS: [&str; 9] =
    ["version", "name", "states", "maps", "parameters", "constants", "nodes", "outputs", "bias"];

/// The names of the states.
pub fn states(at: At<'_>, cell: &Object) -> Result<Vec<String>, LoadError> {
    let name = |state: &Json| match state {
        Json::Text(name) => Ok(name.clone()),
        other => Err(refused(&format!("{at}.states"), "names", other)),
    };
    cell.list(at, "states")?.iter().map(name).collect()
}

/// The formula, of which the first values of biases and parameters do not matter here.
pub fn formula(at: At<'_>, cell: &Object) -> Result<Formula, LoadError> {
    cell.only(at, &KEYS)?;
    if cell.size(at, "version", None, 1)? != 1 {
        return Err(refused(&format!("{at}.version"), "1", "a later one"));
    }
    let nodes = nodes(at, cell)?;
    let outputs = indices(&format!("{at}.outputs"), cell.get("outputs"))?;
    let description = Description {
        states: states(at, cell)?,
        maps: maps(at, cell, &nodes.places)?,
        parameters: numbers(at, cell, "parameters", "init")?,
        constants: numbers(at, cell, "constants", "value")?,
        outputs: nodes.of(&format!("{at}.outputs"), &outputs)?,
        nodes: nodes.all,
    };
    Ok(Formula::new(description)?)
}

fn objects<'a>(
    at: At<'_>,
    cell: &'a Object,
    key: &str,
) -> Result<impl Iterator<Item = Result<&'a Object, LoadError>>, LoadError> {
    let at = format!("{at}.{key}");
    Ok(cell.list("", key)?.iter().map(move |entry| match entry {
        Json::Object(entry) => Ok(entry),
        other => Err(refused(&at, "objects", other)),
    }))
}

fn numbers(
    at: At<'_>,
    cell: &Object,
    key: &str,
    value: &str,
) -> Result<Vec<(String, f64)>, LoadError> {
    let own = &format!("{at}.{key}");
    let number = |entry: Result<&Object, LoadError>| {
        let entry = entry?;
        Ok((entry.text(own, "name", None)?.to_string(), entry.number(own, value)?))
    };
    objects(at, cell, key)?.map(number).collect()
}

fn maps(at: At<'_>, cell: &Object, places: &[usize]) -> Result<Vec<MapOf>, LoadError> {
    let own = &format!("{at}.maps");
    let map = |entry: Result<&Object, LoadError>| {
        let entry = entry?;
        let name = entry.text(own, "name", None)?;
        let fed = match entry.get("h") {
            Some(Json::Null) => Fed::Nothing,
            Some(Json::Text(text)) if text == "state" => Fed::State,
            Some(value) => {
                let place = value.index().and_then(|node| places.get(node).copied());
                Fed::Value(place.ok_or_else(|| refused(own, "h, a node or nothing as h", value))?)
            }
            None => return Err(refused(own, "h, a node or nothing as h", "nothing")),
        };
        let x = entry.flag(own, "x", None)?.then(|| name.to_string());
        Ok(MapOf { x, h: (fed != Fed::Nothing).then(|| name.to_string()), fed })
    };
    objects(at, cell, "maps")?.map(map).collect()
}

/// Nodes as they are made, and which of them stands for each of the file's.
#[derive(Default)]
struct Nodes {
    all: Vec<Node>,
    places: Vec<usize>,
}

impl Nodes {
    fn add(&mut self, node: Node) -> usize {
        self.all.push(node);
        self.all.len() - 1
    }

    /// The nodes that stand for these of the file's.
    fn of(&self, at: At<'_>, nodes: &[usize]) -> Result<Vec<usize>, LoadError> {
        let place = |&node: &usize| {
            let place = self.places.get(node).copied();
            place.ok_or_else(|| refused(at, "nodes that come earlier", node))
        };
        nodes.iter().map(place).collect()
    }
}

fn nodes(at: At<'_>, cell: &Object) -> Result<Nodes, LoadError> {
    let at = &format!("{at}.nodes");
    let list = cell.list(at, "nodes")?;
    if list.len() > MOST_NODES {
        return Err(refused(at, format!("{MOST_NODES} at most"), list.len()));
    }
    let mut nodes = Nodes::default();
    for node in list {
        let place = match node {
            Json::List(node) => add(at, &mut nodes, node)?,
            other => return Err(refused(at, "a list for each", other)),
        };
        nodes.places.push(place);
    }
    Ok(nodes)
}

/// Adds a node of the file, in the few operations that the kernels know: what is greater becomes what is less.
fn add(at: At<'_>, nodes: &mut Nodes, node: &[Json]) -> Result<usize, LoadError> {
    let wrong = || refused(at, "an operation that is known here, and its operands", "another");
    let Some((Json::Text(name), operands)) = node.split_first() else { return Err(wrong()) };
    let index = |n: usize| operands.get(n).and_then(Json::index).ok_or_else(wrong);
    let count = operands.len();
    let above_zero = |n: usize| match operands.get(n) {
        Some(&Json::Number { value, .. }) if value > 0.0 && value.is_finite() => Ok(value),
        _ => Err(wrong()),
    };
    let node = match (name.as_str(), count) {
        ("number", 1) => match operands[0] {
            Json::Number { value, .. } if value.is_finite() => Node::Number(value),
            _ => return Err(wrong()),
        },
        ("slot", 1) => Node::Slot(index(0)?),
        ("state", 1) => Node::State(index(0)?),
        ("parameter", 1) => Node::Parameter(index(0)?),
        ("constant", 1) => Node::Constant(index(0)?),
        ("spike", 3) => {
            let surrogate = match &operands[1] {
                Json::Text(name) => Surrogate::from_name(name).ok_or_else(wrong)?,
                _ => return Err(wrong()),
            };
            Node::Spike(nodes.of(at, &[index(0)?])?[0], surrogate, above_zero(2)?)
        }
        ("normalise", 3) => {
            let of = nodes.of(at, &indices(at, operands.first())?)?;
            Node::Normalise { of, eps: above_zero(1)?, which: index(2)? }
        }
        (name, count) => {
            let own = (0..count).map(index).collect::<Result<Vec<_>, _>>()?;
            let own = nodes.of(at, &own)?;
            match (name, &own[..]) {
                ("where", &[c, a, b]) => Node::Where(c, a, b),
                ("greater", &[a, b]) => Node::Binary(Binary::Less, b, a),
                ("greater_equal", &[a, b]) => Node::Binary(Binary::LessEqual, b, a),
                ("not_equal", &[a, b]) => {
                    let same = nodes.add(Node::Binary(Binary::Equal, a, b));
                    let one = nodes.add(Node::Number(1.0));
                    Node::Binary(Binary::Sub, one, same)
                }
                (name, &[a]) => {
                    // Means are what `normalise` is made of, and no operation of files.
                    let known = Unary::from_name(name).filter(|&unary| unary != Unary::Mean);
                    Node::Unary(known.ok_or_else(wrong)?, a)
                }
                (name, &[a, b]) => Node::Binary(Binary::from_name(name).ok_or_else(wrong)?, a, b),
                _ => return Err(wrong()),
            }
        }
    };
    Ok(nodes.add(node))
}
