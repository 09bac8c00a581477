//! The formula in words, as documentation.

use super::expression::{Binds, Piece, literal};
use super::names::{Names, function};
use super::needed;
use crate::cell::formula::description::{Binary, Description, Fed, Unary};
use crate::cell::formula::graph::{BinaryOf, Bits, Expression, Id, UnaryOf};
use crate::cell::formula::plan::Scheme;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Letters of what stands right of `=`, about.
const LONG: usize = 72;

/// What it is made of, line by line: constants, slots, values, new states.
pub fn documentation(d: &Description, plan: &Scheme, names: &Names) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, value) in &d.constants {
        lines.push(format!("{name} = {}", literal(*value)));
    }
    for (map, &slot) in plan.slots.iter().enumerate() {
        let own = &d.maps[map];
        let x = own.x.iter().map(|name| format!("x.{name}"));
        let value = plan.layout.maps().iter().position(|map| map.to as usize == slot);
        let h = own.h.iter().map(|name| match own.fed {
            Fed::Value(_) => {
                format!("linear(\"{name}\", {})", value.map_or("", |map| names.value(map)))
            }
            _ => format!("h.{name}"),
        });
        let parts: Vec<String> = x.chain(h).collect();
        lines.push(format!("{} = {}", names.slot(slot), parts.join(" + ")));
    }
    let own = needed(plan);
    let mut uses: BTreeMap<Id, usize> = BTreeMap::new();
    for &id in &own {
        plan.graph.get(id).operands().for_each(|of| *uses.entry(of).or_default() += 1);
    }
    let mut pieces: BTreeMap<Id, Piece> = BTreeMap::new();
    for &id in &own {
        let mut of: Vec<Id> = plan.graph.get(id).operands().collect();
        of.sort_by_key(|of| core::cmp::Reverse(pieces[of].text.len()));
        let mut whole: usize = of.iter().map(|of| pieces[of].text.len()).sum();
        for of in of {
            if whole > LONG && pieces[&of].binds != Binds::Name {
                whole -= pieces[&of].text.len();
                named(of, &mut pieces, &mut lines, plan, names);
            }
        }
        let piece = piece(plan, id, &pieces, names);
        let made = !matches!(plan.graph.get(id), Expression::Leaf(_) | Expression::Number(_));
        pieces.insert(id, piece);
        if made && (names.is_marked(id) || uses.get(&id).is_some_and(|&uses| uses > 1)) {
            named(id, &mut pieces, &mut lines, plan, names);
        }
    }
    let states = d.states.iter().enumerate();
    let new: Vec<&str> = plan.outputs.iter().map(|id| pieces[id].text.as_str()).collect();
    let old: Vec<&str> = states.map(|(n, _)| names.state(n)).collect();
    lines.push(format!("{} -> {}", old.join(", "), new.join(", ")));
    let mut text: Vec<String> = ["///", "/// ```text"].map(String::from).into();
    text.extend(lines.into_iter().map(|line| format!("/// {line}")));
    text.push("/// ```".into());
    text
}

/// Gives an expression a line of its own.
fn named(
    id: Id,
    pieces: &mut BTreeMap<Id, Piece>,
    lines: &mut Vec<String>,
    plan: &Scheme,
    names: &Names,
) {
    let name = names.of(&plan.graph, id);
    lines.push(format!("{name} = {}", pieces[&id].text));
    pieces.insert(id, Piece::new(Binds::Name, name));
}

fn piece(plan: &Scheme, id: Id, pieces: &BTreeMap<Id, Piece>, names: &Names) -> Piece {
    let call = |name: &str, of: &[Id]| {
        let all: Vec<&str> = of.iter().map(|of| pieces[of].text.as_str()).collect();
        Piece::new(Binds::Call, format!("{name}({})", all.join(", ")))
    };
    let infix = |op: &str, binds, a: Id, b: Id, right| {
        let (a, b) = (pieces[&a].within(binds), pieces[&b].within(right));
        Piece::new(binds, format!("{a} {op} {b}"))
    };
    match plan.graph.get(id) {
        Expression::Number(Bits(x)) => Piece::new(Binds::Name, literal(x)),
        Expression::Leaf(_) => Piece::new(Binds::Name, names.of(&plan.graph, id)),
        Expression::Unary(UnaryOf(Unary::Neg), a) => {
            Piece::new(Binds::Minus, format!("-{}", pieces[&a].within(Binds::Call)))
        }
        Expression::Unary(UnaryOf(Unary::StopGradient), a) => call("stop_gradient", &[a]),
        Expression::Unary(UnaryOf(of), a) => call(function(of), &[a]),
        Expression::Where(a, b, c) => call("where", &[a, b, c]),
        Expression::Spike { v, .. } => call("spike", &[v]),
        Expression::Normalised { centred, deviation, .. } => {
            infix("/", Binds::Product, centred, deviation, Binds::Minus)
        }
        Expression::Binary(BinaryOf(of), a, b) => match of {
            Binary::Add => infix("+", Binds::Sum, a, b, Binds::Product),
            Binary::Sub => infix("-", Binds::Sum, a, b, Binds::Product),
            Binary::Mul => infix("*", Binds::Product, a, b, Binds::Minus),
            Binary::Div => infix("/", Binds::Product, a, b, Binds::Minus),
            Binary::Pow => call("pow", &[a, b]),
            Binary::Minimum => call("minimum", &[a, b]),
            Binary::Maximum => call("maximum", &[a, b]),
            Binary::Less => infix("<", Binds::Compared, a, b, Binds::Sum),
            Binary::LessEqual => infix("<=", Binds::Compared, a, b, Binds::Sum),
            Binary::Equal => infix("==", Binds::Compared, a, b, Binds::Sum),
        },
    }
}
