//! The reverse of a formula, by the chain rule, expression by expression.

use super::description::{Binary, Unary};
use super::graph::{BinaryOf, Expression, Graph, Id, Together, UnaryOf};
use alloc::vec;
use alloc::vec::Vec;

/// The derivative by an expression, out of those of what is made of it.
type Gradient = Option<Id>;

/// Derivatives of Σ seed · expression by every expression of the graph, which they are added to. `seeds` give the
/// derivatives by some expressions.
pub fn reverse(graph: &mut Graph, seeds: &[(Id, Id)]) -> Vec<Gradient> {
    let len = graph.len();
    let mut d: Vec<Gradient> = vec![None; len];
    for &(of, seed) in seeds {
        add(graph, &mut d, of, seed);
    }
    for id in (0..len as Id).rev() {
        if let Expression::Normalised { group, .. } = graph.get(id) {
            normalised(graph, &mut d, id, group);
            continue;
        }
        let Some(d_y) = d[id as usize] else { continue };
        match graph.get(id) {
            Expression::Number(_) | Expression::Leaf(_) | Expression::Normalised { .. } => {}
            Expression::Spike { v, slope, .. } => {
                let d_v = graph.binary(Binary::Mul, d_y, slope);
                add(graph, &mut d, v, d_v);
            }
            Expression::Unary(UnaryOf(of), x) => {
                if let Some(d_x) = unary(graph, of, x, id, d_y) {
                    add(graph, &mut d, x, d_x);
                }
            }
            Expression::Binary(BinaryOf(of), a, b) => {
                let [d_a, d_b] = binary(graph, of, [a, b], id, d_y);
                for (to, from) in [(a, d_a), (b, d_b)] {
                    if let Some(from) = from {
                        add(graph, &mut d, to, from);
                    }
                }
            }
            Expression::Where(condition, a, b) => {
                let zero = graph.number(0.0);
                let d_a = graph.choose(condition, d_y, zero);
                let d_b = graph.choose(condition, zero, d_y);
                add(graph, &mut d, a, d_a);
                add(graph, &mut d, b, d_b);
            }
        }
    }
    d
}

fn add(graph: &mut Graph, d: &mut [Gradient], to: Id, what: Id) {
    if graph.as_number(to).is_some() {
        return;
    }
    d[to as usize] = Some(match d[to as usize] {
        None => what,
        Some(before) => graph.binary(Binary::Add, before, what),
    });
}

/// The derivatives by all values of a group, once those by all that is made of them are there: n = (a − mean) / deviation
/// has d_a = (d_n − mean(d_n) − n mean(d_n n)) / deviation.
fn normalised(graph: &mut Graph, d: &mut [Gradient], id: Id, group: u32) {
    let Together { of, deviation, normalised, .. } = graph.group(group).clone();
    if normalised.iter().any(|&n| n < id) {
        return;
    }
    let zero = graph.number(0.0);
    let mut d_n: Vec<Id> = normalised.iter().map(|&n| d[n as usize].unwrap_or(zero)).collect();
    for at in 1..of.len() {
        // The same value twice has one derivative.
        if normalised[..at].contains(&normalised[at]) {
            d_n[at] = zero;
        }
    }
    if d_n.iter().all(|&d| d == zero) {
        return;
    }
    let pairs = d_n.iter().zip(&normalised);
    let along: Vec<Id> = pairs.map(|(&d, &n)| graph.binary(Binary::Mul, d, n)).collect();
    let (mean, slope) = (graph.mean(&d_n), graph.mean(&along));
    for ((a, n), d_n) in of.into_iter().zip(normalised).zip(d_n) {
        let level = graph.binary(Binary::Sub, d_n, mean);
        let part = graph.binary(Binary::Mul, n, slope);
        let rest = graph.binary(Binary::Sub, level, part);
        let d_a = graph.binary(Binary::Div, rest, deviation);
        add(graph, d, a, d_a);
    }
}

/// The derivative by x of y = f(x).
fn unary(graph: &mut Graph, of: Unary, x: Id, y: Id, d_y: Id) -> Gradient {
    let one = graph.number(1.0);
    let slope = match of {
        Unary::StopGradient => return None,
        Unary::Neg => return Some(graph.unary(Unary::Neg, d_y)),
        // Every unit has its share in every unit's mean.
        Unary::Mean => return Some(graph.unary(Unary::Mean, d_y)),
        Unary::Abs => {
            let zero = graph.number(0.0);
            let above = graph.binary(Binary::Less, zero, x);
            let below = graph.binary(Binary::Less, x, zero);
            let minus = graph.unary(Unary::Neg, d_y);
            let others = graph.choose(below, minus, zero);
            return Some(graph.choose(above, d_y, others));
        }
        Unary::Relu => {
            let zero = graph.number(0.0);
            let above = graph.binary(Binary::Less, zero, y);
            return Some(graph.choose(above, d_y, zero));
        }
        Unary::Log => return Some(graph.binary(Binary::Div, d_y, x)),
        Unary::Sqrt => {
            let twice = graph.binary(Binary::Add, y, y);
            return Some(graph.binary(Binary::Div, d_y, twice));
        }
        Unary::Exp => y,
        Unary::Sin => graph.unary(Unary::Cos, x),
        Unary::Cos => {
            let sin = graph.unary(Unary::Sin, x);
            graph.unary(Unary::Neg, sin)
        }
        Unary::Tanh => {
            let square = graph.binary(Binary::Mul, y, y);
            graph.binary(Binary::Sub, one, square)
        }
        Unary::Sigmoid => {
            let rest = graph.binary(Binary::Sub, one, y);
            graph.binary(Binary::Mul, y, rest)
        }
        Unary::LogSigmoid => {
            let minus = graph.unary(Unary::Neg, x);
            graph.unary(Unary::Sigmoid, minus)
        }
        Unary::Softplus => graph.unary(Unary::Sigmoid, x),
        Unary::Silu => {
            let s = graph.unary(Unary::Sigmoid, x);
            let rest = graph.binary(Binary::Sub, one, s);
            let product = graph.binary(Binary::Mul, y, rest);
            graph.binary(Binary::Add, s, product)
        }
    };
    Some(graph.binary(Binary::Mul, d_y, slope))
}

/// The derivatives by a and b of y = f(a, b).
fn binary(graph: &mut Graph, of: Binary, [a, b]: [Id; 2], y: Id, d_y: Id) -> [Gradient; 2] {
    match of {
        Binary::Add => [Some(d_y), Some(d_y)],
        Binary::Sub => [Some(d_y), Some(graph.unary(Unary::Neg, d_y))],
        Binary::Mul => {
            [Some(graph.binary(Binary::Mul, d_y, b)), Some(graph.binary(Binary::Mul, d_y, a))]
        }
        Binary::Div => {
            let d_a = graph.binary(Binary::Div, d_y, b);
            let product = graph.binary(Binary::Mul, d_a, y);
            [Some(d_a), Some(graph.unary(Unary::Neg, product))]
        }
        Binary::Pow => [Some(power(graph, a, b, d_y)), exponent(graph, a, b, y, d_y)],
        Binary::Minimum => chosen(graph, [a, b], [a, b], d_y),
        Binary::Maximum => chosen(graph, [a, b], [b, a], d_y),
        Binary::Less | Binary::LessEqual | Binary::Equal => [None, None],
    }
}

/// d · b aᵇ⁻¹, and 0 for b = 0.
fn power(graph: &mut Graph, a: Id, b: Id, d_y: Id) -> Id {
    let (zero, one) = (graph.number(0.0), graph.number(1.0));
    let less = graph.binary(Binary::Sub, b, one);
    let power = graph.binary(Binary::Pow, a, less);
    let slope = graph.binary(Binary::Mul, b, power);
    let d_a = graph.binary(Binary::Mul, d_y, slope);
    if graph.as_number(b).is_some_and(|b| b != 0.0) {
        return d_a;
    }
    let constant = graph.binary(Binary::Equal, b, zero);
    graph.choose(constant, zero, d_a)
}

/// d · aᵇ ln a, and 0 for a = 0 ≤ b; nothing for an exponent that is a number.
fn exponent(graph: &mut Graph, a: Id, b: Id, y: Id, d_y: Id) -> Gradient {
    if graph.as_number(b).is_some() {
        return None;
    }
    let zero = graph.number(0.0);
    let log = graph.unary(Unary::Log, a);
    let slope = graph.binary(Binary::Mul, y, log);
    let d_b = graph.binary(Binary::Mul, d_y, slope);
    let none = graph.binary(Binary::Equal, a, zero);
    let defined = graph.binary(Binary::LessEqual, zero, b);
    let (otherwise, both) = (d_b, graph.choose(defined, zero, d_b));
    Some(graph.choose(none, both, otherwise))
}

/// All of d for the one that is chosen, the less of `order`; half for each of equals.
fn chosen(graph: &mut Graph, [a, b]: [Id; 2], order: [Id; 2], d_y: Id) -> [Gradient; 2] {
    let (zero, half) = (graph.number(0.0), graph.number(0.5));
    let part = graph.binary(Binary::Mul, d_y, half);
    let even = graph.binary(Binary::Equal, a, b);
    let first = graph.binary(Binary::Less, order[0], order[1]);
    let (d_a, d_b) = (graph.choose(first, d_y, zero), graph.choose(first, zero, d_y));
    // NaN beside a number is what is chosen, and torch gives its gradient to both.
    [Some(graph.choose(even, part, d_a)), Some(graph.choose(even, part, d_b))]
}
