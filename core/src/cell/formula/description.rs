//! A formula as plain data: what a file holds, and what is checked before anything else is done with it.

use crate::error::Error;
use crate::kernel::layout::{MOST_MAPS, MOST_SLOTS, MOST_STATES};
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

/// Nodes a formula may have.
pub const MOST_NODES: usize = 4096;
/// Parameters a unit may have for itself.
pub const MOST_PARAMETERS: usize = 16;
/// Means over a row a formula may have: each is a walk through the row.
pub const MOST_MEANS: usize = 64;
/// Values that may be normalised together.
pub const MOST_NORMALISED: usize = 64;
/// Constants a formula may have.
pub const MOST_CONSTANTS: usize = 64;

/// A function of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    /// −x
    Neg,
    /// |x|
    Abs,
    /// eˣ
    Exp,
    /// ln x
    Log,
    /// √x
    Sqrt,
    /// sin x
    Sin,
    /// cos x
    Cos,
    /// tanh x
    Tanh,
    /// 1 / (1 + e⁻ˣ)
    Sigmoid,
    /// −ln(1 + e⁻ˣ)
    LogSigmoid,
    /// max(0, x)
    Relu,
    /// ln(1 + eˣ)
    Softplus,
    /// x / (1 + e⁻ˣ)
    Silu,
    /// x, of which no gradient is taken.
    StopGradient,
    /// The mean over the units of a row, for each of them.
    Mean,
}

/// A function of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// a + b
    Add,
    /// a − b
    Sub,
    /// a · b
    Mul,
    /// a / b
    Div,
    /// aᵇ
    Pow,
    /// The smaller, NaN where either is; of a tie each has half the gradient.
    Minimum,
    /// The larger, likewise.
    Maximum,
    /// 1 where a < b, else 0.
    Less,
    /// 1 where a ≤ b, else 0.
    LessEqual,
    /// 1 where a = b, else 0.
    Equal,
}

/// What stands in for the derivative of a step from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Surrogate {
    /// 1 / (1 + slope |v|)²
    FastSigmoid,
    /// 1 / (1 + (π/2 · slope · v)²) · slope / 2
    Atan,
    /// The derivative of σ(slope · v).
    Sigmoid,
}

impl Unary {
    /// The one that files and the Python package call so.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "neg" => Unary::Neg,
            "abs" => Unary::Abs,
            "exp" => Unary::Exp,
            "log" => Unary::Log,
            "sqrt" => Unary::Sqrt,
            "sin" => Unary::Sin,
            "cos" => Unary::Cos,
            "tanh" => Unary::Tanh,
            "sigmoid" => Unary::Sigmoid,
            "log_sigmoid" => Unary::LogSigmoid,
            "relu" => Unary::Relu,
            "softplus" => Unary::Softplus,
            "silu" => Unary::Silu,
            "stop_gradient" => Unary::StopGradient,
            "mean" => Unary::Mean,
            _ => return None,
        })
    }
}

impl Binary {
    /// The one that files and the Python package call so.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "add" => Binary::Add,
            "sub" => Binary::Sub,
            "mul" => Binary::Mul,
            "div" => Binary::Div,
            "pow" => Binary::Pow,
            "minimum" => Binary::Minimum,
            "maximum" => Binary::Maximum,
            "less" => Binary::Less,
            "less_equal" => Binary::LessEqual,
            "equal" => Binary::Equal,
            _ => return None,
        })
    }
}

impl Surrogate {
    /// The one that files and the Python package call so.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "fast_sigmoid" => Surrogate::FastSigmoid,
            "atan" => Surrogate::Atan,
            "sigmoid" => Surrogate::Sigmoid,
            _ => return None,
        })
    }
}

/// A value of a formula, made of earlier ones, which are named by their places.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// A number.
    Number(f64),
    /// What the maps of a slot give, by its place among [`Description::maps`].
    Slot(usize),
    /// A state before the step.
    State(usize),
    /// A parameter of the unit.
    Parameter(usize),
    /// A constant of the net.
    Constant(usize),
    /// A function of one value.
    Unary(Unary, usize),
    /// A function of two.
    Binary(Binary, usize, usize),
    /// The second where the first is not 0, else the third.
    Where(usize, usize, usize),
    /// 1 where v > 0, else 0; with a derivative of its own, of this slope.
    Spike(usize, Surrogate, f64),
    /// One of several values, with zero mean and unit variance over all units of them all: (a − mean) / √(variance + eps).
    Normalise {
        /// The values.
        of: Vec<usize>,
        /// What is added to the variance.
        eps: f64,
        /// Which of the values.
        which: usize,
    },
}

/// What a recurrent map acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fed {
    /// Nothing: there is none.
    Nothing,
    /// h before the step.
    State,
    /// A value, by its node.
    Value(usize),
}

/// A slot: what the affine maps of one name give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapOf {
    /// Its name among the maps of x, if x feeds it.
    pub x: Option<String>,
    /// Its name among those of h, if h or a value feeds it.
    pub h: Option<String>,
    /// Which.
    pub fed: Fed,
}

/// A formula as plain data.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Description {
    /// The states' names, h first.
    pub states: Vec<String>,
    /// The slots. Row blocks of `weight_ih` and of `weight_hh` are in the order in which their names come first.
    pub maps: Vec<MapOf>,
    /// The units' own parameters: names and first values.
    pub parameters: Vec<(String, f64)>,
    /// The net's constants: names and values.
    pub constants: Vec<(String, f64)>,
    /// Values, each made of earlier ones.
    pub nodes: Vec<Node>,
    /// The new states.
    pub outputs: Vec<usize>,
}

impl Description {
    /// Refuses what is not a formula, or too large.
    ///
    /// # Errors
    /// `Invalid`, with what is wrong.
    pub fn check(&self) -> Result<(), Error> {
        let check = |holds: bool, expected| {
            let argument = "formula";
            if holds { Ok(()) } else { Err(Error::Invalid { argument, expected }) }
        };
        let states = self.states.len();
        check((1..=MOST_STATES).contains(&states), "1 to 8 states")?;
        check(self.outputs.len() == states, "as many new states as there are states")?;
        check((1..=MOST_SLOTS).contains(&self.maps.len()), "1 to 16 maps")?;
        check(self.parameters.len() <= MOST_PARAMETERS, "16 parameters of a unit at most")?;
        check(self.constants.len() <= MOST_CONSTANTS, "64 constants at most")?;
        check(self.nodes.len() <= MOST_NODES, "4096 nodes at most")?;
        check(self.means() <= MOST_MEANS, "64 means at most, of which each normalise has two")?;
        let finite = |all: &[(String, f64)]| all.iter().all(|(_, value)| value.is_finite());
        check(finite(&self.parameters), "finite first values of parameters")?;
        check(finite(&self.constants), "finite constants")?;
        for (at, node) in self.nodes.iter().enumerate() {
            let earlier = |operands: &[usize]| operands.iter().all(|&of| of < at);
            let holds = match *node {
                Node::Number(x) => !x.is_nan(),
                Node::Slot(slot) => slot < self.maps.len(),
                Node::State(state) => state < states,
                Node::Parameter(parameter) => parameter < self.parameters.len(),
                Node::Constant(constant) => constant < self.constants.len(),
                Node::Unary(_, a) => earlier(&[a]),
                Node::Binary(_, a, b) => earlier(&[a, b]),
                Node::Where(c, a, b) => earlier(&[c, a, b]),
                Node::Spike(a, _, slope) => earlier(&[a]) && slope.is_finite(),
                Node::Normalise { ref of, eps, which } => {
                    let fits = which < of.len() && of.len() <= MOST_NORMALISED;
                    fits && earlier(of) && eps.is_finite() && eps > 0.0
                }
            };
            check(holds, "nodes made of earlier nodes, and of what there is")?;
        }
        let there = |&node: &usize| node < self.nodes.len();
        check(self.outputs.iter().all(there), "new states that are nodes")?;
        let mut values = 0;
        for map in &self.maps {
            let fed = map.fed != Fed::Nothing;
            check(map.x.is_some() || fed, "maps of x, of h, or of both")?;
            check(map.h.is_some() == fed, "a name for every map of h")?;
            if let Fed::Value(node) = map.fed {
                check(there(&node), "maps of values that are nodes")?;
                values += 1;
            }
        }
        check(values <= MOST_MAPS, "4 maps of values at most")?;
        check(self.maps.len() + values <= MOST_SLOTS, "16 maps and values at most")?;
        let names = |pick: fn(&MapOf) -> Option<&String>| {
            let mut names: Vec<_> = self.maps.iter().filter_map(pick).collect();
            names.sort_unstable();
            names.windows(2).all(|pair| pair[0] != pair[1])
        };
        check(names(|map| map.x.as_ref()) && names(|map| map.h.as_ref()), "maps of different names")
    }

    /// Means over a row.
    fn means(&self) -> usize {
        let (mut count, mut groups) = (0, BTreeSet::new());
        for node in &self.nodes {
            match node {
                Node::Unary(Unary::Mean, _) => count += 1,
                Node::Normalise { of, eps, .. } if groups.len() <= MOST_MEANS => {
                    groups.insert((of, eps.to_bits()));
                }
                _ => {}
            }
        }
        count + 2 * groups.len()
    }
}
