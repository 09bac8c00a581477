//! One step forward and one back: products and elementwise work in turn.

use super::{gru, lstm, rnn};
use crate::gates::CellKind;
use crate::kernel::product::{Product, Start, Strides, chains};
use crate::kernel::shape::{
    GRU, GRU_2014, INPUT, LSTM, LSTM_1997, OUTER, Plan, RNN, RunTime, SINGLE, STATE, Shape, Slots,
    Transposed, Weights, gru_slots, may_be, may_have,
};
use crate::math::Math;
use crate::real::Real;
use crate::simd::{Extent, Kernel, Lhs, Simd};

/// `Product`, with the number of gates and, for fixed sizes, everything else made constant. Weights of fixed
/// sizes are not packed, nor are the rows of an [`OUTER`] product.
#[inline(always)]
pub(super) fn product<T: Real, S: Simd<T>, P: Plan, const WHICH: u8>(
    s: S,
    gates: usize,
    p: Product<'_, T, 0, false>,
) {
    macro_rules! with {
        ($n:literal) => {
            if const { may_have(P::FIXED, WHICH, $n) } && gates == $n {
                if const { P::FIXED.is_some() && P::PACKED } {
                    p.with::<$n, true>().run_one_row::<S, P, WHICH>(s);
                } else if const { P::FIXED.is_some() } {
                    p.with::<$n, false>().run_one_row::<S, P, WHICH>(s);
                } else if const { WHICH == OUTER } {
                    s.run(p.with::<$n, false>());
                } else {
                    s.run(p.with::<$n, true>());
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
pub fn input<T: Real, S: Simd<T>>(
    s: S,
    shape: &Shape,
    w: &Weights<'_, T>,
    rows: usize,
    x: &[T],
    x_row: usize,
    gates: &mut [T],
) {
    let Slots { first, count } = shape.input_slots();
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
    product::<T, S, RunTime, INPUT>(
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
            turn: false,
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
    let Slots { first, count } = shape.state_slots();
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
            turn: w.turn,
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
            m.copy_from_slice(&row[gru_slots::HIDDEN * shape.stride..][..shape.stride]);
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
                turn: w.turn,
                out: &mut gates[gru_slots::NEW * shape.stride..],
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
                turn: w.turn,
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
                turn: w.turn,
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
                        data: &d_gates[gru_slots::NEW * shape.stride..],
                        row: shape.row(),
                        step: 1,
                        segment: 0,
                    },
                    rhs: w.new,
                    extent: Extent { segments: 1, steps: shape.hidden },
                    chains: chains::<T>(shape.hidden, 1),
                    start: Start::Zero,
                    turn: w.turn,
                    out: scratch,
                    strides: Strides { row: shape.stride, tile: S::LANES, gate: 0 },
                },
            );
            let copies = d_gates.chunks_mut(shape.row()).zip(scratch.chunks(shape.stride));
            for (row, d_reset_h) in copies.take(rows) {
                row[gru_slots::HIDDEN * shape.stride..][..shape.stride].copy_from_slice(d_reset_h);
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
    let Slots { first, count } = shape.state_slots();
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
            turn: w.turn,
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
                let m = m.as_deref_mut().map_or(&mut [][..], |m| &mut m[r * stride..][..n]);
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
