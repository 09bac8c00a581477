//! What values are called: as the formula calls them, where it does.

use super::needed;
use crate::cell::formula::description::{Binary, Description, Unary};
use crate::cell::formula::graph::{BinaryOf, Bits, Expression, Graph, Id, Leaf, UnaryOf};
use crate::cell::formula::plan::{Scheme, Wanted};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;

/// What may not be a name: Rust's words, and what the written functions have in scope.
const TAKEN: &str = "as break const continue crate else enum extern false fn for if impl in let loop match mod move \
    mut pub ref return self static struct super trait true type use where while async await dyn abstract become \
    box do final macro override priv typeof unsized virtual yield try gen union slots states d d_states math _";

/// Those, and the one word that searches are to find in code alone.
fn taken() -> BTreeSet<String> {
    let words = TAKEN.split_whitespace().map(ToString::to_string);
    words.chain([["un", "safe"].concat()]).collect()
}

/// Letters of a name at most, before what tells it from others.
const LONGEST: usize = 24;

/// Whether a text is an ASCII identifier, and no word of Rust's.
pub fn is_name(text: &str) -> bool {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic());
    begins
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && text != "Self"
        && !taken().contains(text)
}

/// A name in snake case and ASCII, out of one that Python takes.
fn snake(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c == '_' || c.is_ascii_alphanumeric() {
            text.push(c.to_ascii_lowercase());
        } else {
            text.push_str(&format!("u{:x}", c as u32));
        }
    }
    let parts: Vec<&str> = text.split('_').filter(|part| !part.is_empty()).collect();
    let text = parts.join("_");
    let begin = if text.starts_with(|c: char| c.is_ascii_alphabetic()) { "" } else { "n" };
    // Short enough for a line; what became the same is told apart later.
    let text: String = format!("{begin}{text}").chars().take(LONGEST).collect();
    text.trim_end_matches('_').into()
}

/// Names of expressions, each of one only.
pub struct Names {
    slots: Vec<String>,
    values: Vec<String>,
    states: Vec<String>,
    parameters: Vec<String>,
    /// What the formula itself names: new states, and values that maps act on.
    marked: BTreeSet<Id>,
    maker: RefCell<Naming>,
}

/// What has been named so far.
struct Naming {
    used: BTreeSet<String>,
    of: BTreeMap<Id, String>,
    numbers: BTreeMap<Bits, String>,
}

impl Naming {
    /// The name, or another that nothing has yet.
    fn unique(&mut self, name: &str) -> String {
        let mut found = name.to_string();
        let mut n = 2;
        while !self.used.insert(found.clone()) {
            found = format!("{name}_{n}");
            n += 1;
        }
        found
    }

    /// As [`unique`](Self::unique), but with something before the name rather than a number behind it.
    fn either(&mut self, name: &str, before: &str) -> String {
        if self.used.contains(name) {
            self.unique(&format!("{before}_{name}"))
        } else {
            self.unique(name)
        }
    }

    fn number(&mut self, x: f64) -> String {
        if let Some(name) = self.numbers.get(&Bits(x)) {
            return name.clone();
        }
        let name = self.unique(match x {
            0.0 => "zero",
            0.5 => "half",
            1.0 => "one",
            2.0 => "two",
            _ => "number",
        });
        self.numbers.insert(Bits(x), name.clone());
        name
    }

    fn give(&mut self, id: Id, name: &str) {
        if !self.of.contains_key(&id) {
            let name = self.unique(name);
            self.of.insert(id, name);
        }
    }
}

impl Names {
    pub fn new(d: &Description, plan: &Scheme, wanted: &Wanted) -> Self {
        let mut maker = Naming { used: taken(), of: BTreeMap::new(), numbers: BTreeMap::new() };
        let own = needed(plan);
        let states: Vec<_> = d.states.iter().map(|name| maker.unique(&snake(name))).collect();
        let called = |map: usize| d.maps[map].x.as_ref().or(d.maps[map].h.as_ref());
        let mut slots = vec![String::new(); plan.slots.len()];
        for (map, &slot) in plan.slots.iter().enumerate() {
            let name = called(map).map_or("slot".into(), |name| snake(name));
            slots[slot] = maker.either(&name, "slot");
        }
        let own_parameters = d.parameters.iter();
        let parameters: Vec<_> =
            own_parameters.map(|(name, _)| maker.unique(&format!("p_{}", snake(name)))).collect();
        for id in 0..plan.graph.len() as Id {
            let name = match plan.graph.get(id) {
                Expression::Leaf(Leaf::Slot(n)) => slots[n as usize].clone(),
                Expression::Leaf(Leaf::State(n)) => states[n as usize].clone(),
                Expression::Leaf(Leaf::Parameter(n)) => parameters[n as usize].clone(),
                _ => continue,
            };
            maker.of.insert(id, name);
        }
        let mut marked = BTreeSet::new();
        let is_made =
            |id: Id| !matches!(plan.graph.get(id), Expression::Leaf(_) | Expression::Number(_));
        for (&id, state) in plan.outputs.iter().zip(&states) {
            if is_made(id) {
                maker.give(id, &format!("{state}_new"));
                marked.insert(id);
            }
        }
        let mut values = Vec::new();
        for (&id, map) in plan.values.iter().zip(plan.layout.maps()) {
            let name = format!("value_{}", slots[map.to as usize]);
            if is_made(id) {
                maker.give(id, &name);
                marked.insert(id);
            }
            values.push(maker.of.get(&id).cloned().unwrap_or(name));
        }
        for (name, value) in &d.constants {
            // 1 is one, also where a constant happens to be 1.
            let common = [0.0, 0.5, 1.0, 2.0].contains(value);
            if !common && !maker.numbers.contains_key(&Bits(*value)) {
                let name = maker.either(&snake(name), "constant");
                maker.numbers.insert(Bits(*value), name);
            }
        }
        // A function of what has a name, or of what one slot goes into.
        for &id in &own {
            if let Expression::Unary(UnaryOf(of), a) = plan.graph.get(id)
                && !maker.of.contains_key(&id)
                && let Some(about) = about(&plan.graph, &maker, a)
                && about.len() <= LONGEST
            {
                maker.give(id, &format!("{}_{about}", function(of)));
            }
        }
        Self::derivatives(&mut maker, plan, wanted, (&states, &slots, &parameters));
        Names { slots, values, states, parameters, marked, maker: RefCell::new(maker) }
    }

    /// d_x for the derivative by what is called x.
    fn derivatives(
        maker: &mut Naming,
        plan: &Scheme,
        wanted: &Wanted,
        (states, slots, parameters): (&[String], &[String], &[String]),
    ) {
        for id in 0..plan.graph.len() as Id {
            let name = match plan.graph.get(id) {
                Expression::Leaf(Leaf::DState(n)) => format!("d_{}_new", states[n as usize]),
                Expression::Leaf(Leaf::DValue(n)) => {
                    let to = plan.layout.maps()[n as usize].to;
                    format!("d_value_{}", slots[to as usize])
                }
                _ => continue,
            };
            maker.give(id, &name);
        }
        let by = slots.iter().zip(&wanted.slots).chain(states.iter().zip(&wanted.states));
        for (name, &id) in by.chain(parameters.iter().zip(&wanted.parameters)) {
            if plan.graph.as_number(id).is_none() && id >= plan.own {
                maker.give(id, &format!("d_{name}"));
            }
        }
        for (of, d) in wanted.all.iter().enumerate().rev() {
            if let Some(id) = *d
                && plan.graph.as_number(id).is_none()
                && let Some(name) = maker.of.get(&(of as Id)).cloned()
            {
                let leaf = matches!(plan.graph.get(id), Expression::Leaf(_));
                if !leaf {
                    let name = format!("d_{name}");
                    let name =
                        if maker.used.contains(&name) { format!("{name}_whole") } else { name };
                    maker.give(id, &name);
                }
            }
        }
    }

    /// That of an expression of a graph; one without a name gets it, after what makes it.
    pub fn of(&self, graph: &Graph, id: Id) -> String {
        let mut maker = self.maker.borrow_mut();
        let what = match graph.get(id) {
            Expression::Number(Bits(x)) => return maker.number(x),
            Expression::Unary(UnaryOf(of), _) => function(of),
            Expression::Binary(BinaryOf(of), ..) => result(of),
            Expression::Where(..) => "chosen",
            Expression::Spike { .. } => "spike",
            Expression::Normalised { .. } => "normal",
            Expression::Leaf(_) => "input",
        };
        maker.give(id, what);
        maker.of[&id].clone()
    }

    /// That of an expression which is read, also of a number: what a map acts on may be one.
    pub fn read(&self, graph: &Graph, id: Id) -> String {
        if graph.as_number(id).is_none() {
            return self.of(graph, id);
        }
        let mut maker = self.maker.borrow_mut();
        maker.give(id, "constant");
        maker.of[&id].clone()
    }

    /// That of a number.
    pub fn number(&self, x: f64) -> String {
        self.maker.borrow_mut().number(x)
    }

    /// Whether an expression is something of the formula that has a name there: a new state, a value that a map acts on.
    pub fn is_marked(&self, id: Id) -> bool {
        self.marked.contains(&id)
    }

    pub fn slot(&self, n: usize) -> &str {
        &self.slots[n]
    }
    pub fn state(&self, n: usize) -> &str {
        &self.states[n]
    }
    pub fn parameter(&self, n: usize) -> &str {
        &self.parameters[n]
    }
    pub fn value(&self, n: usize) -> &str {
        &self.values[n]
    }

    /// What stands in the layout's slots at first.
    pub fn fed(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().chain(&self.values).map(String::as_str)
    }
}

/// The name that an expression has, or that of the one slot or other input that goes into it.
fn about(graph: &Graph, maker: &Naming, id: Id) -> Option<String> {
    if let Some(name) = maker.of.get(&id) {
        return Some(name.clone());
    }
    let (mut open, mut found) = (vec![id], BTreeSet::new());
    let mut steps = 0;
    while let Some(id) = open.pop() {
        steps += 1;
        if steps > 64 {
            return None;
        }
        match graph.get(id) {
            Expression::Leaf(Leaf::Slot(_)) => _ = found.insert(id),
            _ if maker.of.contains_key(&id) => {}
            _ => open.extend(graph.get(id).operands()),
        }
    }
    let mut found = found.into_iter();
    let (slot, none) = (found.next()?, found.next());
    if none.is_some() { None } else { maker.of.get(&slot).cloned() }
}

/// A function's name.
pub fn function(of: Unary) -> &'static str {
    match of {
        Unary::Neg => "minus",
        Unary::Abs => "abs",
        Unary::Exp => "exp",
        Unary::Log => "log",
        Unary::Sqrt => "sqrt",
        Unary::Sin => "sin",
        Unary::Cos => "cos",
        Unary::Tanh => "tanh",
        Unary::Sigmoid => "sigmoid",
        Unary::LogSigmoid => "log_sigmoid",
        Unary::Relu => "relu",
        Unary::Softplus => "softplus",
        Unary::Silu => "silu",
        Unary::StopGradient => "fixed",
        Unary::Mean => "mean",
    }
}

/// What comes of an operation.
fn result(of: Binary) -> &'static str {
    match of {
        Binary::Add => "sum",
        Binary::Sub => "difference",
        Binary::Mul => "product",
        Binary::Div => "quotient",
        Binary::Pow => "power",
        Binary::Minimum => "smaller",
        Binary::Maximum => "larger",
        Binary::Less | Binary::LessEqual | Binary::Equal => "holds",
    }
}
