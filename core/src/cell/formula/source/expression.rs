//! Statements out of instructions.

use super::names::Names;
use crate::cell::formula::code::{Action, Code, Instruction, Place};
use crate::cell::formula::description::{Binary, Unary};
use crate::cell::formula::graph::Graph;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Letters of what stands right of `=`, about: beyond, parts of it get lines of their own.
const LONG: usize = 60;

/// A piece of text, and how tightly it holds together.
#[derive(Clone)]
pub struct Piece {
    pub text: String,
    pub binds: Binds,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Binds {
    /// a < b
    Compared,
    /// a + b
    Sum,
    /// a * b
    Product,
    /// -a
    Minus,
    /// a.f(b)
    Call,
    /// a
    Name,
}

impl Piece {
    pub fn new(binds: Binds, text: String) -> Self {
        Piece { text, binds }
    }

    /// In brackets, where it holds together less than this.
    pub fn within(&self, least: Binds) -> String {
        if self.binds < least { format!("({})", self.text) } else { self.text.clone() }
    }
}

/// A function's statements.
pub struct Expressions<'a> {
    graph: &'a Graph,
    names: &'a Names,
    code: &'a Code,
    /// A vector that numbers are made like.
    base: String,
    uses: BTreeMap<u32, usize>,
    /// What made each block.
    made: BTreeMap<u32, Instruction>,
    /// Blocks that get lines of their own.
    bound: BTreeSet<u32>,
    /// Comparisons that are written where they choose.
    conditions: BTreeSet<u32>,
    pieces: BTreeMap<u32, Piece>,
    numbers: Vec<(String, f64)>,
    lines: Vec<String>,
    stored: Vec<(Place, String)>,
}

impl<'a> Expressions<'a> {
    pub fn new(code: &'a Code, graph: &'a Graph, names: &'a Names, base: String) -> Self {
        let mut this = Expressions {
            graph,
            names,
            code,
            base,
            uses: BTreeMap::new(),
            made: BTreeMap::new(),
            bound: BTreeSet::new(),
            conditions: BTreeSet::new(),
            pieces: BTreeMap::new(),
            numbers: Vec::new(),
            lines: Vec::new(),
            stored: Vec::new(),
        };
        for own in code.instructions() {
            this.look(own);
        }
        for own in code.instructions() {
            this.write(own);
        }
        this
    }

    /// Whether there are numbers, which are made like the base.
    pub fn has_numbers(&self) -> bool {
        !self.numbers.is_empty()
    }

    /// The statements, numbers first.
    pub fn statements(&self) -> impl Iterator<Item = String> {
        let numbers = self.numbers.iter();
        let made =
            numbers.map(|(name, x)| format!("let {name} = {}.like({});", self.base, literal(*x)));
        made.chain(self.lines.iter().cloned())
    }

    /// What is written to each of so many places.
    pub fn all(&self, count: usize, place: &dyn Fn(usize) -> Place) -> Vec<Option<String>> {
        let stored = |at| self.stored.iter().find(|(own, _)| *own == at);
        (0..count).map(|n| stored(place(n)).map(|(_, name)| name.clone())).collect()
    }

    fn look(&mut self, own: &Instruction) {
        for &of in own.reads() {
            let uses = self.uses.entry(of).or_default();
            *uses += 1;
            if *uses > 1 {
                self.bound.insert(of);
                self.conditions.remove(&of);
            }
        }
        match own.action {
            Action::Store(_) => _ = self.bound.insert(own.operands[0]),
            // It is written twice.
            Action::Unary(Unary::Silu) => _ = self.bound.insert(own.operands[0]),
            Action::Where => {
                let compared = self.made.get(&own.operands[0]).map(|own| own.action);
                if let Some(Action::Binary(Binary::Less | Binary::LessEqual | Binary::Equal)) =
                    compared
                    && !self.bound.contains(&own.operands[0])
                {
                    self.conditions.insert(own.operands[0]);
                }
            }
            _ => {}
        }
        if own.makes() {
            self.made.insert(own.to, *own);
            if self.code.holds.get(&own.to).is_some_and(|&id| self.names.is_marked(id)) {
                self.bound.insert(own.to);
            }
        }
    }

    fn write(&mut self, own: &Instruction) {
        if let Action::Store(place) = own.action {
            let name = self.piece(own.operands[0]).text;
            self.stored.push((place, name));
            return;
        }
        if self.conditions.contains(&own.to) {
            return;
        }
        if let Action::Load(_) = own.action {
            let name = self.names.read(self.graph, self.code.holds[&own.to]);
            self.pieces.insert(own.to, Piece::new(Binds::Name, name));
            return;
        }
        let piece = self.made_of(own);
        self.pieces.insert(own.to, piece);
        if self.bound.contains(&own.to) {
            self.bind(own.to);
        }
    }

    /// Gives a block a line of its own, if it has none.
    fn bind(&mut self, block: u32) {
        let Some(piece) = self.pieces.get(&block).filter(|own| own.binds != Binds::Name) else {
            return;
        };
        let name = self.names.of(self.graph, self.code.holds[&block]);
        self.lines.push(format!("let {name} = {};", piece.text));
        self.pieces.insert(block, Piece::new(Binds::Name, name));
    }

    fn piece(&mut self, block: u32) -> Piece {
        if let Some(&x) = self.code.numbers.get(block as usize) {
            return self.number(x);
        }
        self.pieces[&block].clone()
    }

    fn number(&mut self, x: f64) -> Piece {
        let name = self.names.number(x);
        if self.numbers.iter().all(|(own, _)| *own != name) {
            self.numbers.push((name.clone(), x));
        }
        Piece::new(Binds::Name, name)
    }

    /// Operands that are not too long together.
    fn pieces<const N: usize>(&mut self, of: [u32; N]) -> [Piece; N] {
        loop {
            let pieces = of.map(|block| self.piece(block));
            let whole: usize = pieces.iter().map(|piece| piece.text.len()).sum();
            let long = (0..N).filter(|&i| pieces[i].binds != Binds::Name);
            match long.max_by_key(|&i| pieces[i].text.len()) {
                Some(i) if whole > LONG => self.bind(of[i]),
                _ => return pieces,
            }
        }
    }

    fn made_of(&mut self, own: &Instruction) -> Piece {
        let [a, b, c] = own.operands;
        match own.action {
            Action::Unary(of) => {
                let [x] = self.pieces([a]);
                unary(of, &x)
            }
            Action::Binary(of @ (Binary::Less | Binary::LessEqual | Binary::Equal)) => {
                let [a, b] = self.pieces([a, b]);
                let [one, zero] = [1.0, 0.0].map(|x| self.number(x));
                chosen(of, [&a, &b, &one, &zero])
            }
            Action::Binary(of) => {
                let [a, b] = self.pieces([a, b]);
                binary(of, &a, &b)
            }
            Action::Where if self.conditions.contains(&a) => {
                let Instruction { action, operands: [x, y, _], .. } = self.made[&a];
                let [x, y, b, c] = self.pieces([x, y, b, c]);
                let of = if let Action::Binary(of) = action { of } else { Binary::Equal };
                chosen(of, [&x, &y, &b, &c])
            }
            Action::Where => {
                let [a, b, c] = self.pieces([a, b, c]);
                let zero = self.number(0.0);
                chosen(Binary::Equal, [&a, &zero, &c, &b])
            }
            Action::MulAdd => called("mul_add", &self.pieces([a, b, c])),
            Action::NegMulAdd => called("neg_mul_add", &self.pieces([a, b, c])),
            // Those are met before, have no block, or are refused.
            Action::Load(_)
            | Action::Store(_)
            | Action::Sum(_)
            | Action::Mean(_)
            | Action::Spread => Piece::new(Binds::Name, String::new()),
        }
    }
}

/// A method of the first piece.
fn called(method: &str, pieces: &[Piece]) -> Piece {
    let arguments: Vec<&str> = pieces[1..].iter().map(|own| own.text.as_str()).collect();
    let (first, arguments) = (pieces[0].within(Binds::Call), arguments.join(", "));
    Piece::new(Binds::Call, format!("{first}.{method}({arguments})"))
}

fn chosen(of: Binary, [a, b, yes, no]: [&Piece; 4]) -> Piece {
    let method = match of {
        Binary::Less => "if_less",
        Binary::LessEqual => "if_less_equal",
        _ => "if_equal",
    };
    called(method, &[a, b, yes, no].map(Piece::clone))
}

fn unary(of: Unary, x: &Piece) -> Piece {
    let method = |name| called(name, core::slice::from_ref(x));
    let function = |name| Piece::new(Binds::Call, format!("math::{name}({})", x.text));
    match of {
        Unary::Neg => Piece::new(Binds::Minus, format!("-{}", x.within(Binds::Call))),
        Unary::Abs => method("abs"),
        Unary::Sqrt => method("sqrt"),
        Unary::Tanh => method("tanh"),
        Unary::Sigmoid => method("sigmoid"),
        Unary::Exp => function("exp"),
        Unary::Log => function("log"),
        Unary::Sin => function("sin"),
        Unary::Cos => function("cos"),
        Unary::LogSigmoid => function("log_sigmoid"),
        Unary::Softplus => function("softplus"),
        Unary::Relu => Piece::new(Binds::Call, format!("{}.at_least(0.0)", x.within(Binds::Call))),
        Unary::Silu => Piece::new(Binds::Product, format!("{} * {}.sigmoid()", x.text, x.text)),
        Unary::StopGradient | Unary::Mean => x.clone(),
    }
}

fn binary(of: Binary, a: &Piece, b: &Piece) -> Piece {
    let (sum, product) = (Binds::Sum, Binds::Product);
    match of {
        Binary::Add => Piece::new(sum, format!("{} + {}", a.within(sum), b.within(product))),
        Binary::Sub => Piece::new(sum, format!("{} - {}", a.within(sum), b.within(product))),
        Binary::Mul => {
            Piece::new(product, format!("{} * {}", a.within(product), b.within(Binds::Minus)))
        }
        Binary::Div => {
            Piece::new(product, format!("{} / {}", a.within(product), b.within(Binds::Minus)))
        }
        Binary::Pow => Piece::new(Binds::Call, format!("math::pow({}, {})", a.text, b.text)),
        Binary::Minimum => called("minimum", &[a.clone(), b.clone()]),
        Binary::Maximum => called("maximum", &[a.clone(), b.clone()]),
        Binary::Less | Binary::LessEqual | Binary::Equal => a.clone(),
    }
}

/// A number as Rust writes it, which comes back exactly.
pub fn literal(x: f64) -> String {
    if x.is_finite() {
        format!("{x:?}")
    } else {
        format!("{}f64::INFINITY", if x < 0.0 { "-" } else { "" })
    }
}
