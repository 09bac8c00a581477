//! Cells as formulas.

use crate::compute::exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use unrolled::cell::formula::{
    Binary, Description, Fed, Formula as Compiled, MapOf, Node, Surrogate, Unary,
};

/// A formula, checked and compiled: what a network of it is made with.
#[pyclass(frozen, module = "unrolled._native")]
pub struct Formula {
    pub compiled: Compiled,
}

/// A slot: its name among the maps of x and among those of h, and the value that the latter acts on, if not on h.
type Map = (Option<String>, Option<String>, Option<usize>);
/// A node: what it does, on which earlier ones (or of which slot, state, parameter, constant; of `normalise`, which of the
/// values that follow), with which number and word.
type Operation = (String, Vec<usize>, f64, String);

#[pymethods]
impl Formula {
    /// `unrolled.cells` says what the arguments mean and checks what a user may get wrong.
    #[new]
    fn new(
        states: Vec<String>,
        maps: Vec<Map>,
        parameters: Vec<(String, f64)>,
        constants: Vec<(String, f64)>,
        nodes: Vec<Operation>,
        outputs: Vec<usize>,
    ) -> PyResult<Self> {
        let maps = maps.into_iter().map(|(x, h, value)| {
            let fed = match (&h, value) {
                (None, _) => Fed::Nothing,
                (Some(_), None) => Fed::State,
                (Some(_), Some(value)) => Fed::Value(value),
            };
            MapOf { x, h, fed }
        });
        let maps = maps.collect();
        let nodes = nodes.iter().map(node).collect::<PyResult<_>>()?;
        let description = Description { states, maps, parameters, constants, nodes, outputs };
        Ok(Formula { compiled: Compiled::new(description).map_err(exception)? })
    }

    /// The cell as Rust source, a type `name`.
    fn source(&self, name: &str, title: &str) -> PyResult<String> {
        self.compiled.source(name, title).map_err(exception)
    }

    /// The programs, in words.
    fn explain(&self) -> String {
        self.compiled.explain()
    }
}

fn node((what, of, number, word): &Operation) -> PyResult<Node> {
    let refused = || PyValueError::new_err(format!("formula: expected an operation, got {what:?}"));
    if let Some(unary) = Unary::from_name(what) {
        let &[a] = &of[..] else { return Err(refused()) };
        return Ok(Node::Unary(unary, a));
    }
    if let Some(binary) = Binary::from_name(what) {
        let &[a, b] = &of[..] else { return Err(refused()) };
        return Ok(Node::Binary(binary, a, b));
    }
    Ok(match (what.as_str(), &of[..]) {
        ("number", []) => Node::Number(*number),
        ("slot", &[n]) => Node::Slot(n),
        ("state", &[n]) => Node::State(n),
        ("parameter", &[n]) => Node::Parameter(n),
        ("constant", &[n]) => Node::Constant(n),
        ("where", &[c, a, b]) => Node::Where(c, a, b),
        ("spike", &[v]) => {
            let surrogate = Surrogate::from_name(word).ok_or_else(refused)?;
            Node::Spike(v, surrogate, *number)
        }
        ("normalise", &[which, ref of @ ..]) => {
            Node::Normalise { of: of.to_vec(), eps: *number, which }
        }
        _ => return Err(refused()),
    })
}
