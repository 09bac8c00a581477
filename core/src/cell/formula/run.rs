//! The interpreter: one instruction over a block of units at a time, with everything in the first cache.
//!
//! An operand is read where it stands: a row of the net's, what an earlier instruction has made, or a line, which all
//! units of the row have in common. What an instruction makes stands behind all that earlier ones of its phase have
//! made, so that operands and result are apart; results go to the net's rows when the block is done. What an instruction
//! costs beside its arithmetic is shared by all vectors of the block; so where a row is short, a block holds several.

use super::code::{Code, Instruction, Of, Operand, Place, Step};
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
            let first = phase.first_sum * T::PAD;
            let (lines, sums) = lines.split_at_mut(first);
            let sums = &mut sums[..phase.sums.len() * T::PAD];
            sums.fill(T::ZERO);
            let mut u = 0;
            while u < stride {
                let n = if stride - u < size { stride - u } else { size };
                let at = At { row, count, u, n };
                compute_blocks(s, &phase.blocks, &memory, at, blocks, spare, lines);
                let made = Source::blocks(blocks, at);
                for (&a, sum) in phase.sums.iter().zip(sums.chunks_exact_mut(T::PAD)) {
                    let of = match a.of {
                        Of::Block => made,
                        of => Source::new(of, &memory, at, spare, lines),
                    };
                    add(s, of.get(a.n), at, hidden, sum);
                }
                for &(place, a) in &phase.stores {
                    let from = if a.of == Of::Block { made } else { Source::lines(lines) };
                    store(s, from.get(a.n), place, at, &mut memory, spare);
                }
                u += n;
            }
            means(sums, hidden);
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

/// Where operands of a kind are, from a block on: how far apart, and how far apart the rows of one. Of a unit's place
/// only the bits of `mask` count: a line is the same for all.
#[derive(Clone, Copy)]
struct Source<'a, T> {
    data: &'a [T],
    each: usize,
    rows: usize,
    mask: usize,
}

impl<'a, T: Real> Source<'a, T> {
    #[inline(always)]
    fn blocks(data: &'a [T], at: At) -> Self {
        Source { data, each: block::<T>(), rows: at.n, mask: usize::MAX }
    }

    #[inline(always)]
    fn lines(data: &'a [T]) -> Self {
        Source { data, each: T::PAD, rows: 0, mask: T::PAD - 1 }
    }

    #[inline(always)]
    fn new(of: Of, m: &'a Memory<'_, T>, at: At, spare: &'a [T], lines: &'a [T]) -> Self {
        let shape = m.shape;
        let (stride, row) = (shape.stride, shape.row());
        let state = |states: States<'a, T>, state: usize| {
            let rows = shape.state_row(state);
            let each = states.rows * stride;
            (
                states.data,
                shape.state_at(states.rows, state) + (states.first + at.row) * rows,
                each,
                rows,
            )
        };
        let (data, begin, each, rows) = match of {
            Of::Line | Of::Block => return Self::lines(lines),
            Of::Plane => (&*m.planes, at.row * row, stride, row),
            Of::Kept => (m.kept, at.row * row, stride, row),
            Of::Parameter => (m.parameters, 0, stride, 0),
            Of::Spare => (spare, 0, stride, 0),
            Of::H => match &m.unprojected {
                Unprojected::Derivative(d) => (*d, at.row * stride, 0, stride),
                _ => state(m.states.view(), 0),
            },
            Of::State => state(m.states.view(), 1),
            Of::HBefore => state(m.before, 0),
            Of::Before => state(m.before, 1),
        };
        Source { data: data.get(begin + at.u..).unwrap_or(&[]), each, rows, mask: usize::MAX }
    }

    /// The `n`-th of them.
    #[inline(always)]
    fn get(self, n: u32) -> Rows<'a, T> {
        Rows { data: &self.data[n as usize * self.each..], apart: self.rows, mask: self.mask }
    }
}

/// An operand.
#[derive(Clone, Copy)]
struct Rows<'a, T> {
    data: &'a [T],
    apart: usize,
    mask: usize,
}

impl<T: Real> Rows<'_, T> {
    #[inline(always)]
    fn read<S: Simd<T>>(self, s: S, row: usize, u: usize) -> Lanes<T, S> {
        Lanes::read::<false>(s, self.data, row * self.apart + (u & self.mask))
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

/// The instructions of a block.
#[inline(always)]
fn compute_blocks<T: Real, S: Simd<T>>(
    s: S,
    instructions: &[Instruction],
    memory: &Memory<'_, T>,
    at: At,
    blocks: &mut [T],
    spare: &[T],
    lines: &[T],
) {
    let size = block::<T>();
    // Found once for all instructions, and without a branch for each operand.
    let rows = Of::ROWS.map(|of| Source::new(of, memory, at, spare, lines));
    for &Instruction { step, operands, to } in instructions {
        let (earlier, own) = blocks.split_at_mut(to as usize * size);
        let made = Source::blocks(earlier, at);
        let of = |i: usize| {
            let Operand { of, n } = operands[i];
            let source = if of == Of::Block { &made } else { &rows[of as usize] };
            source.get(n)
        };
        compute(s, step, of, at, &mut own[..size]);
    }
}

/// What all units of a row have in common.
#[inline(always)]
fn compute_line<T: Real, S: Simd<T>>(s: S, instruction: &Instruction, lines: &mut [T]) {
    let &Instruction { step, operands, to } = instruction;
    let (earlier, own) = lines.split_at_mut(to as usize * T::PAD);
    let of = |i: usize| Source::lines(earlier).get(operands[i].n);
    compute(s, step, of, At { row: 0, count: 1, u: 0, n: T::PAD }, &mut own[..T::PAD]);
}

/// Adds the units of a block up.
#[inline(always)]
fn add<T: Real, S: Simd<T>>(s: S, of: Rows<'_, T>, at: At, hidden: usize, sum: &mut [T]) {
    let n = if hidden - at.u < at.n { hidden - at.u } else { at.n };
    let mut u = 0;
    while u < n {
        let to = u % T::PAD;
        let more = if n - u < S::LANES {
            Lanes::<T, S>::read::<true>(s, &of.data[u & of.mask..][..n - u], 0)
        } else {
            of.read(s, 0, u)
        };
        (Lanes::read::<false>(s, sum, to) + more).write::<false>(sum, to);
        u += S::LANES;
    }
}

/// Writes a block.
#[inline(always)]
fn store<T: Real, S: Simd<T>>(
    s: S,
    from: Rows<'_, T>,
    place: Place,
    at: At,
    memory: &mut Memory<'_, T>,
    spare: &mut [T],
) {
    let hidden = memory.shape.hidden;
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
