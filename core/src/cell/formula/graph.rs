//! Expressions that are shared where they are the same, and simplified as they are made.

use super::description::{Binary, Surrogate, Unary};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Ordering;

/// An expression, by its place.
pub type Id = u32;

/// A number, compared by its bits.
#[derive(Clone, Copy, Debug)]
pub struct Bits(pub f64);

impl PartialEq for Bits {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Bits {}
impl PartialOrd for Bits {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Bits {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.to_bits().cmp(&other.0.to_bits())
    }
}

/// What comes from outside a program, as a row of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leaf {
    /// The pre-activations of a slot, or a value that a map acts on.
    Slot(u8),
    /// A state before the step.
    State(u8),
    /// A parameter of the units.
    Parameter(u8),
    /// The derivative by a new state.
    DState(u8),
    /// The derivative by a value that a map acts on.
    DValue(u8),
}

/// An expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expression {
    /// A number.
    Number(Bits),
    /// From outside.
    Leaf(Leaf),
    /// Of one expression.
    Unary(UnaryOf, Id),
    /// Of two.
    Binary(BinaryOf, Id, Id),
    /// The second where the first is not 0, else the third.
    Where(Id, Id, Id),
    /// 1 where zero < v, else 0, with a slope of its own.
    Spike { zero: Id, v: Id, slope: Id },
    /// What is normalised, with others of its group: centred / deviation.
    Normalised { centred: Id, deviation: Id, group: u32 },
}

/// Values that have zero mean and unit variance together.
#[derive(Clone, Debug)]
pub struct Together {
    pub of: Vec<Id>,
    eps: Bits,
    pub deviation: Id,
    /// By value.
    pub normalised: Vec<Id>,
}

/// `Unary` with an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnaryOf(pub Unary);
/// `Binary` with an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BinaryOf(pub Binary);

macro_rules! ordered {
    ($name:ident) => {
        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                (self.0 as u8).cmp(&(other.0 as u8))
            }
        }
    };
}
ordered!(UnaryOf);
ordered!(BinaryOf);

impl Expression {
    /// What it is made of.
    pub fn operands(&self) -> impl Iterator<Item = Id> + use<> {
        let (all, count) = match *self {
            Expression::Number(_) | Expression::Leaf(_) => ([0; 3], 0),
            Expression::Unary(_, a) => ([a, 0, 0], 1),
            Expression::Binary(_, a, b) => ([a, b, 0], 2),
            Expression::Where(a, b, c) => ([a, b, c], 3),
            // The slope is for the way back.
            Expression::Spike { zero: a, v: b, .. }
            | Expression::Normalised { centred: a, deviation: b, .. } => ([a, b, 0], 2),
        };
        all.into_iter().take(count)
    }
}

/// Expressions, each made of earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    all: Vec<Expression>,
    places: BTreeMap<Expression, Id>,
    groups: Vec<Together>,
}

impl Graph {
    /// How many.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// One of them.
    pub fn get(&self, id: Id) -> Expression {
        self.all[id as usize]
    }

    /// The same expression as before, if it has been made before.
    pub fn add(&mut self, expression: Expression) -> Id {
        if let Some(&id) = self.places.get(&expression) {
            return id;
        }
        let id = self.all.len() as Id;
        self.all.push(expression);
        self.places.insert(expression, id);
        id
    }

    /// A number.
    pub fn number(&mut self, x: f64) -> Id {
        self.add(Expression::Number(Bits(x)))
    }

    /// From outside.
    pub fn leaf(&mut self, leaf: Leaf) -> Id {
        self.add(Expression::Leaf(leaf))
    }

    /// The number that an expression is, if it is one.
    pub fn as_number(&self, id: Id) -> Option<f64> {
        match self.get(id) {
            Expression::Number(Bits(x)) => Some(x),
            _ => None,
        }
    }

    /// Whether it is this number, of whichever sign if it is 0.
    fn is(&self, id: Id, x: f64) -> bool {
        self.as_number(id) == Some(x)
    }

    /// A function of one expression.
    pub fn unary(&mut self, of: Unary, a: Id) -> Id {
        if let (Unary::Neg, Some(x)) = (of, self.as_number(a)) {
            return self.number(-x);
        }
        if let (Unary::Mean, Some(_)) = (of, self.as_number(a)) {
            return a;
        }
        if let (Unary::Neg, Expression::Unary(UnaryOf(Unary::Neg), inner)) = (of, self.get(a)) {
            return inner;
        }
        self.add(Expression::Unary(UnaryOf(of), a))
    }

    /// A function of two. Numbers are computed, neutral ones left out: nothing that would change a finite result but
    /// for the sign of a zero.
    pub fn binary(&mut self, of: Binary, a: Id, b: Id) -> Id {
        let numbers = self.as_number(a).zip(self.as_number(b));
        let folded = match (of, numbers) {
            (Binary::Add, Some((x, y))) => Some(x + y),
            (Binary::Sub, Some((x, y))) => Some(x - y),
            (Binary::Mul, Some((x, y))) => Some(x * y),
            (Binary::Div, Some((x, y))) => Some(x / y),
            _ => None,
        };
        if let Some(x) = folded.filter(|x| !x.is_nan()) {
            return self.number(x);
        }
        match of {
            Binary::Add if self.is(a, 0.0) => return b,
            Binary::Add | Binary::Sub if self.is(b, 0.0) => return a,
            Binary::Sub if self.is(a, 0.0) => return self.unary(Unary::Neg, b),
            Binary::Mul if self.is(a, 1.0) => return b,
            Binary::Mul | Binary::Div | Binary::Pow if self.is(b, 1.0) => return a,
            Binary::Mul if self.is(a, -1.0) => return self.unary(Unary::Neg, b),
            Binary::Mul if self.is(b, -1.0) => return self.unary(Unary::Neg, a),
            // x², the most frequent power, is a product as in NumPy.
            Binary::Pow if self.is(b, 2.0) => return self.binary(Binary::Mul, a, a),
            Binary::Pow if self.is(b, 0.5) => return self.unary(Unary::Sqrt, a),
            Binary::Pow if self.is(b, -1.0) => {
                let one = self.number(1.0);
                return self.binary(Binary::Div, one, a);
            }
            _ => {}
        }
        if let (Binary::Sub, Expression::Unary(UnaryOf(Unary::Neg), inner)) = (of, self.get(b)) {
            return self.binary(Binary::Add, a, inner);
        }
        // One order for what may be turned round, so that both are found to be the same.
        let turns = matches!(of, Binary::Add | Binary::Mul);
        let (a, b) = if turns && b < a { (b, a) } else { (a, b) };
        self.add(Expression::Binary(BinaryOf(of), a, b))
    }

    /// The second where the first is not 0, else the third.
    pub fn choose(&mut self, condition: Id, a: Id, b: Id) -> Id {
        match self.as_number(condition) {
            Some(x) => {
                if x != 0.0 {
                    a
                } else {
                    b
                }
            }
            None if a == b => a,
            None => self.add(Expression::Where(condition, a, b)),
        }
    }

    /// Values of which each is (a − mean) / √(variance + eps), mean and (biased) variance of them all over all units.
    pub fn normalise(&mut self, of: &[Id], eps: f64) -> &Together {
        let eps = Bits(eps);
        let before = self.groups.iter().position(|group| group.of == of && group.eps == eps);
        let at = before.unwrap_or_else(|| {
            let mean = self.mean(of);
            let centred: Vec<Id> = of.iter().map(|&a| self.binary(Binary::Sub, a, mean)).collect();
            let squares: Vec<Id> =
                centred.iter().map(|&a| self.binary(Binary::Mul, a, a)).collect();
            let variance = self.mean(&squares);
            let least = self.number(eps.0);
            let wide = self.binary(Binary::Add, variance, least);
            let deviation = self.unary(Unary::Sqrt, wide);
            let group = self.groups.len() as u32;
            let one = |&centred: &Id| Expression::Normalised { centred, deviation, group };
            let normalised = centred.iter().map(|a| self.add(one(a))).collect();
            self.groups.push(Together { of: of.to_vec(), eps, deviation, normalised });
            group as usize
        });
        &self.groups[at]
    }

    /// The mean over all units of all of them.
    pub fn mean(&mut self, of: &[Id]) -> Id {
        let mut total = of[0];
        for &a in &of[1..] {
            total = self.binary(Binary::Add, total, a);
        }
        let count = self.number(of.len() as f64);
        let share = self.binary(Binary::Div, total, count);
        self.unary(Unary::Mean, share)
    }

    pub fn group(&self, group: u32) -> &Together {
        &self.groups[group as usize]
    }

    /// 1 where v > 0, else 0.
    pub fn spike(&mut self, v: Id, of: Surrogate, slope: f64) -> Id {
        let (zero, slope) = (self.number(0.0), self.surrogate(of, v, slope));
        self.add(Expression::Spike { zero, v, slope })
    }

    /// A spike's own derivative at v.
    fn surrogate(&mut self, of: Surrogate, v: Id, slope: f64) -> Id {
        let one = self.number(1.0);
        match of {
            Surrogate::FastSigmoid => {
                let (slope, size) = (self.number(slope), self.unary(Unary::Abs, v));
                let scaled = self.binary(Binary::Mul, slope, size);
                let width = self.binary(Binary::Add, one, scaled);
                let square = self.binary(Binary::Mul, width, width);
                self.binary(Binary::Div, one, square)
            }
            Surrogate::Atan => {
                let steep = self.number(core::f64::consts::FRAC_PI_2 * slope);
                let scaled = self.binary(Binary::Mul, steep, v);
                let square = self.binary(Binary::Mul, scaled, scaled);
                let width = self.binary(Binary::Add, one, square);
                let half = self.number(slope / 2.0);
                self.binary(Binary::Div, half, width)
            }
            Surrogate::Sigmoid => {
                let slope = self.number(slope);
                let scaled = self.binary(Binary::Mul, slope, v);
                let y = self.unary(Unary::Sigmoid, scaled);
                let rest = self.binary(Binary::Sub, one, y);
                let product = self.binary(Binary::Mul, y, rest);
                self.binary(Binary::Mul, slope, product)
            }
        }
    }
}
