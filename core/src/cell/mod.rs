//! One time step of each cell, forward beside backward, over rows of a batch.
//!
//! A step works on a *gate buffer*: for each row, a few slots of `stride` values, one slot a gate.
//! Before the step the buffer holds W_ih x + b (see [`input`]); [`forward`] adds W_hh h₋, applies the
//! activations in place and moves h and c on. [`backward`] reads the same buffer. Sizes come as plain
//! numbers in a [`Shape`]; where they are constants the compiler folds them, so one source serves the
//! fixed-size cells and the run-time networks.

pub mod fixed;
pub mod gru;
pub mod lstm;
pub mod rnn;

use crate::gates::{Activation, CellKind, Gate, Role};
use crate::kernel::product::{Product, Start, Strides, chains};
use crate::math::Math;
use crate::real::Real;
use crate::simd::{Extent, Kernel, Lhs, Rhs, Simd};

/// Runs a body over `$n` units, a vector at a time; `PART` is true in the last one if it is not full.
macro_rules! units {
    ($s:ident, $n:expr, |$u:ident, $part:ident| $body:block) => {{
        let n = $n;
        let mut $u = 0;
        while $u + $s::LANES <= n {
            const $part: bool = false;
            $body
            $u += $s::LANES;
        }
        if $u < n {
            const $part: bool = true;
            $body
        }
    }};
}
use units;

/// The place of `gate` among the gates of an RNN or LSTM, whose slots are in that order.
#[inline(always)]
const fn slot(kind: CellKind, gate: Gate) -> usize {
    let gates = kind.gates();
    let mut i = 0;
    while i < gates.len() && gates[i] as u8 != gate as u8 {
        i += 1;
    }
    i
}

const LSTM: CellKind = CellKind::Lstm { forget_gate: true };
const LSTM_1997: CellKind = CellKind::Lstm { forget_gate: false };
const GRU: CellKind = CellKind::Gru { reset_after: true };
const GRU_2014: CellKind = CellKind::Gru { reset_after: false };
const RNN: CellKind = CellKind::Rnn(Activation::Tanh);

/// What is known when the code is compiled. Constants of a [`Shape`] fold by themselves, but only after
/// the compiler has had all the code before it; what a `const` here rules out, it never sees.
pub trait Plan: Copy + Send + Sync + 'static {
    /// The cell and its units, where they are fixed.
    const FIXED: Option<(CellKind, usize)>;
}

/// Nothing is known: run-time sizes.
#[derive(Clone, Copy, Debug)]
pub struct RunTime;

impl Plan for RunTime {
    const FIXED: Option<(CellKind, usize)> = None;
}

/// Whether a cell may be of this kind, an RNN with any activation.
const fn may_be(fixed: Option<(CellKind, usize)>, kind: CellKind) -> bool {
    match (fixed, kind) {
        (None, _) | (Some((CellKind::Rnn(_), _)), CellKind::Rnn(_)) => true,
        (Some((CellKind::Lstm { forget_gate: a }, _)), CellKind::Lstm { forget_gate: b })
        | (Some((CellKind::Gru { reset_after: a }, _)), CellKind::Gru { reset_after: b }) => a == b,
        _ => false,
    }
}

/// The product with W_ih.
pub(crate) const INPUT: u8 = 0;
/// The product with W_hh.
pub(crate) const STATE: u8 = 1;
/// Any other, which has one gate.
pub(crate) const SINGLE: u8 = 2;

/// Whether a product may be of so many gates.
const fn may_have(fixed: Option<(CellKind, usize)>, which: u8, gates: usize) -> bool {
    match (which, fixed) {
        (_, None) => true,
        (STATE, Some((CellKind::Gru { reset_after: false }, _))) => gates == 2,
        (INPUT | STATE, Some((kind, _))) => gates == kind.gates().len(),
        _ => gates == 1,
    }
}

/// Sizes of one layer in one direction, and how its buffers are laid out.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The cell.
    pub kind: CellKind,
    /// Values of x.
    pub input: usize,
    /// Hidden units H.
    pub hidden: usize,
    /// Values of h: H, or fewer with projection.
    pub state: usize,
    /// Whether h is a projection of o ⊙ tanh(c).
    pub projected: bool,
    /// From one slot of the gate buffer to the next, and from one row of c: H, padded or not.
    pub stride: usize,
    /// From one row of h to the next.
    pub state_stride: usize,
    /// From one row of the derivative by x to the next.
    pub input_stride: usize,
}

/// A run of slots that one product fills.
#[derive(Clone, Copy)]
pub struct Slots {
    /// The first.
    pub first: usize,
    /// How many.
    pub count: usize,
}

impl Shape {
    /// Slots in a row of the gate buffer.
    #[inline(always)]
    #[must_use]
    pub const fn slots(&self) -> usize {
        match self.kind {
            CellKind::Gru { .. } => 4,
            kind => kind.gates().len(),
        }
    }

    /// From one row of the gate buffer to the next.
    #[inline(always)]
    #[must_use]
    pub const fn row(&self) -> usize {
        self.slots() * self.stride
    }

    /// The slots that x feeds.
    #[inline(always)]
    #[must_use]
    pub const fn from_input(&self) -> Slots {
        match self.kind {
            CellKind::Gru { .. } => Slots { first: gru::RESET, count: 3 },
            kind => Slots { first: 0, count: kind.gates().len() },
        }
    }

    /// The slots that h feeds at the beginning of a step.
    #[inline(always)]
    #[must_use]
    pub const fn from_state(&self) -> Slots {
        match self.kind {
            CellKind::Gru { reset_after: true } => Slots { first: gru::HIDDEN, count: 3 },
            CellKind::Gru { reset_after: false } => Slots { first: gru::RESET, count: 2 },
            kind => Slots { first: 0, count: kind.gates().len() },
        }
    }

    /// Whether W_hn acts on r ⊙ h, in a product of its own.
    #[inline(always)]
    #[must_use]
    pub const fn resets_before(&self) -> bool {
        matches!(self.kind, CellKind::Gru { reset_after: false })
    }

    /// The rows of PyTorch's weights (in gates) in the order of `from_input`'s slots.
    #[must_use]
    pub const fn input_gates(&self) -> &'static [usize] {
        match self.kind.gates().len() {
            1 => &[0],
            3 => &[0, 1, 2],
            _ => &[0, 1, 2, 3],
        }
    }

    /// The same for `from_state`: the GRU's slots begin with the new value's.
    #[must_use]
    pub const fn state_gates(&self) -> &'static [usize] {
        match self.kind {
            CellKind::Gru { reset_after: true } => &[2, 0, 1],
            CellKind::Gru { reset_after: false } => &[0, 1],
            _ => self.input_gates(),
        }
    }
}

/// The slot of the gate buffer to which the bias of PyTorch's gate `gate` belongs.
#[inline(always)]
#[must_use]
pub const fn bias_slot(kind: CellKind, role: Role, gate: usize) -> usize {
    match (kind, role) {
        // b_hn stands inside the reset gate's product.
        (CellKind::Gru { reset_after: true }, Role::BiasHh) => (gate + 1) % 3,
        (CellKind::Gru { .. }, _) => gate + 1,
        _ => gate,
    }
}

/// The weights a forward step reads, lanes = units.
#[derive(Clone, Copy)]
pub struct Weights<'a, T> {
    /// W_ih: steps = inputs.
    pub input: Rhs<'a, T>,
    /// W_hh: steps = values of h.
    pub state: Rhs<'a, T>,
    /// W_hn alone, where the GRU resets before the product.
    pub new: Rhs<'a, T>,
    /// W_hr: steps = hidden units, lanes = values of h.
    pub projection: Rhs<'a, T>,
    /// A row of the gate buffer to start from.
    pub bias: &'a [T],
}

/// The transposed weights a backward step reads: lanes = what the forward steps were.
#[derive(Clone, Copy)]
pub struct Transposed<'a, T> {
    /// W_ihᵀ: steps = gates and units, in the order of the slots.
    pub input: Rhs<'a, T>,
    /// W_hhᵀ.
    pub state: Rhs<'a, T>,
    /// W_hnᵀ, where the GRU resets before the product.
    pub new: Rhs<'a, T>,
    /// W_hrᵀ: steps = values of h, lanes = hidden units.
    pub projection: Rhs<'a, T>,
}

/// `Product`, with the number of gates and, for fixed sizes, everything else made constant.
#[inline(always)]
fn product<T: Real, S: Simd<T>, P: Plan, const WHICH: u8>(
    s: S,
    gates: usize,
    p: Product<'_, T, 0>,
) {
    macro_rules! with {
        ($n:literal) => {
            if const { may_have(P::FIXED, WHICH, $n) } && gates == $n {
                let p = Product::<T, $n> {
                    rows: p.rows,
                    units: p.units,
                    lhs: p.lhs,
                    rhs: p.rhs,
                    extent: p.extent,
                    chains: p.chains,
                    start: p.start,
                    out: p.out,
                    strides: p.strides,
                };
                if const { P::FIXED.is_some() } {
                    p.run_one_row::<S, P, WHICH>(s);
                } else {
                    s.run(p);
                }
                return;
            }
        };
    }
    with!(1);
    with!(2);
    with!(3);
    with!(4);
}

/// Fills the gate buffer with b + W_ih x, for any number of rows (of any time steps) at once.
/// Rows of x stand `x_row` apart.
#[inline(always)]
pub fn input<T: Real, S: Simd<T>, P: Plan>(
    s: S,
    shape: &Shape,
    w: &Weights<'_, T>,
    rows: usize,
    x: &[T],
    x_row: usize,
    gates: &mut [T],
) {
    let Slots { first, count } = shape.from_input();
    if first > 0 {
        // The GRU's slot that x does not feed.
        for r in 0..rows {
            let at = r * shape.row();
            gates[at..at + shape.stride].copy_from_slice(&w.bias[..shape.stride]);
        }
    }
    if rows == 0 {
        return;
    }
    product::<T, S, P, INPUT>(
        s,
        count,
        Product {
            rows,
            units: shape.stride,
            lhs: Lhs { data: x, row: x_row, step: 1, segment: 0 },
            rhs: w.input,
            extent: Extent { segments: 1, steps: shape.input },
            chains: 1,
            start: Start::Row(&w.bias[first * shape.stride..]),
            out: &mut gates[first * shape.stride..],
            strides: Strides { row: shape.row(), tile: S::LANES, gate: shape.stride },
        },
    );
}

/// One step: the gate buffer's rows from b + W_ih x to activated gates, `h` and `c` to the new ones, in
/// place. `m` is scratch with rows as long as c's: for o ⊙ tanh(c) with projection, for r ⊙ h in the
/// original GRU.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub fn forward<T: Real, S: Simd<T>, M: Math, P: Plan>(
    s: S,
    math: M,
    shape: &Shape,
    w: &Weights<'_, T>,
    rows: usize,
    gates: &mut [T],
    h: &mut [T],
    c: &mut [T],
    m: &mut [T],
) {
    let Slots { first, count } = shape.from_state();
    product::<T, S, P, STATE>(
        s,
        count,
        Product {
            rows,
            units: shape.stride,
            lhs: Lhs { data: h, row: shape.state_stride, step: 1, segment: 0 },
            rhs: w.state,
            extent: Extent { segments: 1, steps: shape.state },
            chains: chains::<T>(shape.hidden, count),
            start: Start::Out,
            out: &mut gates[first * shape.stride..],
            strides: Strides { row: shape.row(), tile: S::LANES, gate: shape.stride },
        },
    );
    if const { may_be(P::FIXED, CellKind::Gru { reset_after: false }) } && shape.resets_before() {
        let (gates_, c_) = (&mut *gates, &mut *c);
        let half = Half::Gates;
        activate::<T, S, M, P>(
            s,
            Activate { shape, _math: math, rows, gates: gates_, h: &mut *h, c: c_, half },
        );
        let copies = gates.chunks(shape.row()).zip(m.chunks_mut(shape.stride));
        for (row, m) in copies.take(rows) {
            m.copy_from_slice(&row[gru::HIDDEN * shape.stride..][..shape.stride]);
        }
        product::<T, S, P, SINGLE>(
            s,
            1,
            Product {
                rows,
                units: shape.stride,
                lhs: Lhs { data: m, row: shape.stride, step: 1, segment: 0 },
                rhs: w.new,
                extent: Extent { segments: 1, steps: shape.hidden },
                chains: chains::<T>(shape.hidden, 1),
                start: Start::Out,
                out: &mut gates[gru::NEW * shape.stride..],
                strides: Strides { row: shape.row(), tile: S::LANES, gate: 0 },
            },
        );
        let half = Half::State;
        activate::<T, S, M, P>(s, Activate { shape, _math: math, rows, gates, h, c, half });
        return;
    }
    let half = Half::State;
    let out = if shape.projected { &mut *m } else { &mut *h };
    activate::<T, S, M, P>(s, Activate { shape, _math: math, rows, gates, h: out, c, half });
    if const { P::FIXED.is_none() } && shape.projected {
        product::<T, S, P, SINGLE>(
            s,
            1,
            Product {
                rows,
                units: shape.state_stride,
                lhs: Lhs { data: m, row: shape.stride, step: 1, segment: 0 },
                rhs: w.projection,
                extent: Extent { segments: 1, steps: shape.hidden },
                chains: chains::<T>(shape.state, 1),
                start: Start::Zero,
                out: h,
                strides: Strides { row: shape.state_stride, tile: S::LANES, gate: 0 },
            },
        );
    }
}

/// Which part of the elementwise work: the original GRU has a product between its two.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Gates,
    State,
}

/// The elementwise part of [`forward`].
struct Activate<'a, T, M> {
    shape: &'a Shape,
    _math: M,
    rows: usize,
    gates: &'a mut [T],
    h: &'a mut [T],
    c: &'a mut [T],
    half: Half,
}

#[inline(always)]
fn activate<T: Real, S: Simd<T>, M: Math, P: Plan>(s: S, work: Activate<'_, T, M>) {
    if const { P::FIXED.is_some() } {
        work.run_as::<S, P>(s);
    } else {
        s.run(work);
    }
}

impl<T: Real, M: Math> Kernel<T> for Activate<'_, T, M> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        self.run_as::<S, RunTime>(s);
    }
}

impl<T: Real, M: Math> Activate<'_, T, M> {
    #[inline(always)]
    fn run_as<S: Simd<T>, P: Plan>(self, s: S) {
        let Self { shape, _math: _, rows, gates, h, c, half } = self;
        let (n, stride, row) = (shape.stride, shape.stride, shape.row());
        let h_row = if shape.projected { shape.stride } else { shape.state_stride };
        for r in 0..rows {
            let gates = &mut gates[r * row..][..row];
            let h = &mut h[r * h_row..][..n];
            let kind = shape.kind;
            if const { may_be(P::FIXED, LSTM) } && kind == LSTM {
                let c = &mut c[r * stride..][..n];
                lstm::forward_row::<T, S, M, true>(s, n, gates, stride, c, h);
            } else if const { may_be(P::FIXED, LSTM_1997) } && kind == LSTM_1997 {
                let c = &mut c[r * stride..][..n];
                lstm::forward_row::<T, S, M, false>(s, n, gates, stride, c, h);
            } else if const { may_be(P::FIXED, GRU) } && kind == GRU {
                gru::forward_row::<T, S, M>(s, n, gates, stride, h);
            } else if const { may_be(P::FIXED, GRU_2014) } && kind == GRU_2014 {
                match half {
                    Half::Gates => gru::forward_row_gates::<T, S, M>(s, n, gates, stride, h),
                    Half::State => gru::forward_row_state::<T, S, M>(s, n, gates, stride, h),
                }
            } else if const { may_be(P::FIXED, RNN) }
                && let CellKind::Rnn(activation) = kind
            {
                rnn::forward_row::<T, S, M>(s, n, activation, gates, h);
            }
        }
    }
}

/// What a backward step reads of the forward one.
#[derive(Clone, Copy)]
pub struct Step<'a, T> {
    /// Activated gates.
    pub gates: &'a [T],
    /// h before the step.
    pub h: &'a [T],
    /// c before the step.
    pub c: &'a [T],
}

/// The mirror of [`forward`]: `d_h` and `d_c` go from the total derivatives by the new state to those by
/// the old one, in place; `d_gates` gets the derivatives by the pre-activations. With projection,
/// what is asked for goes to `projection`. `scratch` has rows as long as c's.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub fn backward<T: Real, S: Simd<T>, M: Math, P: Plan>(
    s: S,
    math: M,
    shape: &Shape,
    w: &Transposed<'_, T>,
    rows: usize,
    step: Step<'_, T>,
    d_h: &mut [T],
    d_c: &mut [T],
    d_gates: &mut [T],
    scratch: &mut [T],
    projection: Option<Projection<'_, T>>,
) {
    if const { P::FIXED.is_none() }
        && let Some(p) = projection
    {
        let values = rows * shape.state_stride;
        p.d_projected[..values].copy_from_slice(&d_h[..values]);
        product::<T, S, P, SINGLE>(
            s,
            1,
            Product {
                rows,
                units: shape.stride,
                lhs: Lhs { data: d_h, row: shape.state_stride, step: 1, segment: 0 },
                rhs: w.projection,
                extent: Extent { segments: 1, steps: shape.state },
                chains: chains::<T>(shape.hidden, 1),
                start: Start::Zero,
                out: scratch,
                strides: Strides { row: shape.stride, tile: S::LANES, gate: 0 },
            },
        );
        let (half, m) = (Half::State, Some(p.m));
        let work = Differentiate {
            shape,
            _math: math,
            rows,
            step,
            d_h: scratch,
            d_c,
            d_gates: &mut *d_gates,
            m,
            half,
        };
        differentiate::<T, S, M, P>(s, work);
    } else {
        let (half, m) = (Half::State, None);
        let (d_h_, d_c_, d_gates_) = (&mut *d_h, &mut *d_c, &mut *d_gates);
        let work = Differentiate {
            shape,
            _math: math,
            rows,
            step,
            d_h: d_h_,
            d_c: d_c_,
            d_gates: d_gates_,
            m,
            half,
        };
        differentiate::<T, S, M, P>(s, work);
        if const { may_be(P::FIXED, GRU_2014) } && shape.resets_before() {
            product::<T, S, P, SINGLE>(
                s,
                1,
                Product {
                    rows,
                    units: shape.stride,
                    lhs: Lhs {
                        data: &d_gates[gru::NEW * shape.stride..],
                        row: shape.row(),
                        step: 1,
                        segment: 0,
                    },
                    rhs: w.new,
                    extent: Extent { segments: 1, steps: shape.hidden },
                    chains: chains::<T>(shape.hidden, 1),
                    start: Start::Zero,
                    out: scratch,
                    strides: Strides { row: shape.stride, tile: S::LANES, gate: 0 },
                },
            );
            let copies = d_gates.chunks_mut(shape.row()).zip(scratch.chunks(shape.stride));
            for (row, d_reset_h) in copies.take(rows) {
                row[gru::HIDDEN * shape.stride..][..shape.stride].copy_from_slice(d_reset_h);
            }
            let (half, m) = (Half::Gates, None);
            let (d_h_, d_gates_) = (&mut *d_h, &mut *d_gates);
            let work = Differentiate {
                shape,
                _math: math,
                rows,
                step,
                d_h: d_h_,
                d_c,
                d_gates: d_gates_,
                m,
                half,
            };
            differentiate::<T, S, M, P>(s, work);
        }
    }
    let Slots { first, count } = shape.from_state();
    product::<T, S, P, SINGLE>(
        s,
        1,
        Product {
            rows,
            units: shape.state_stride,
            lhs: Lhs {
                data: &d_gates[first * shape.stride..],
                row: shape.row(),
                step: 1,
                segment: shape.stride,
            },
            rhs: w.state,
            extent: Extent { segments: count, steps: shape.hidden },
            chains: chains::<T>(shape.state, 1),
            start: if matches!(shape.kind, CellKind::Gru { .. }) {
                Start::Out
            } else {
                Start::Zero
            },
            out: d_h,
            strides: Strides { row: shape.state_stride, tile: S::LANES, gate: 0 },
        },
    );
}

/// What the gradient of the projection needs of a step.
pub struct Projection<'a, T> {
    /// Gets the total derivative by h.
    pub d_projected: &'a mut [T],
    /// Gets o ⊙ tanh(c).
    pub m: &'a mut [T],
}

/// The elementwise part of [`backward`].
struct Differentiate<'a, T, M> {
    shape: &'a Shape,
    _math: M,
    rows: usize,
    step: Step<'a, T>,
    d_h: &'a mut [T],
    d_c: &'a mut [T],
    d_gates: &'a mut [T],
    m: Option<&'a mut [T]>,
    half: Half,
}

#[inline(always)]
fn differentiate<T: Real, S: Simd<T>, M: Math, P: Plan>(s: S, work: Differentiate<'_, T, M>) {
    if const { P::FIXED.is_some() } {
        work.run_as::<S, P>(s);
    } else {
        s.run(work);
    }
}

impl<T: Real, M: Math> Kernel<T> for Differentiate<'_, T, M> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        self.run_as::<S, RunTime>(s);
    }
}

impl<T: Real, M: Math> Differentiate<'_, T, M> {
    #[inline(always)]
    fn run_as<S: Simd<T>, P: Plan>(self, s: S) {
        let Self { shape, _math: _, rows, step, d_h, d_c, d_gates, mut m, half } = self;
        let (n, stride, row) = (shape.stride, shape.stride, shape.row());
        let d_h_row = if shape.projected { shape.stride } else { shape.state_stride };
        for r in 0..rows {
            let gates = &step.gates[r * row..][..row];
            let d_gates = &mut d_gates[r * row..][..row];
            let d_h = &mut d_h[r * d_h_row..][..n];
            let kind = shape.kind;
            if const { may_be(P::FIXED, LSTM) || may_be(P::FIXED, LSTM_1997) }
                && kind.has_cell_state()
            {
                let c = &step.c[r * stride..][..n];
                let d_c = &mut d_c[r * stride..][..n];
                let m = m.as_deref_mut().map(|m| &mut m[r * stride..][..n]);
                if kind == LSTM {
                    lstm::backward_row::<T, S, M, true>(
                        s, n, gates, stride, c, d_h, d_c, d_gates, m,
                    );
                } else if const { may_be(P::FIXED, LSTM_1997) } {
                    lstm::backward_row::<T, S, M, false>(
                        s, n, gates, stride, c, d_h, d_c, d_gates, m,
                    );
                }
            } else if const { may_be(P::FIXED, GRU) } && kind == GRU {
                let h = &step.h[r * shape.state_stride..][..n];
                gru::backward_row::<T, S>(s, n, gates, stride, h, d_h, d_gates);
            } else if const { may_be(P::FIXED, GRU_2014) } && kind == GRU_2014 {
                let h = &step.h[r * shape.state_stride..][..n];
                match half {
                    Half::State => {
                        gru::backward_row_state::<T, S>(s, n, gates, stride, h, d_h, d_gates)
                    }
                    Half::Gates => {
                        gru::backward_row_gates::<T, S>(s, n, gates, stride, h, d_h, d_gates)
                    }
                }
            } else if const { may_be(P::FIXED, RNN) }
                && let CellKind::Rnn(activation) = kind
            {
                rnn::backward_row::<T, S>(s, n, activation, gates, d_h, d_gates);
            }
        }
    }
}

/// c after the steps of any number of rows, out of what their tape holds.
pub struct CellState<'a, T> {
    /// Sizes of an LSTM.
    pub shape: &'a Shape,
    /// Rows.
    pub rows: usize,
    /// Their gates, and c before the step.
    pub step: Step<'a, T>,
    /// Gets c, rows of `shape.stride`.
    pub c: &'a mut [T],
}

impl<T: Real> Kernel<T> for CellState<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Self { shape, rows, step, c } = self;
        let (n, row) = (shape.stride, shape.row());
        for r in 0..rows {
            let (gates, before) = (&step.gates[r * row..][..row], &step.c[r * n..][..n]);
            let c = &mut c[r * n..][..n];
            if let CellKind::Lstm { forget_gate: false } = shape.kind {
                lstm::cell_row::<T, S, false>(s, n, gates, n, before, c);
            } else {
                lstm::cell_row::<T, S, true>(s, n, gates, n, before, c);
            }
        }
    }
}

/// The derivative by x of any number of rows at once: W_ihᵀ d_gates, added to `d_x` where `add`.
#[inline(always)]
fn d_input<T: Real, S: Simd<T>>(
    s: S,
    shape: &Shape,
    rhs: Rhs<'_, T>,
    rows: usize,
    d_gates: &[T],
    d_x: &mut [T],
    add: bool,
) {
    let Slots { first, count } = shape.from_input();
    product::<T, S, RunTime, SINGLE>(
        s,
        1,
        Product {
            rows,
            units: shape.input_stride,
            lhs: Lhs {
                data: &d_gates[first * shape.stride..],
                row: shape.row(),
                step: 1,
                segment: shape.stride,
            },
            rhs,
            extent: Extent { segments: count, steps: shape.hidden },
            chains: 1,
            start: if add { Start::Added } else { Start::Zero },
            out: d_x,
            strides: Strides { row: shape.input_stride, tile: S::LANES, gate: 0 },
        },
    );
}

/// Gradients of one layer in one direction as they are summed up: a row for each value that
/// multiplies, the gates' units side by side as in the gate buffer.
pub struct WeightGradients<'a, T> {
    /// d_w_ih: (input, slots of `from_input`).
    pub input: &'a mut [T],
    /// d_w_hh: (state, slots of `from_state`).
    pub state: &'a mut [T],
    /// d_w_hn, where the GRU resets before the product: (hidden, one slot).
    pub new: &'a mut [T],
    /// d_w_hr: (hidden, state stride).
    pub projection: &'a mut [T],
    /// Sums of `d_gates`: one row.
    pub bias: &'a mut [T],
}

/// Adds Σ_rows left ⊗ right to `out`: (values of left, slots of right).
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn outer<T: Real, S: Simd<T>>(
    s: S,
    (left, left_row, values): (&[T], usize, usize),
    (right, right_row, slots, stride): (&[T], usize, usize, usize),
    rows: usize,
    out: &mut [T],
) {
    if rows == 0 {
        return;
    }
    // A constant as left operand (the biases) does not move from value to value.
    let row = usize::from(left_row > 0);
    product::<T, S, RunTime, SINGLE>(
        s,
        slots,
        Product {
            rows: values,
            units: stride,
            lhs: Lhs { data: left, row, step: left_row, segment: 0 },
            rhs: Rhs { data: right, step: right_row, tile: S::LANES, gate: stride },
            extent: Extent { segments: 1, steps: rows },
            chains: 1,
            start: Start::Added,
            out,
            strides: Strides { row: slots * stride, tile: S::LANES, gate: stride },
        },
    );
}

/// What the derivatives by the pre-activations of a chunk of rows, once all are known, give to the rest:
/// derivatives by x, and gradients by the parameters, which are added up.
pub struct Chunk<'a, T> {
    /// Sizes.
    pub shape: &'a Shape,
    /// Rows.
    pub rows: usize,
    /// x of each row, so far apart.
    pub x: (&'a [T], usize),
    /// h before the step.
    pub h: &'a [T],
    /// Activated gates.
    pub gates: &'a [T],
    /// Derivatives by the pre-activations.
    pub d_gates: &'a [T],
    /// Where h is projected: total derivative by h, and o ⊙ tanh(c).
    pub projected: Option<(&'a [T], &'a [T])>,
    /// W_ihᵀ; a tile stride of 0 stands for tiles that adjoin.
    pub input: Rhs<'a, T>,
    /// Gets the derivatives by x; nothing if empty.
    pub d_x: &'a mut [T],
    /// Whether to add them to what stands there.
    pub add_d_x: bool,
    /// Gradients, added to.
    pub gradients: WeightGradients<'a, T>,
}

impl<T: Real> Kernel<T> for Chunk<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Chunk { shape, rows, x: (x, x_row), h, gates, d_gates, projected, input, .. } = self;
        let (d_x, g) = (self.d_x, self.gradients);
        if rows == 0 {
            return;
        }
        if !d_x.is_empty() {
            d_input(
                s,
                shape,
                Rhs { tile: input.tile.max(S::LANES), ..input },
                rows,
                d_gates,
                d_x,
                self.add_d_x,
            );
        }
        let (stride, row) = (shape.stride, shape.row());
        let from_slot = |slot: usize| &d_gates[(slot * stride).min(d_gates.len())..];
        let Slots { first, count } = shape.from_input();
        outer(s, (x, x_row, shape.input), (from_slot(first), row, count, stride), rows, g.input);
        let Slots { first, count } = shape.from_state();
        let h = (h, shape.state_stride, shape.state);
        outer(s, h, (from_slot(first), row, count, stride), rows, g.state);
        if shape.resets_before() {
            let reset_h = (gates, row, shape.hidden);
            outer(s, reset_h, (from_slot(gru::NEW), row, 1, stride), rows, g.new);
        }
        if let Some((d_projected, m)) = projected {
            let m = (m, stride, shape.hidden);
            outer(
                s,
                m,
                (d_projected, shape.state_stride, 1, shape.state_stride),
                rows,
                g.projection,
            );
        }
        outer(s, (&[T::ONE], 0, 1), (d_gates, row, shape.slots(), stride), rows, g.bias);
    }
}
