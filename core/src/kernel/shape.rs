//! What a layer looks like to the kernels: sizes, slots of the gate buffer, views of weights.

use crate::gates::{Activation, CellKind, Role};
use crate::real::Real;
use crate::simd::Rhs;

/// The slots of a GRU's gate buffer, ordered so that the gates that h feeds stand together (the first
/// three) and those that x feeds too (the last three).
pub mod gru_slots {
    /// W_hn h + b_hn, or r ⊙ h in the original form; derivatives by the former.
    pub const HIDDEN: usize = 0;
    /// The reset gate.
    pub const RESET: usize = 1;
    /// The update gate.
    pub const UPDATE: usize = 2;
    /// The new value.
    pub const NEW: usize = 3;
}

pub(crate) const LSTM: CellKind = CellKind::Lstm { forget_gate: true };
pub(crate) const LSTM_1997: CellKind = CellKind::Lstm { forget_gate: false };
pub(crate) const GRU: CellKind = CellKind::Gru { reset_after: true };
pub(crate) const GRU_2014: CellKind = CellKind::Gru { reset_after: false };
pub(crate) const RNN: CellKind = CellKind::Rnn(Activation::Tanh);

/// What is known when the code is compiled. Constants of a [`Shape`] fold by themselves, but only after
/// the compiler has had all the code before it; what a `const` here rules out, it never sees.
pub trait Plan: Copy + Send + Sync + 'static {
    /// The cell and its units (padded, where weights are packed), if they are fixed: for steps of a single row.
    const FIXED: Option<(CellKind, usize)>;
    /// Whether weights are [`pack`](super::pack)ed.
    const PACKED: bool;

    /// A shape that it fits, with what is known made constant.
    #[inline(always)]
    fn known<T: Real>(shape: &Shape) -> Shape {
        match Self::FIXED {
            None => *shape,
            Some((kind, units)) => Shape {
                // An RNN's may be any activation.
                kind: if let CellKind::Rnn(_) = kind { shape.kind } else { kind },
                projected: false,
                stride: units,
                state_stride: units,
                line: T::PAD,
                ..*shape
            },
        }
    }
}

/// Nothing is known: run-time sizes.
#[derive(Clone, Copy, Debug)]
pub struct RunTime;

impl Plan for RunTime {
    const FIXED: Option<(CellKind, usize)> = None;
    const PACKED: bool = true;
}

/// A layer of a run-time network that a single row goes through, in rows of `STRIDE` values: few enough that calls of
/// products and activations, and what these do to find out their sizes, take as long as the work itself. All
/// of a step is then inlined into the loop over the steps. `CELL` is 0 for an LSTM, 1 for a GRU, 2 for an RNN.
#[derive(Clone, Copy, Debug)]
pub struct Short<const CELL: u8, const STRIDE: usize>;

impl<const CELL: u8, const STRIDE: usize> Plan for Short<CELL, STRIDE> {
    const FIXED: Option<(CellKind, usize)> = match CELL {
        0 => Some((LSTM, STRIDE)),
        1 => Some((GRU, STRIDE)),
        _ => Some((RNN, STRIDE)),
    };
    const PACKED: bool = true;
}

impl<const CELL: u8, const STRIDE: usize> Short<CELL, STRIDE> {
    /// Whether it is a plan of this layer.
    pub(crate) fn fits(shape: &Shape) -> bool {
        may_be(Self::FIXED, shape.kind) && STRIDE == shape.stride && !shape.projected
    }
}

/// Returns an expression, with `$plan` the plan of a single row in a layer of this shape, where that is [`Short`].
macro_rules! return_if_short {
    ($shape:expr, $plan:ident => $value:expr) => {
        $crate::kernel::shape::return_if_short!(
            $shape, $plan => $value, (0, 16) (0, 32) (1, 16) (1, 32) (2, 16) (2, 32)
        )
    };
    ($shape:expr, $plan:ident => $value:expr, $(($cell:literal, $stride:literal))*) => {$({
        type $plan = $crate::kernel::shape::Short<$cell, $stride>;
        if $plan::fits($shape) {
            return $value;
        }
    })*};
}
pub(crate) use return_if_short;

/// Whether a cell may be of this kind, an RNN with any activation.
pub(crate) const fn may_be(fixed: Option<(CellKind, usize)>, kind: CellKind) -> bool {
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
/// A product of one run of units whose right operand may be rows as they come.
pub(crate) const OUTER: u8 = 3;

/// Whether a product may be of so many gates.
pub(crate) const fn may_have(fixed: Option<(CellKind, usize)>, which: u8, gates: usize) -> bool {
    match (which, fixed) {
        (OUTER, _) => gates == 1,
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
    /// Values in a cache line, where rows may stand apart from one another: see [`apart`](Self::apart); 0
    /// where they must adjoin.
    pub line: usize,
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
    /// Of a layer of a run-time network, in numbers of type `T`.
    #[cfg(feature = "alloc")]
    pub(crate) fn of<T: Real>(config: &crate::gates::Config, layer: usize) -> Self {
        let input = config.layer_input_size(layer);
        Shape {
            kind: config.kind,
            input,
            hidden: config.hidden_size,
            state: config.state_size(),
            projected: config.proj_size > 0,
            stride: config.hidden_size.next_multiple_of(T::PAD),
            state_stride: config.state_size().next_multiple_of(T::PAD),
            input_stride: input.next_multiple_of(T::PAD),
            line: T::PAD,
        }
    }

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
        self.apart(self.slots() * self.stride)
    }

    /// How far apart rows of `len` values stand: a line more where they would otherwise begin at the same few
    /// places of every page. Values of one column would share a few sets of the caches, and drive one another out.
    #[inline(always)]
    #[must_use]
    pub const fn apart(&self, len: usize) -> usize {
        // A power of two: no division.
        let every = 16 * self.line;
        if every > 0 && len & (every - 1) == 0 { len + self.line } else { len }
    }

    /// The slots that x feeds.
    #[inline(always)]
    #[must_use]
    pub const fn input_slots(&self) -> Slots {
        match self.kind {
            CellKind::Gru { .. } => Slots { first: gru_slots::RESET, count: 3 },
            kind => Slots { first: 0, count: kind.gates().len() },
        }
    }

    /// The slots that h feeds at the beginning of a step.
    #[inline(always)]
    #[must_use]
    pub const fn state_slots(&self) -> Slots {
        match self.kind {
            CellKind::Gru { reset_after: true } => Slots { first: gru_slots::HIDDEN, count: 3 },
            CellKind::Gru { reset_after: false } => Slots { first: gru_slots::RESET, count: 2 },
            kind => Slots { first: 0, count: kind.gates().len() },
        }
    }

    /// Whether W_hn acts on r ⊙ h, in a product of its own.
    #[inline(always)]
    #[must_use]
    pub const fn resets_before(&self) -> bool {
        matches!(self.kind, CellKind::Gru { reset_after: false })
    }

    /// The rows of PyTorch's weights (in gates) in the order of `input_slots`'s slots.
    #[must_use]
    pub const fn input_gates(&self) -> &'static [usize] {
        match self.kind.gates().len() {
            1 => &[0],
            3 => &[0, 1, 2],
            _ => &[0, 1, 2, 3],
        }
    }

    /// The same for `state_slots`: the GRU's slots begin with the new value's.
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
    /// Which way to walk: see [`Product::turn`](super::product::Product::turn).
    pub turn: bool,
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
    /// Which way to walk, as [`Weights::turn`].
    pub turn: bool,
}
