//! The interpreter: one instruction over a block of units at a time, with everything in the first cache.
//!
//! An operand is read where it stands: a row of the net's, what an earlier instruction has made, or a line, which all
//! units of the row have in common. What an instruction makes stands behind all that earlier ones of its phase have
//! made, so that operands and result are apart; results go to the net's rows when the block is done. What an instruction
//! costs beside its arithmetic is shared by all vectors of the block; so where a row is short, a block holds several.

use super::code::{Code, Instruction, Operand, Place, Step};
use super::description::{Binary, Unary};
use crate::kernel::shape::Shape;
use crate::kernel::states::{States, StatesMut};
use crate::math::{cos, exp, log, log_sigmoid, pow, sigmoid, sin, softplus, tanh};
use crate::real::Real;
use crate::simd::{Lanes, Simd};

/// What the rows of a program are.
pub struct Memory<'a, T> {
    pub shape: &'a Shape,
    /// The rows at work.
    pub planes: &'a mut [T],
    /// The rows that the way forward left; empty on that way.
    pub kept: &'a [T],
    pub states: StatesMut<'a, T>,
    /// Gets or gives h in place of the first state, where that is projected.
    pub unprojected: Unprojected<'a, T>,
    pub before: States<'a, T>,
    pub parameters: &'a [T],
    pub scratch: &'a mut [T],
}

/// What stands in for h where that is a projection.
pub enum Unprojected<'a, T> {
    Nothing,
    New(&'a mut [T]),
    Derivative(&'a [T]),
}

/// Lines of a block: enough for its instructions to be worth finding, few enough for all blocks to stay near.
const LINES: usize = 8;

/// Units of a block.
pub const fn block<T: Real>() -> usize {
    LINES * T::PAD
}

/// Numbers of scratch for rows of so many units.
pub fn scratch<T: Real>(code: &Code, stride: usize) -> usize {
    code.blocks * block::<T>() + code.spare * stride + code.lines * T::PAD
}

/// Runs the code for every row.
#[inline(always)]
pub fn run<T: Real, S: Simd<T>>(s: S, code: &Code, rows: usize, mut memory: Memory<'_, T>) {
    let (stride, hidden) = (memory.shape.stride, memory.shape.hidden);
    let size = block::<T>();
    let own = core::mem::take(&mut memory.scratch);
    let (blocks, own) = own.split_at_mut(code.blocks * size);
    let (spare, lines) = own.split_at_mut(code.spare * stride);
    let lines = &mut lines[..code.lines * T::PAD];
    for (line, &number) in lines.chunks_exact_mut(T::PAD).zip(&code.numbers) {
        line.fill(T::from_f64(number));
    }
    // Means are of a row each.
    let together = if code.has_means() || stride >= size { 1 } else { size / stride };
    let mut row = 0;
    while row < rows {
        let count = if rows - row < together { rows - row } else { together };
        for phase in &code.phases {
            for instruction in &phase.lines {
                compute_line(s, instruction, lines);
            }
            let summed = phase.sums.start * T::PAD..phase.sums.end * T::PAD;
            lines[summed.clone()].fill(T::ZERO);
            let mut u = 0;
            while u < stride {
                let n = if stride - u < size { stride - u } else { size };
                let at = At { row, count, u, n };
                for instruction in &phase.blocks {
                    execute(s, instruction, &mut memory, at, blocks, spare, lines);
                }
                u += n;
            }
            means(&mut lines[summed], hidden);
        }
        row += count;
    }
}

/// A block: `n` units from unit `u` on of each of `count` rows.
#[derive(Clone, Copy)]
struct At {
    row: usize,
    count: usize,
    u: usize,
    n: usize,
}

/// From sums by place within a line to their mean, in every place: by halves, so that the order is the line's alone.
fn means<T: Real>(sums: &mut [T], units: usize) {
    let count = T::from_f64(units as f64);
    for sum in sums.chunks_mut(T::PAD) {
        let mut half = T::PAD / 2;
        while half > 0 {
            for i in 0..half {
                sum[i] += sum[i + half];
            }
            half /= 2;
        }
        let mean = sum[0] / count;
        sum.fill(mean);
    }
}

/// An operand: where row `i`'s units of a block are, and which bits of a unit's place count. A line is the same for all.
#[derive(Clone, Copy)]
struct Rows<'a, T> {
    data: &'a [T],
    apart: usize,
    mask: usize,
}

impl<'a, T: Real> Rows<'a, T> {
    #[inline(always)]
    fn new(data: &'a [T], apart: usize) -> Self {
        Rows { data, apart, mask: usize::MAX }
    }

    #[inline(always)]
    fn line(lines: &'a [T], n: u32) -> Self {
        let data = &lines[n as usize * T::PAD..][..T::PAD];
        Rows { data, apart: 0, mask: T::PAD - 1 }
    }

    #[inline(always)]
    fn read<S: Simd<T>>(self, s: S, row: usize, u: usize) -> Lanes<T, S> {
        Lanes::read::<false>(s, self.data, row * self.apart + (u & self.mask))
    }
}

/// The rows of a place, from the block on.
#[inline(always)]
fn read<'m, T: Real>(
    memory: &'m Memory<'_, T>,
    spare: &'m [T],
    place: Place,
    at: At,
) -> Rows<'m, T> {
    let shape = memory.shape;
    let (stride, row) = (shape.stride, shape.row());
    let plane = |n: u8| at.row * row + n as usize * stride + at.u;
    match place {
        Place::Plane(n) => Rows::new(&memory.planes[plane(n)..], row),
        Place::Kept(n) => Rows::new(&memory.kept[plane(n)..], row),
        Place::State(n) => match &memory.unprojected {
            Unprojected::Derivative(d) if n == 0 => Rows::new(&d[at.row * stride + at.u..], stride),
            _ => {
                let n = n as usize;
                let begin = memory.states.at(shape, n, at.row) + at.u;
                Rows::new(&memory.states.data[begin..], shape.state_row(n))
            }
        },
        Place::Before(n) => {
            let (before, apart) =
                (memory.before.of(shape, n as usize), shape.state_row(n as usize));
            Rows::new(&before[at.row * apart + at.u..], apart)
        }
        Place::Parameter(n) => Rows::new(&memory.parameters[n as usize * stride + at.u..], 0),
        Place::Spare(n) => Rows::new(&spare[n as usize * stride + at.u..], 0),
    }
}

#[inline(always)]
fn written<'m, T: Real>(
    memory: &'m mut Memory<'_, T>,
    spare: &'m mut [T],
    place: Place,
    at: At,
) -> &'m mut [T] {
    let shape = memory.shape;
    let (stride, row) = (shape.stride, shape.row());
    let to = match place {
        Place::Plane(n) => &mut memory.planes[at.row * row + n as usize * stride + at.u..],
        Place::State(n) => match &mut memory.unprojected {
            Unprojected::New(h) if n == 0 => &mut h[at.row * stride + at.u..],
            _ => {
                let begin = memory.states.at(shape, n as usize, at.row) + at.u;
                &mut memory.states.data[begin..]
            }
        },
        Place::Spare(n) => &mut spare[n as usize * stride + at.u..],
        Place::Kept(_) | Place::Before(_) | Place::Parameter(_) => &mut [],
    };
    let n = if to.len() < at.n { to.len() } else { at.n };
    &mut to[..n]
}

/// A loop over the vectors of a block, inlined where it stands.
macro_rules! vectors {
    ($at:expr, |$row:ident, $u:ident| $body:expr) => {{
        let (mut $row, count, n) = (0, $at.count, $at.n);
        while $row < count {
            let mut $u = 0;
            while $u < n {
                $body;
                $u += S::LANES;
            }
            $row += 1;
        }
    }};
}

#[inline(always)]
fn execute<T: Real, S: Simd<T>>(
    s: S,
    instruction: &Instruction,
    memory: &mut Memory<'_, T>,
    at: At,
    blocks: &mut [T],
    spare: &mut [T],
    lines: &mut [T],
) {
    let size = block::<T>();
    let &Instruction { step, operands, to } = instruction;
    let hidden = memory.shape.hidden;
    match step {
        Step::Store(place) => {
            let from = match operands[0] {
                Operand::Line(n) => Rows::line(lines, n),
                Operand::Block(n) => Rows::new(&blocks[n as usize * size..][..size], at.n),
                // It is copied to a block first.
                Operand::Place(_) => return,
            };
            for i in 0..at.count {
                let to = written(memory, spare, place, At { row: at.row + i, ..at });
                let (mut u, len) = (0, to.len());
                while u < len {
                    from.read(s, i, u).write::<false>(to, u);
                    u += S::LANES;
                }
                // What stands behind the last unit may be anything, but in rows of results it is zero.
                if at.u + len > hidden {
                    to[hidden.saturating_sub(at.u)..].fill(T::ZERO);
                }
            }
        }
        Step::Sum => {
            let (lines, sum) = lines.split_at_mut(to as usize * T::PAD);
            let of = operand(operands[0], at, blocks, memory, spare, lines);
            let n = if hidden - at.u < at.n { hidden - at.u } else { at.n };
            let mut u = 0;
            while u < n {
                let to = u % T::PAD;
                // Of rows of results the rest is zero; here it may be anything.
                let more = Lanes::<T, S>::read::<true>(s, &of.data[..n], u);
                (Lanes::read::<false>(s, sum, to) + more).write::<false>(sum, to);
                u += S::LANES;
            }
        }
        _ => {
            let (earlier, own) = blocks.split_at_mut(to as usize * size);
            let of = |i: usize| operand(operands[i], at, earlier, memory, spare, lines);
            compute(s, step, of, At { row: 0, u: 0, ..at }, &mut own[..size]);
        }
    }
}

/// What all units of a row have in common.
#[inline(always)]
fn compute_line<T: Real, S: Simd<T>>(s: S, instruction: &Instruction, lines: &mut [T]) {
    let &Instruction { step, operands, to } = instruction;
    let (earlier, own) = lines.split_at_mut(to as usize * T::PAD);
    let of = |i: usize| match operands[i] {
        Operand::Line(n) | Operand::Block(n) => Rows::line(earlier, n),
        Operand::Place(_) => Rows::line(earlier, 0),
    };
    compute(s, step, of, At { row: 0, count: 1, u: 0, n: T::PAD }, &mut own[..T::PAD]);
}

#[inline(always)]
fn operand<'m, T: Real>(
    of: Operand,
    at: At,
    blocks: &'m [T],
    memory: &'m Memory<'_, T>,
    spare: &'m [T],
    lines: &'m [T],
) -> Rows<'m, T> {
    match of {
        Operand::Block(n) => Rows::new(&blocks[n as usize * block::<T>()..], at.n),
        Operand::Line(n) => Rows::line(lines, n),
        Operand::Place(place) => read(memory, spare, place, at),
    }
}

/// One instruction that makes a block.
#[inline(always)]
fn compute<'m, T: Real, S: Simd<T>>(
    s: S,
    step: Step,
    of: impl Fn(usize) -> Rows<'m, T>,
    at: At,
    y: &mut [T],
) {
    match step {
        Step::Load => {
            let a = of(0);
            vectors!(at, |i, u| a.read(s, i, u).write::<false>(y, i * at.n + u));
        }
        Step::Unary(function) => unary(s, function, of(0), at, y),
        Step::Binary(function) => binary(s, function, [of(0), of(1)], at, y),
        Step::Where | Step::MulAdd | Step::NegMulAdd => {
            ternary(s, step, [of(0), of(1), of(2)], at, y);
        }
        // Those make no block.
        Step::Store(_) | Step::Sum => {}
    }
}

#[inline(always)]
fn unary<T: Real, S: Simd<T>>(s: S, function: Unary, x: Rows<'_, T>, at: At, y: &mut [T]) {
    macro_rules! each {
        (|$x:ident| $y:expr) => {
            vectors!(at, |i, u| {
                let $x = x.read(s, i, u);
                $y.write::<false>(y, i * at.n + u)
            })
        };
    }
    match function {
        Unary::Neg => each!(|x| -x),
        Unary::Abs => each!(|x| x.abs()),
        Unary::Exp => each!(|x| exp(x)),
        Unary::Log => each!(|x| log(x)),
        Unary::Sqrt => each!(|x| x.sqrt()),
        Unary::Sin => each!(|x| sin(x)),
        Unary::Cos => each!(|x| cos(x)),
        Unary::Tanh => each!(|x| tanh(x)),
        Unary::Sigmoid => each!(|x| sigmoid(x)),
        Unary::LogSigmoid => each!(|x| log_sigmoid(x)),
        Unary::Relu => each!(|x| x.at_least(0.0)),
        Unary::Softplus => each!(|x| softplus(x)),
        Unary::Silu => each!(|x| x * sigmoid(x)),
        // A mean is a sum first.
        Unary::StopGradient | Unary::Mean => each!(|x| x),
    }
}

#[inline(always)]
fn binary<T: Real, S: Simd<T>>(
    s: S,
    function: Binary,
    [a, b]: [Rows<'_, T>; 2],
    at: At,
    y: &mut [T],
) {
    macro_rules! each {
        (|$a:ident, $b:ident| $y:expr) => {
            vectors!(at, |i, u| {
                let ($a, $b) = (a.read(s, i, u), b.read(s, i, u));
                $y.write::<false>(y, i * at.n + u)
            })
        };
    }
    match function {
        Binary::Add => each!(|a, b| a + b),
        Binary::Sub => each!(|a, b| a - b),
        Binary::Mul => each!(|a, b| a * b),
        Binary::Div => each!(|a, b| a / b),
        Binary::Pow => each!(|a, b| pow(a, b)),
        Binary::Minimum => each!(|a, b| a.minimum(b)),
        Binary::Maximum => each!(|a, b| a.maximum(b)),
        Binary::Less => each!(|a, b| a.if_less(b, a.like(1.0), a.like(0.0))),
        Binary::LessEqual => each!(|a, b| a.if_less_equal(b, a.like(1.0), a.like(0.0))),
        Binary::Equal => each!(|a, b| a.if_equal(b, a.like(1.0), a.like(0.0))),
    }
}

#[inline(always)]
fn ternary<T: Real, S: Simd<T>>(
    s: S,
    step: Step,
    [a, b, c]: [Rows<'_, T>; 3],
    at: At,
    y: &mut [T],
) {
    macro_rules! each {
        (|$a:ident, $b:ident, $c:ident| $y:expr) => {
            vectors!(at, |i, u| {
                let ($a, $b, $c) = (a.read(s, i, u), b.read(s, i, u), c.read(s, i, u));
                $y.write::<false>(y, i * at.n + u)
            })
        };
    }
    match step {
        Step::MulAdd => each!(|a, b, c| a.mul_add(b, c)),
        Step::NegMulAdd => each!(|a, b, c| a.neg_mul_add(b, c)),
        _ => each!(|a, b, c| a.if_equal(a.like(0.0), c, b)),
    }
}
