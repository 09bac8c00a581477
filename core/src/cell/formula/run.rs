//! The interpreter: one instruction over a block of units at a time, with everything in the first cache.
//!
//! A block of values that an instruction makes stands behind those of all earlier instructions of its phase. So its
//! operands and its result are apart, which the compiler is told by splitting the memory there, and no block is
//! needed twice. What an instruction costs beside its arithmetic, to be found and to read and write blocks, is shared
//! by all vectors of the block; so where a row is short, a block holds several.

use super::code::{Action, Code, Instruction, Phase, Place};
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

/// Rows of so many units that a block holds at the most.
fn most_together<T: Real>(stride: usize) -> usize {
    if stride < block::<T>() { block::<T>() / stride } else { 1 }
}

/// Numbers of scratch for rows of so many units.
pub fn scratch<T: Real>(code: &Code, stride: usize) -> usize {
    let of_row = code.spare * stride + code.means * T::PAD;
    code.blocks * block::<T>() + most_together::<T>(stride) * of_row
}

/// Runs the code for every row.
#[inline(always)]
pub fn run<T: Real, S: Simd<T>>(s: S, code: &Code, rows: usize, mut memory: Memory<'_, T>) {
    let (stride, hidden) = (memory.shape.stride, memory.shape.hidden);
    let size = block::<T>();
    let most = most_together::<T>(stride);
    let together = if rows < most { rows } else { most };
    let own = &mut *memory.scratch;
    let (blocks, own) = own.split_at_mut(code.blocks * size);
    let (spare, sums) = own.split_at_mut(code.spare * together * stride);
    let sums = &mut sums[..code.means * together * T::PAD];
    memory.scratch = &mut [];
    let used = if together * stride < size { together * stride } else { size };
    for (block, &number) in blocks.chunks_exact_mut(size).zip(&code.numbers) {
        block[..used].fill(T::from_f64(number));
    }
    let mut row = 0;
    while row < rows {
        let count = if rows - row < together { rows - row } else { together };
        sums.fill(T::ZERO);
        for Phase { row: of_row, units, sums: summed } in &code.phases {
            // All units of several rows, or some of a single one.
            let n = if stride < size { stride } else { size };
            let whole = At { row, count, own: 0, together, u: 0, n };
            for instruction in of_row {
                let spread = instruction.action == Action::Spread;
                let at = if spread { whole } else { At { n: T::PAD, ..whole } };
                execute(s, instruction, &mut memory, at, blocks, spare, sums);
            }
            let mut u = 0;
            while u < stride {
                let n = if stride - u < size { stride - u } else { size };
                for instruction in units {
                    execute(s, instruction, &mut memory, At { u, n, ..whole }, blocks, spare, sums);
                }
                u += n;
            }
            let line = together * T::PAD;
            means(&mut sums[summed.start * line..summed.end * line], hidden);
        }
        row += count;
    }
}

/// A block: `n` units from unit `u` on of each of `count` rows.
#[derive(Clone, Copy)]
struct At {
    row: usize,
    count: usize,
    /// Which of the rows that are run together comes first, and of how many.
    own: usize,
    together: usize,
    u: usize,
    n: usize,
}

impl At {
    /// The `i`-th of its rows alone.
    #[inline(always)]
    fn row(self, i: usize) -> At {
        At { row: self.row + i, own: self.own + i, count: 1, ..self }
    }

    /// Where the first of its rows has its own among the `n`-th runs of `len` numbers a row.
    #[inline(always)]
    fn of_row(self, n: u16, len: usize) -> usize {
        (n as usize * self.together + self.own) * len
    }
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

/// The rows of a place, and where the block begins in them.
#[inline(always)]
fn read<'m, T: Real>(memory: &'m Memory<'_, T>, spare: &'m [T], place: Place, at: At) -> &'m [T] {
    let shape = memory.shape;
    let (stride, row) = (shape.stride, shape.row());
    let plane = |n: u8| at.row * row + n as usize * stride + at.u;
    let from = match place {
        Place::Plane(n) => &memory.planes[plane(n)..],
        Place::Kept(n) => &memory.kept[plane(n)..],
        Place::State(n) => match &memory.unprojected {
            Unprojected::Derivative(d) if n == 0 => &d[at.row * stride + at.u..],
            _ => &memory.states.data[memory.states.at(shape, n as usize, at.row) + at.u..],
        },
        Place::Before(n) => {
            let before = memory.before.of(shape, n as usize);
            &before[at.row * shape.state_row(n as usize) + at.u..]
        }
        Place::Parameter(n) => &memory.parameters[n as usize * stride + at.u..],
        Place::Spare(n) => &spare[at.of_row(n, stride) + at.u..],
    };
    &from[..at.n]
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
        Place::Spare(n) => &mut spare[at.of_row(n, stride) + at.u..],
        Place::Kept(_) | Place::Before(_) | Place::Parameter(_) => &mut [],
    };
    let n = if to.len() < at.n { to.len() } else { at.n };
    &mut to[..n]
}

/// A loop over the vectors of a block, inlined where it stands.
macro_rules! vectors {
    ($s:ident, $n:expr, |$u:ident| $body:expr) => {{
        let mut $u = 0;
        while $u < $n {
            $body;
            $u += S::LANES;
        }
    }};
}

/// `copy_from_slice` of whole vectors without a call: what is copied is short.
#[inline(always)]
fn copy<T: Real, S: Simd<T>>(s: S, from: &[T], to: &mut [T]) {
    let from = &from[..to.len()];
    vectors!(S, to.len(), |u| s.store(&mut to[u..], s.load(&from[u..])));
}

#[inline(always)]
fn execute<T: Real, S: Simd<T>>(
    s: S,
    instruction: &Instruction,
    memory: &mut Memory<'_, T>,
    at: At,
    blocks: &mut [T],
    spare: &mut [T],
    sums: &mut [T],
) {
    let size = block::<T>();
    let &Instruction { action, operands, to } = instruction;
    let (earlier, own) = blocks.split_at_mut(to as usize * size);
    let all = at.count * at.n;
    let of = |i: usize| &earlier[operands[i] as usize * size..][..all];
    match action {
        Action::Load(place) => {
            for i in 0..at.count {
                copy(s, read(memory, spare, place, at.row(i)), &mut own[i * at.n..][..at.n]);
            }
        }
        Action::Store(place) => {
            let hidden = memory.shape.hidden;
            let from = of(0);
            for i in 0..at.count {
                let to = written(memory, spare, place, at.row(i));
                let len = to.len();
                copy(s, &from[i * at.n..][..len], to);
                // What stands behind the last unit may be anything, but in rows of results it is zero.
                if at.u + len > hidden {
                    to[hidden.saturating_sub(at.u)..].fill(T::ZERO);
                }
            }
        }
        Action::Sum(mean) => {
            let (all, hidden) = (of(0), memory.shape.hidden);
            for i in 0..at.count {
                let sum = &mut sums[at.row(i).of_row(mean, T::PAD)..][..T::PAD];
                let n = if hidden - at.u < at.n { hidden - at.u } else { at.n };
                sum_up(s, &all[i * at.n..][..n], sum);
            }
        }
        Action::Mean(mean) => {
            for i in 0..at.count {
                let mean = sums[at.row(i).of_row(mean, T::PAD)];
                own[i * at.n..][..at.n].fill(mean);
            }
        }
        Action::Spread => {
            // From the last on, for what is spread overwrites the lines.
            for i in (0..at.count).rev() {
                let x = own[i * T::PAD];
                own[i * at.n..][..at.n].fill(x);
            }
        }
        Action::Unary(function) => unary(s, function, of(0), &mut own[..all]),
        Action::Binary(function) => binary(s, function, [of(0), of(1)], &mut own[..all]),
        Action::Where | Action::MulAdd | Action::NegMulAdd => {
            ternary(s, action, [of(0), of(1), of(2)], &mut own[..all]);
        }
    }
}

/// Adds numbers to the sum of those in the same place of a line.
#[inline(always)]
fn sum_up<T: Real, S: Simd<T>>(s: S, from: &[T], sum: &mut [T]) {
    let whole = from.len() - from.len() % T::PAD;
    vectors!(S, T::PAD, |to| {
        let mut all = Lanes::<T, S>::read::<false>(s, sum, to);
        let mut u = to;
        while u < whole {
            all = all + Lanes::read::<false>(s, from, u);
            u += T::PAD;
        }
        if u < from.len() {
            all = all + Lanes::read::<true>(s, from, u);
        }
        all.write::<false>(sum, to);
    });
}

#[inline(always)]
fn unary<T: Real, S: Simd<T>>(s: S, function: Unary, x: &[T], y: &mut [T]) {
    let x = &x[..y.len()];
    macro_rules! each {
        (|$x:ident| $y:expr) => {
            vectors!(S, y.len(), |u| {
                let $x = Lanes::<T, S>::read::<false>(s, x, u);
                $y.write::<false>(y, u)
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
        // A mean is made of two steps of its own.
        Unary::StopGradient | Unary::Mean => y.copy_from_slice(x),
    }
}

#[inline(always)]
fn binary<T: Real, S: Simd<T>>(s: S, function: Binary, [a, b]: [&[T]; 2], y: &mut [T]) {
    let (a, b) = (&a[..y.len()], &b[..y.len()]);
    macro_rules! each {
        (|$a:ident, $b:ident| $y:expr) => {
            vectors!(S, y.len(), |u| {
                let $a = Lanes::<T, S>::read::<false>(s, a, u);
                let $b = Lanes::<T, S>::read::<false>(s, b, u);
                $y.write::<false>(y, u)
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
fn ternary<T: Real, S: Simd<T>>(s: S, action: Action, [a, b, c]: [&[T]; 3], y: &mut [T]) {
    let (a, b, c) = (&a[..y.len()], &b[..y.len()], &c[..y.len()]);
    macro_rules! each {
        (|$a:ident, $b:ident, $c:ident| $y:expr) => {
            vectors!(S, y.len(), |u| {
                let $a = Lanes::<T, S>::read::<false>(s, a, u);
                let $b = Lanes::<T, S>::read::<false>(s, b, u);
                let $c = Lanes::<T, S>::read::<false>(s, c, u);
                $y.write::<false>(y, u)
            })
        };
    }
    match action {
        Action::MulAdd => each!(|a, b, c| a.mul_add(b, c)),
        Action::NegMulAdd => each!(|a, b, c| a.neg_mul_add(b, c)),
        _ => each!(|a, b, c| a.if_equal(a.like(0.0), c, b)),
    }
}
