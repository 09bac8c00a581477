//! Instructions out of expressions.

use super::description::{Binary, Unary};
use super::graph::{BinaryOf, Bits, Expression, Graph, Id, UnaryOf};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
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
    /// Fills its own block with the first number there.
    Spread,
}

/// An instruction: what it does, on which blocks; its own comes after those.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Instruction {
    pub action: Action,
    pub operands: [u32; 3],
    /// The block it writes, if it writes one.
    pub to: u32,
}

impl Instruction {
    /// The blocks it reads.
    pub fn reads(&self) -> &[u32] {
        let count = match self.action {
            Action::Load(_) | Action::Mean(_) | Action::Spread => 0,
            Action::Store(_) | Action::Unary(_) | Action::Sum(_) => 1,
            Action::Binary(_) => 2,
            Action::Where | Action::MulAdd | Action::NegMulAdd => 3,
        };
        &self.operands[..count]
    }

    /// Whether it has a block of its own.
    pub fn makes(&self) -> bool {
        !matches!(self.action, Action::Store(_) | Action::Sum(_))
    }
}

/// Instructions that run over the whole row before the next phase begins.
#[derive(Clone, Debug, Default)]
pub struct Phase {
    /// What is the same for all units of the row, a mean's root say. It is computed in the first line of its blocks, and
    /// spread.
    pub row: Vec<Instruction>,
    /// What is not.
    pub units: Vec<Instruction>,
    /// Which means it adds up.
    pub sums: Range<usize>,
}

/// The instructions of one round of elementwise work, phase by phase.
#[derive(Clone, Debug, Default)]
pub struct Code {
    /// Numbers, which are the first blocks.
    pub numbers: Vec<f64>,
    pub phases: Vec<Phase>,
    /// Which expression each block of the last phase holds.
    pub holds: BTreeMap<u32, Id>,
    /// Blocks in use at the most.
    pub blocks: usize,
    /// Rows of scratch.
    pub spare: usize,
    /// Means over the row.
    pub means: usize,
}

impl Code {
    /// All instructions.
    pub fn instructions(&self) -> impl Iterator<Item = &Instruction> {
        self.phases.iter().flat_map(|phase| phase.row.iter().chain(&phase.units))
    }

    /// The same without rows that only others would read, and without what was computed for these. What is left is
    /// computed as before, to the bit.
    pub fn alone(&self) -> Code {
        let mut code = self.clone();
        // By later phases: what they load from where this one writes is what it wrote.
        let mut loaded: BTreeSet<Place> = BTreeSet::new();
        for phase in code.phases.iter_mut().rev() {
            let mut read: BTreeSet<u32> = BTreeSet::new();
            let mut is_needed = |own: &Instruction| {
                let needed = match own.action {
                    Action::Store(place @ Place::Plane(_)) => loaded.contains(&place),
                    Action::Store(_) | Action::Sum(_) => true,
                    _ => read.contains(&own.to),
                };
                if needed {
                    read.extend(own.reads());
                }
                needed
            };
            for part in [&mut phase.units, &mut phase.row] {
                part.reverse();
                part.retain(&mut is_needed);
                part.reverse();
            }
            loaded.extend(phase.units.iter().filter_map(|own| match own.action {
                Action::Load(place) => Some(place),
                _ => None,
            }));
        }
        code
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
    let mut made = CodeMaker {
        graph,
        known,
        phase: BTreeMap::new(),
        uses: BTreeMap::new(),
        common: BTreeSet::new(),
        stored: BTreeMap::new(),
    };
    for &id in &needed {
        made.enter(id);
    }
    for &(_, id) in roots {
        *made.uses.entry(id).or_default() += 2;
    }
    made.schedule(roots, &needed);
    made.code(roots, &needed)
}

struct CodeMaker<'a> {
    graph: &'a Graph,
    known: &'a BTreeMap<Id, Place>,
    /// In which phase an expression is computed.
    phase: BTreeMap<Id, usize>,
    /// By how many others it is used.
    uses: BTreeMap<Id, usize>,
    /// What is the same for all units of a row.
    common: BTreeSet<Id>,
    /// In which phase each place is written.
    stored: BTreeMap<Place, usize>,
}

impl CodeMaker<'_> {
    /// Finds the first phase in which an expression whose operands have theirs can be computed.
    fn enter(&mut self, id: Id) {
        let mut phase = 0;
        if !self.known.contains_key(&id) {
            let mut common = !matches!(self.graph.get(id), Expression::Leaf(_));
            for of in self.graph.get(id).operands() {
                phase = phase.max(self.phase[&of]);
                *self.uses.entry(of).or_default() += 1;
                common &= self.common.contains(&of);
            }
            if self.is_mean(id) {
                phase += 1;
                common = true;
            }
            if common {
                self.common.insert(id);
            }
        }
        self.phase.insert(id, phase);
    }

    /// Puts off what need not be there so early and can be had from what is always there, so that nothing has to be put
    /// aside for it; and finds when each root can be written: as soon as nothing more is read from its place.
    fn schedule(&mut self, roots: &[(Place, Id)], needed: &BTreeSet<Id>) {
        let last = needed.iter().map(|id| self.phase[id]).max().unwrap_or(0);
        let mut ready = BTreeSet::new();
        for &id in needed {
            let mut operands = self.graph.get(id).operands();
            if self.is_free(id) || operands.all(|of| ready.contains(&of)) {
                ready.insert(id);
            }
        }
        let mut first_use: BTreeMap<Id, usize> = BTreeMap::new();
        let mut last_read: BTreeMap<Place, usize> = BTreeMap::new();
        for &(_, id) in roots {
            let at = if self.is_free(id) { last } else { self.phase[&id] };
            first_use.insert(id, at);
            if let Some(&place) = self.known.get(&id) {
                last_read.insert(place, at);
            }
        }
        for &id in needed.iter().rev().filter(|id| !self.known.contains_key(id)) {
            if ready.contains(&id) && !self.is_free(id) {
                self.phase.insert(id, first_use[&id]);
            }
            let at = self.used_in(id);
            for of in self.graph.get(id).operands() {
                let first = first_use.entry(of).or_insert(at);
                *first = at.min(*first);
                if let Some(&place) = self.known.get(&of) {
                    let read = last_read.entry(place).or_default();
                    *read = at.max(*read);
                }
            }
        }
        for &(place, id) in roots {
            let made = if self.known.contains_key(&id) { last } else { self.phase[&id] };
            let read = last_read.get(&place).copied().unwrap_or(0);
            self.stored.insert(place, made.max(read));
        }
    }

    /// In which phase an expression's operands are used: a mean's are added up in the one before.
    fn used_in(&self, id: Id) -> usize {
        self.phase[&id] - usize::from(self.is_mean(id))
    }

    fn is_mean(&self, id: Id) -> bool {
        matches!(self.graph.get(id), Expression::Unary(UnaryOf(Unary::Mean), _))
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
        let mut aside: BTreeMap<Id, Place> = BTreeMap::new();
        let mut means: BTreeMap<Id, u16> = BTreeMap::new();
        let crosses = self.crossing(roots, needed);
        for phase in 0..=last {
            let mut block = PhaseMaker {
                maker: self,
                count: code.numbers.len() as u32,
                places: numbers.clone(),
                row: Vec::new(),
                units: Vec::new(),
                aside: &aside,
                means: &means,
                phase,
            };
            let written = roots.iter().filter(|(place, _)| self.stored[place] == phase);
            let fresh: Vec<Id> =
                crosses.iter().copied().filter(|id| self.phase[id] == phase).collect();
            let sums: Vec<(Id, Id)> = needed
                .iter()
                .filter(|&&id| !self.known.contains_key(&id) && self.is_mean(id))
                .filter(|&&id| self.used_in(id) == phase)
                .filter_map(|&id| self.graph.get(id).operands().next().map(|a| (id, a)))
                .collect();
            // In the order of the expressions, which is one in which each comes after its operands.
            let mut wanted: BTreeSet<Id> = fresh.iter().copied().collect();
            wanted.extend(sums.iter().map(|&(_, a)| a));
            wanted.extend(written.clone().map(|&(_, id)| id));
            for &id in &wanted {
                block.make(id);
            }
            for (at, (_, a)) in (code.means..).zip(&sums) {
                block.push(Action::Sum(at as u16), [block.places[a], 0, 0]);
            }
            for &(place, id) in written.clone() {
                block.push(Action::Store(place), [block.places[&id], 0, 0]);
            }
            let mut put = Vec::new();
            for id in fresh {
                // What is written anyway is read there, but h: where that is projected it is not among the states.
                let mut rows = written.clone().filter(|(place, _)| *place != Place::State(0));
                let found = rows.find(|(_, of)| *of == id);
                let place = found.map_or(Place::Spare(code.spare as u16), |&(place, _)| place);
                if found.is_none() {
                    block.push(Action::Store(place), [block.places[&id], 0, 0]);
                    code.spare += 1;
                }
                put.push((id, place));
            }
            block.spread(numbers.len() as u32);
            let PhaseMaker { count, row, units, places, .. } = block;
            code.holds = places.into_iter().map(|(id, at)| (at, id)).collect();
            code.blocks = code.blocks.max(count as usize);
            let before = code.means;
            for &(id, _) in &sums {
                means.insert(id, code.means as u16);
                code.means += 1;
            }
            code.phases.push(Phase { row, units, sums: before..code.means });
            aside.extend(put);
        }
        code
    }

    /// Whether it is there in every phase, or had again at no cost.
    fn is_free(&self, id: Id) -> bool {
        self.known.contains_key(&id) || self.common.contains(&id)
    }

    /// What is used in a later phase than it is computed in, and has to be put aside.
    fn crossing(&self, roots: &[(Place, Id)], needed: &BTreeSet<Id>) -> BTreeSet<Id> {
        let mut crosses = BTreeSet::new();
        for &id in needed.iter().filter(|id| !self.known.contains_key(id)) {
            let used = self.used_in(id);
            crosses.extend(self.graph.get(id).operands().filter(|of| self.phase[of] < used));
        }
        let roots = roots.iter().filter(|(place, id)| self.phase[id] < self.stored[place]);
        crosses.extend(roots.map(|&(_, id)| id));
        crosses.retain(|&id| !self.is_free(id));
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
    row: Vec<Instruction>,
    units: Vec<Instruction>,
    aside: &'a BTreeMap<Id, Place>,
    means: &'a BTreeMap<Id, u16>,
    phase: usize,
}

impl PhaseMaker<'_> {
    fn instruction(&mut self, action: Action, operands: [u32; 3]) -> Instruction {
        let instruction = Instruction { action, operands, to: self.count };
        self.count += u32::from(instruction.makes());
        instruction
    }

    /// An instruction for all units.
    fn push(&mut self, action: Action, operands: [u32; 3]) {
        let instruction = self.instruction(action, operands);
        self.units.push(instruction);
    }

    /// Spreads what is of the row and read unit by unit. Blocks before `own` hold numbers, and are full.
    fn spread(&mut self, own: u32) {
        let read: BTreeSet<u32> = self.units.iter().flat_map(Instruction::reads).copied().collect();
        let blocks = self.row.iter().map(|row| row.to).filter(|to| *to >= own && read.contains(to));
        let spread = blocks.map(|to| Instruction { action: Action::Spread, operands: [0; 3], to });
        let spread: Vec<Instruction> = spread.collect();
        self.row.extend(spread);
    }

    /// Computes an expression and all that it needs, without recursion: formulas may be deep.
    fn make(&mut self, id: Id) {
        let mut open = alloc::vec![id];
        while let Some(&id) = open.last() {
            if self.places.contains_key(&id) {
                open.pop();
                continue;
            }
            let (action, operands) = self.action(id);
            let missing: Vec<Id> =
                operands.iter().copied().filter(|of| !self.places.contains_key(of)).collect();
            if missing.is_empty() {
                let mut at = [0; 3];
                for (at, of) in at.iter_mut().zip(&operands) {
                    *at = self.places[of];
                }
                let instruction = self.instruction(action, at);
                self.places.insert(id, instruction.to);
                let common = self.maker.common.contains(&id);
                if common { &mut self.row } else { &mut self.units }.push(instruction);
                open.pop();
            } else {
                // The first operand first.
                open.extend(missing.into_iter().rev());
            }
        }
    }

    /// How an expression is computed here, and from what.
    fn action(&self, id: Id) -> (Action, Vec<Id>) {
        let (maker, none) = (self.maker, Vec::new());
        if let Some(&place) = maker.known.get(&id) {
            return (Action::Load(place), none);
        }
        if let Some(&mean) = self.means.get(&id) {
            return (Action::Mean(mean), none);
        }
        if maker.phase[&id] < self.phase
            && let Some(&place) = self.aside.get(&id)
        {
            return (Action::Load(place), none);
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
