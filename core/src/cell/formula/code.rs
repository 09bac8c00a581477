//! Instructions out of expressions.

use super::description::{Binary, Unary};
use super::graph::{BinaryOf, Bits, Expression, Graph, Id, UnaryOf};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;

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

/// What an instruction works on: the `n`-th of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operand {
    pub of: Of,
    pub n: u32,
}

/// Where operands are. Those of a kind are equally far apart; h may be shorter than the other states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Of {
    /// What all units of a row have in common.
    Line,
    /// See [`Place`].
    Plane,
    Kept,
    Parameter,
    Spare,
    H,
    State,
    HBefore,
    Before,
    /// What earlier instructions of the phase have made.
    Block,
}

impl Of {
    /// All but blocks, in order.
    pub const ROWS: [Of; 9] = [
        Of::Line,
        Of::Plane,
        Of::Kept,
        Of::Parameter,
        Of::Spare,
        Of::H,
        Of::State,
        Of::HBefore,
        Of::Before,
    ];
}

impl Operand {
    pub fn block(n: u32) -> Self {
        Operand { of: Of::Block, n }
    }

    pub fn line(n: u32) -> Self {
        Operand { of: Of::Line, n }
    }

    pub fn is_row(self) -> bool {
        !matches!(self.of, Of::Block | Of::Line)
    }
}

impl From<Place> for Operand {
    fn from(place: Place) -> Self {
        let (of, n) = match place {
            Place::Plane(n) => (Of::Plane, n.into()),
            Place::Kept(n) => (Of::Kept, n.into()),
            Place::Parameter(n) => (Of::Parameter, n.into()),
            Place::Spare(n) => (Of::Spare, n.into()),
            Place::State(0) => (Of::H, 0),
            Place::State(n) => (Of::State, u32::from(n) - 1),
            Place::Before(0) => (Of::HBefore, 0),
            Place::Before(n) => (Of::Before, u32::from(n) - 1),
        };
        Operand { of, n }
    }
}

/// What an instruction does with its operands. It gives a block, or a line where all of them are lines.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Copies, so that a row can be written while another is read.
    Load,
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
}

/// An instruction: what it does, on what; `a` stands for operands that it has not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Instruction {
    pub step: Step,
    pub operands: [Operand; 3],
    /// The block or line it makes, which comes after those it reads.
    pub to: u32,
}

/// A walk through a row. What an earlier one has summed up is there, as a line.
#[derive(Clone, Debug, Default)]
pub struct Phase {
    /// What is computed once for a row, of lines.
    pub lines: Vec<Instruction>,
    /// What is computed for every unit.
    pub blocks: Vec<Instruction>,
    /// What is added up, to lines from this one on.
    pub sums: Vec<Operand>,
    pub first_sum: usize,
    /// What is written, when all is computed: blocks or lines.
    pub stores: Vec<(Place, Operand)>,
}

/// The instructions of one round of elementwise work.
#[derive(Clone, Debug, Default)]
pub struct Code {
    /// Numbers, which are the first lines.
    pub numbers: Vec<f64>,
    pub phases: Vec<Phase>,
    /// Which expression each operand of the last phase is.
    pub holds: BTreeMap<Operand, Id>,
    /// Blocks in use at the most.
    pub blocks: usize,
    /// Lines.
    pub lines: usize,
    /// Rows of scratch.
    pub spare: usize,
}

impl Code {
    /// Whether anything is needed of the whole row before a unit can be computed.
    pub fn has_means(&self) -> bool {
        self.phases.len() > 1
    }
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
    let mut made = Maker {
        graph,
        known,
        phase: BTreeMap::new(),
        common: BTreeSet::new(),
        uses: BTreeMap::new(),
    };
    for &id in &needed {
        made.enter(id);
    }
    for &(_, id) in roots {
        *made.uses.entry(id).or_default() += 2;
    }
    made.code(roots, &needed)
}

struct Maker<'a> {
    graph: &'a Graph,
    known: &'a BTreeMap<Id, Place>,
    /// In which phase an expression can be computed.
    phase: BTreeMap<Id, usize>,
    /// What all units of a row have in common: numbers, means, and what is made of them.
    common: BTreeSet<Id>,
    /// By how many others it is used.
    uses: BTreeMap<Id, usize>,
}

impl Maker<'_> {
    /// Finds the phase of an expression whose operands have theirs.
    fn enter(&mut self, id: Id) {
        let expression = self.graph.get(id);
        let mut phase = 0;
        if !self.known.contains_key(&id) {
            let mut common = true;
            for of in expression.operands() {
                phase = phase.max(self.phase.get(&of).copied().unwrap_or(0));
                common &= self.common.contains(&of);
                *self.uses.entry(of).or_default() += 1;
            }
            if self.mean_of(id).is_some() {
                phase += 1;
                common = true;
            }
            if common {
                self.common.insert(id);
            }
        }
        self.phase.insert(id, phase);
    }

    /// What an expression is the mean of, if it is to be made as a mean.
    fn mean_of(&self, id: Id) -> Option<Id> {
        match self.graph.get(id) {
            Expression::Unary(UnaryOf(Unary::Mean), a) if !self.known.contains_key(&id) => Some(a),
            _ => None,
        }
    }

    fn code(&self, roots: &[(Place, Id)], needed: &BTreeSet<Id>) -> Code {
        let last = needed.iter().map(|id| self.phase[id]).max().unwrap_or(0);
        let mut code = Code::default();
        // Where each expression is that a phase need not compute.
        let mut there: BTreeMap<Id, Operand> =
            self.known.iter().map(|(&id, &place)| (id, place.into())).collect();
        for &id in needed.iter().filter(|id| !self.known.contains_key(id)) {
            if let Expression::Number(Bits(x)) = self.graph.get(id) {
                there.insert(id, Operand::line(code.numbers.len() as u32));
                code.numbers.push(x);
            }
        }
        code.lines = code.numbers.len();
        let crosses = self.crossing(roots, needed, last);
        for phase in 0..=last {
            let own = || needed.iter().copied().filter(|id| self.phase[id] == phase);
            let mut lines = Work::new(self, there, code.lines as u32, Operand::line);
            for id in own().filter(|id| self.common.contains(id)) {
                lines.make(id);
            }
            code.lines = lines.count as usize;
            let mut blocks = Work::new(self, lines.there, 0, Operand::block);
            let sums: Vec<(Id, Id)> = needed
                .iter()
                .filter(|&id| self.phase[id] == phase + 1)
                .filter_map(|&id| Some((id, self.mean_of(id)?)))
                .collect();
            // In the order of the expressions, which is one in which each comes after its operands.
            let fresh: Vec<Id> = own().filter(|id| crosses.contains(id)).collect();
            let mut wanted: BTreeSet<Id> = fresh.iter().copied().collect();
            wanted.extend(sums.iter().map(|&(_, a)| a));
            if phase == last {
                wanted.extend(roots.iter().map(|&(_, id)| id));
            }
            for &id in &wanted {
                blocks.make(id);
            }
            let first_sum = code.lines;
            code.lines += sums.len();
            let mut stores: Vec<(Place, Id)> =
                (code.spare..).zip(&fresh).map(|(at, &id)| (Place::Spare(at as u16), id)).collect();
            if phase == last {
                stores.extend(roots);
            }
            let stores = blocks.stored(&stores);
            let Work { count, instructions, there: mut after, .. } = blocks;
            code.blocks = code.blocks.max(count as usize);
            if phase == last {
                let read = after.iter().filter(|(id, _)| needed.contains(id));
                code.holds = read.map(|(&id, &at)| (at, id)).collect();
            }
            let added = sums.iter().map(|(_, a)| after[a]).collect();
            after.retain(|_, at| at.of != Of::Block);
            for (to, &(id, _)) in (first_sum..).zip(&sums) {
                after.insert(id, Operand::line(to as u32));
            }
            for id in fresh {
                after.insert(id, Place::Spare(code.spare as u16).into());
                code.spare += 1;
            }
            code.phases.push(Phase {
                lines: lines.instructions,
                blocks: instructions,
                sums: added,
                first_sum,
                stores,
            });
            there = after;
        }
        code
    }

    /// What is computed for every unit, and used in a later phase than it is computed in.
    fn crossing(&self, roots: &[(Place, Id)], needed: &BTreeSet<Id>, last: usize) -> BTreeSet<Id> {
        let mut crosses = BTreeSet::new();
        for &id in needed.iter().filter(|id| !self.known.contains_key(id)) {
            let used = self.phase[&id] - usize::from(self.mean_of(id).is_some());
            crosses.extend(self.graph.get(id).operands().filter(|of| self.phase[of] < used));
        }
        crosses.extend(roots.iter().map(|&(_, id)| id).filter(|id| self.phase[id] < last));
        crosses.retain(|id| !self.known.contains_key(id) && !self.common.contains(id));
        crosses
    }
}

/// The instructions of a phase as they are made: those of lines, or those of blocks.
struct Work<'a> {
    maker: &'a Maker<'a>,
    there: BTreeMap<Id, Operand>,
    /// Blocks or lines so far.
    count: u32,
    makes: fn(u32) -> Operand,
    instructions: Vec<Instruction>,
}

impl<'a> Work<'a> {
    fn new(
        maker: &'a Maker<'a>,
        there: BTreeMap<Id, Operand>,
        count: u32,
        makes: fn(u32) -> Operand,
    ) -> Self {
        Work { maker, there, count, makes, instructions: Vec::new() }
    }

    fn push(&mut self, step: Step, operands: [Operand; 3]) -> Operand {
        let to = self.count;
        self.instructions.push(Instruction { step, operands, to });
        self.count += 1;
        (self.makes)(to)
    }

    /// Computes an expression and all that it needs, without recursion: formulas may be deep.
    fn make(&mut self, id: Id) {
        let mut open = alloc::vec![id];
        while let Some(&id) = open.last() {
            if self.there.contains_key(&id) {
                open.pop();
                continue;
            }
            let (step, of) = self.step(id);
            let missing = of.iter().rev().filter(|of| !self.there.contains_key(of));
            let before = open.len();
            // The first operand first.
            open.extend(missing);
            if open.len() == before {
                let mut operands = [self.there[&of[0]]; 3];
                for (operand, of) in operands.iter_mut().zip(&of) {
                    *operand = self.there[of];
                }
                let made = self.push(step, operands);
                self.there.insert(id, made);
                open.pop();
            }
        }
    }

    /// How an expression is computed here, and from what.
    fn step(&self, id: Id) -> (Step, Vec<Id>) {
        use alloc::vec;
        match self.maker.graph.get(id) {
            Expression::Unary(UnaryOf(of), a) => (Step::Unary(of), vec![a]),
            Expression::Binary(BinaryOf(Binary::Add), a, b) => {
                for (product, other) in [(a, b), (b, a)] {
                    if let Some([x, y]) = self.own_product(product) {
                        return (Step::MulAdd, vec![x, y, other]);
                    }
                }
                (Step::Binary(Binary::Add), vec![a, b])
            }
            Expression::Binary(BinaryOf(Binary::Sub), a, b) => match self.own_product(b) {
                Some([x, y]) => (Step::NegMulAdd, vec![x, y, a]),
                None => (Step::Binary(Binary::Sub), vec![a, b]),
            },
            Expression::Binary(BinaryOf(of), a, b) => (Step::Binary(of), vec![a, b]),
            Expression::Where(a, b, c) => (Step::Where, vec![a, b, c]),
            Expression::Spike { zero, v, .. } => (Step::Binary(Binary::Less), vec![zero, v]),
            Expression::Normalised { centred, deviation, .. } => {
                (Step::Binary(Binary::Div), vec![centred, deviation])
            }
            Expression::Number(_) | Expression::Leaf(_) => {
                unreachable!("numbers are lines, and what comes from outside is known")
            }
        }
    }

    /// The factors of a product that nothing else uses.
    fn own_product(&self, id: Id) -> Option<[Id; 2]> {
        let alone = self.maker.uses.get(&id) == Some(&1) && !self.there.contains_key(&id);
        match self.maker.graph.get(id) {
            Expression::Binary(BinaryOf(Binary::Mul), a, b) if alone => Some([a, b]),
            _ => None,
        }
    }

    /// Expressions that are there as blocks or lines: a row that is written may be one that another comes from.
    fn stored(&mut self, all: &[(Place, Id)]) -> Vec<(Place, Operand)> {
        let mut found = Vec::new();
        for &(place, id) in all {
            let there = self.there[&id];
            let row = there.is_row();
            found.push((place, if row { self.push(Step::Load, [there; 3]) } else { there }));
        }
        found
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, phase) in self.phases.iter().enumerate() {
            if at > 0 {
                writeln!(f, "  over the whole row, then")?;
            }
            for own in &phase.lines {
                self.write(f, own, Operand::line(own.to))?;
            }
            for own in &phase.blocks {
                self.write(f, own, Operand::block(own.to))?;
            }
            for (to, &a) in (phase.first_sum..).zip(&phase.sums) {
                writeln!(f, "  {} = mean of {}", Operand::line(to as u32), self.shown(a))?;
            }
            for &(place, a) in &phase.stores {
                writeln!(f, "  {} = {}", Operand::from(place), self.shown(a))?;
            }
        }
        Ok(())
    }
}

impl Code {
    fn write(&self, f: &mut fmt::Formatter<'_>, own: &Instruction, to: Operand) -> fmt::Result {
        let [a, b, c] = own.operands.map(|of| self.shown(of));
        match own.step {
            Step::Load => writeln!(f, "  {to} = {a}"),
            Step::Unary(of) => writeln!(f, "  {to} = {of:?}({a})"),
            Step::Binary(of) => writeln!(f, "  {to} = {of:?}({a}, {b})"),
            Step::Where => writeln!(f, "  {to} = {b} where {a} else {c}"),
            Step::MulAdd => writeln!(f, "  {to} = {a} * {b} + {c}"),
            Step::NegMulAdd => writeln!(f, "  {to} = {c} - {a} * {b}"),
        }
    }

    fn shown(&self, operand: Operand) -> Shown<'_> {
        Shown { numbers: &self.numbers, operand }
    }
}

/// An operand as it is printed: a number as such.
struct Shown<'a> {
    numbers: &'a [f64],
    operand: Operand,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Operand { of, n } = self.operand;
        match self.numbers.get(n as usize) {
            Some(number) if of == Of::Line => write!(f, "{number}"),
            _ => write!(f, "{}", self.operand),
        }
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.n;
        match self.of {
            Of::Block => write!(f, "b{n}"),
            Of::Line => write!(f, "line {n}"),
            Of::Plane => write!(f, "row[{n}]"),
            Of::Kept => write!(f, "kept[{n}]"),
            Of::Parameter => write!(f, "p[{n}]"),
            Of::Spare => write!(f, "spare[{n}]"),
            Of::H => write!(f, "state[0]"),
            Of::State => write!(f, "state[{}]", n + 1),
            Of::HBefore => write!(f, "before[0]"),
            Of::Before => write!(f, "before[{}]", n + 1),
        }
    }
}
