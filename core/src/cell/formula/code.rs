//! Instructions out of expressions.

use super::description::{Binary, Unary};
use super::graph::{BinaryOf, Bits, Expression, Graph, Id, UnaryOf};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// Where a program reads and writes rows of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A plane of the row at work: of slots going forward, of derivatives by them going back.
    Plane(u8),
    /// A plane of the row that the way forward left.
    Kept(u8),
    /// A state at work: from old to new, or from the derivative by the new to that by the old.
    State(u8),
    /// A state before the step.
    Before(u8),
    /// A parameter of the units.
    Parameter(u8),
    /// A row of scratch.
    Spare(u16),
}

/// What an instruction does with its operands, blocks of units; most give a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// Reads.
    Load(Place),
    /// Writes `a`.
    Store(Place),
    /// A function of `a`.
    Unary(Unary),
    /// A function of `a` and `b`.
    Binary(Binary),
    /// `b` where `a` is not 0, else `c`.
    Where,
    /// a · b + c
    MulAdd,
    /// c − a · b
    NegMulAdd,
    /// Adds `a` up, towards a mean over the row.
    Sum(u16),
    /// That mean, after the phase that added up.
    Mean(u16),
}

/// An instruction: what it does, on which blocks; its own comes after those.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Instruction {
    pub step: Action,
    pub operands: [u32; 3],
    /// The block it writes, if it writes one.
    pub to: u32,
}

/// The instructions of one round of elementwise work, phase by phase: each phase runs over the whole row.
#[derive(Clone, Debug, Default)]
pub struct Code {
    /// Numbers, which are the first blocks.
    pub numbers: Vec<f64>,
    pub phases: Vec<Vec<Instruction>>,
    /// Which expression each block of the last phase holds.
    pub holds: BTreeMap<u32, Id>,
    /// Which means each phase adds up.
    pub sums: Vec<Range<usize>>,
    /// Blocks in use at the most.
    pub blocks: usize,
    /// Rows of scratch.
    pub spare: usize,
    /// Means over the row.
    pub means: usize,
}

/// Makes the code that computes `roots` and writes each to its place, out of what `known` says is to be read where.
pub fn compile(graph: &Graph, roots: &[(Place, Id)], known: &BTreeMap<Id, Place>) -> Code {
    let mut needed = BTreeSet::new();
    let mut open: Vec<Id> = roots.iter().map(|&(_, id)| id).collect();
    while let Some(id) = open.pop() {
        if needed.insert(id) && !known.contains_key(&id) {
            open.extend(graph.get(id).operands());
        }
    }
    let mut made = CodeMaker { graph, known, phase: BTreeMap::new(), uses: BTreeMap::new() };
    for &id in &needed {
        made.enter(id);
    }
    for &(_, id) in roots {
        *made.uses.entry(id).or_default() += 2;
    }
    made.code(roots, &needed)
}

struct CodeMaker<'a> {
    graph: &'a Graph,
    known: &'a BTreeMap<Id, Place>,
    /// In which phase an expression can be computed.
    phase: BTreeMap<Id, usize>,
    /// By how many others it is used.
    uses: BTreeMap<Id, usize>,
}

impl CodeMaker<'_> {
    /// Finds the phase of an expression whose operands have theirs.
    fn enter(&mut self, id: Id) {
        let expression = self.graph.get(id);
        let mut phase = 0;
        if !self.known.contains_key(&id) {
            for of in expression.operands() {
                phase = phase.max(self.phase.get(&of).copied().unwrap_or(0));
                *self.uses.entry(of).or_default() += 1;
            }
            if let Expression::Unary(UnaryOf(Unary::Mean), _) = expression {
                phase += 1;
            }
        }
        self.phase.insert(id, phase);
    }

    fn code(&self, roots: &[(Place, Id)], needed: &BTreeSet<Id>) -> Code {
        let last = needed.iter().map(|id| self.phase[id]).max().unwrap_or(0);
        let mut code = Code::default();
        let mut numbers = BTreeMap::new();
        for &id in needed {
            if let (Expression::Number(Bits(x)), None) = (self.graph.get(id), self.known.get(&id)) {
                numbers.insert(id, code.numbers.len() as u32);
                code.numbers.push(x);
            }
        }
        // Where what one phase computes and another reads is put meanwhile.
        let mut spare: BTreeMap<Id, u16> = BTreeMap::new();
        let mut means: BTreeMap<Id, u16> = BTreeMap::new();
        let crosses = self.crossing(roots, needed, last);
        for phase in 0..=last {
            let mut block = PhaseMaker {
                maker: self,
                count: code.numbers.len() as u32,
                places: numbers.clone(),
                instructions: Vec::new(),
                spare: &spare,
                means: &means,
                phase,
            };
            let own = needed.iter().filter(|id| self.phase[id] == phase);
            let mut fresh = Vec::new();
            for &id in own {
                if crosses.contains(&id) && !self.is_free(id) {
                    fresh.push(id);
                }
            }
            // In the order of the expressions, which is one in which each comes after its operands.
            let mut wanted: BTreeSet<Id> = fresh.iter().copied().collect();
            let sums: Vec<(Id, Id)> = needed
                .iter()
                .filter_map(|&id| match self.graph.get(id) {
                    Expression::Unary(UnaryOf(Unary::Mean), a)
                        if self.phase[&id] == phase + 1 && !self.known.contains_key(&id) =>
                    {
                        Some((id, a))
                    }
                    _ => None,
                })
                .collect();
            wanted.extend(sums.iter().map(|&(_, a)| a));
            if phase == last {
                wanted.extend(roots.iter().map(|&(_, id)| id));
            }
            for &id in &wanted {
                block.make(id);
            }
            for (at, (_, a)) in (code.means..).zip(&sums) {
                block.push(Action::Sum(at as u16), [block.places[a], 0, 0]);
            }
            for (at, id) in (spare.len()..).zip(&fresh) {
                let to = Action::Store(Place::Spare(at as u16));
                block.push(to, [block.places[id], 0, 0]);
            }
            if phase == last {
                for &(place, id) in roots {
                    block.push(Action::Store(place), [block.places[&id], 0, 0]);
                }
            }
            let PhaseMaker { count, instructions, places, .. } = block;
            code.holds = places.into_iter().map(|(id, at)| (at, id)).collect();
            code.blocks = code.blocks.max(count as usize);
            code.phases.push(instructions);
            let before = code.means;
            for &(id, _) in &sums {
                means.insert(id, code.means as u16);
                code.means += 1;
            }
            code.sums.push(before..code.means);
            for id in fresh {
                spare.insert(id, spare.len() as u16);
            }
        }
        code.spare = spare.len();
        code
    }

    /// Whether it is there in every phase.
    fn is_free(&self, id: Id) -> bool {
        let mean = matches!(self.graph.get(id), Expression::Unary(UnaryOf(Unary::Mean), _));
        self.known.contains_key(&id) || mean || matches!(self.graph.get(id), Expression::Number(_))
    }

    /// What is used in a later phase than it is computed in.
    fn crossing(&self, roots: &[(Place, Id)], needed: &BTreeSet<Id>, last: usize) -> BTreeSet<Id> {
        let mut crosses = BTreeSet::new();
        for &id in needed.iter().filter(|id| !self.known.contains_key(id)) {
            let own = self.phase[&id];
            for of in self.graph.get(id).operands() {
                let mean = matches!(self.graph.get(id), Expression::Unary(UnaryOf(Unary::Mean), _));
                let used = if mean { own - 1 } else { own };
                if self.phase[&of] < used {
                    crosses.insert(of);
                }
            }
        }
        crosses.extend(roots.iter().map(|&(_, id)| id).filter(|id| self.phase[id] < last));
        crosses
    }
}

/// The instructions of a phase as they are made.
struct PhaseMaker<'a> {
    maker: &'a CodeMaker<'a>,
    /// Blocks so far.
    count: u32,
    /// Which block an expression's value is in.
    places: BTreeMap<Id, u32>,
    instructions: Vec<Instruction>,
    spare: &'a BTreeMap<Id, u16>,
    means: &'a BTreeMap<Id, u16>,
    phase: usize,
}

impl PhaseMaker<'_> {
    fn push(&mut self, step: Action, operands: [u32; 3]) -> u32 {
        let to = self.count;
        self.count += u32::from(!matches!(step, Action::Store(_) | Action::Sum(_)));
        self.instructions.push(Instruction { step, operands, to });
        to
    }

    /// Computes an expression and all that it needs, without recursion: formulas may be deep.
    fn make(&mut self, id: Id) {
        let mut open = alloc::vec![id];
        while let Some(&id) = open.last() {
            if self.places.contains_key(&id) {
                open.pop();
                continue;
            }
            let (step, operands) = self.step(id);
            let missing: Vec<Id> =
                operands.iter().copied().filter(|of| !self.places.contains_key(of)).collect();
            if missing.is_empty() {
                let mut at = [0; 3];
                for (at, of) in at.iter_mut().zip(&operands) {
                    *at = self.places[of];
                }
                let to = self.push(step, at);
                self.places.insert(id, to);
                open.pop();
            } else {
                // The first operand first.
                open.extend(missing.into_iter().rev());
            }
        }
    }

    /// How an expression is computed here, and from what.
    fn step(&self, id: Id) -> (Action, Vec<Id>) {
        let (maker, none) = (self.maker, Vec::new());
        if let Some(&place) = maker.known.get(&id) {
            return (Action::Load(place), none);
        }
        if let Some(&mean) = self.means.get(&id) {
            return (Action::Mean(mean), none);
        }
        if maker.phase[&id] < self.phase
            && let Some(&spare) = self.spare.get(&id)
        {
            return (Action::Load(Place::Spare(spare)), none);
        }
        match maker.graph.get(id) {
            Expression::Unary(UnaryOf(of), a) => (Action::Unary(of), alloc::vec![a]),
            Expression::Binary(BinaryOf(Binary::Add), a, b) => {
                for (product, other) in [(a, b), (b, a)] {
                    if let Some([x, y]) = self.own_product(product) {
                        return (Action::MulAdd, alloc::vec![x, y, other]);
                    }
                }
                (Action::Binary(Binary::Add), alloc::vec![a, b])
            }
            Expression::Binary(BinaryOf(Binary::Sub), a, b) => match self.own_product(b) {
                Some([x, y]) => (Action::NegMulAdd, alloc::vec![x, y, a]),
                None => (Action::Binary(Binary::Sub), alloc::vec![a, b]),
            },
            Expression::Binary(BinaryOf(of), a, b) => (Action::Binary(of), alloc::vec![a, b]),
            Expression::Where(a, b, c) => (Action::Where, alloc::vec![a, b, c]),
            Expression::Spike { zero, v, .. } => {
                (Action::Binary(Binary::Less), alloc::vec![zero, v])
            }
            Expression::Normalised { centred, deviation, .. } => {
                (Action::Binary(Binary::Div), alloc::vec![centred, deviation])
            }
            Expression::Number(_) | Expression::Leaf(_) => {
                unreachable!("numbers have blocks, and what comes from outside is known")
            }
        }
    }

    /// The factors of a product that nothing else uses.
    fn own_product(&self, id: Id) -> Option<[Id; 2]> {
        let maker = self.maker;
        let alone = maker.uses.get(&id) == Some(&1) && maker.phase[&id] == self.phase;
        match maker.graph.get(id) {
            Expression::Binary(BinaryOf(Binary::Mul), a, b)
                if alone && !maker.known.contains_key(&id) =>
            {
                Some([a, b])
            }
            _ => None,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (block, number) in self.numbers.iter().enumerate() {
            writeln!(f, "  b{block} = {number}")?;
        }
        for (at, phase) in self.phases.iter().enumerate() {
            if at > 0 {
                writeln!(f, "  over the whole row, then")?;
            }
            for Instruction { step, operands: [a, b, c], to } in phase {
                match step {
                    Action::Load(place) => writeln!(f, "  b{to} = {place}")?,
                    Action::Store(place) => writeln!(f, "  {place} = b{a}")?,
                    Action::Unary(of) => writeln!(f, "  b{to} = {of:?}(b{a})")?,
                    Action::Binary(of) => writeln!(f, "  b{to} = {of:?}(b{a}, b{b})")?,
                    Action::Where => writeln!(f, "  b{to} = b{b} where b{a} else b{c}")?,
                    Action::MulAdd => writeln!(f, "  b{to} = b{a} * b{b} + b{c}")?,
                    Action::NegMulAdd => writeln!(f, "  b{to} = b{c} - b{a} * b{b}")?,
                    Action::Sum(mean) => writeln!(f, "  sum {mean} += b{a}")?,
                    Action::Mean(mean) => writeln!(f, "  b{to} = mean {mean}")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Plane(n) => write!(f, "row[{n}]"),
            Place::Kept(n) => write!(f, "kept[{n}]"),
            Place::State(n) => write!(f, "state[{n}]"),
            Place::Before(n) => write!(f, "before[{n}]"),
            Place::Parameter(n) => write!(f, "p[{n}]"),
            Place::Spare(n) => write!(f, "spare[{n}]"),
        }
    }
}
