//! The caller's memory of a training pass.

use super::panel::{index, panel};
use super::{Fixed, Parameters, Variant};
use crate::cell::{Chunk, Sum, WeightGradients};
use crate::gates::{CellKind, Role};
use crate::kernel::shape::bias_slot;
use crate::real::Real;
use crate::simd::Rhs;
use core::ops::Range;

/// What up to `N` recorded steps keep, and room for the way back. Its size is fixed: about
/// N · (2S + 2) · H + 2 · G · H · (I + H) values.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Tape<T, const I: usize, const H: usize, const G: usize, const S: usize, const N: usize> {
    pub(super) gates: [[[T; H]; S]; N],
    pub(super) d_gates: [[[T; H]; S]; N],
    pub(super) h: [[T; H]; N],
    pub(super) c: [[T; H]; N],
    pub(super) x: [[T; I]; N],
    // Transposed weights: gate in the slots' order, unit, what multiplies.
    pub(super) w_ih_t: [[[T; I]; H]; G],
    pub(super) w_hh_t: [[[T; H]; H]; G],
    // Sums of gradients, laid out as the cell's weights.
    pub(super) d_w_ih: [[[T; H]; G]; I],
    pub(super) d_w_hh: [[[T; H]; G]; H],
    pub(super) d_bias: [[T; H]; S],
    pub(super) len: usize,
}

impl<T: Real, const I: usize, const H: usize, const G: usize, const S: usize, const N: usize>
    Tape<T, I, H, G, S, N>
{
    /// An empty tape.
    #[must_use]
    pub const fn new() -> Self {
        Tape {
            gates: [[[T::ZERO; H]; S]; N],
            d_gates: [[[T::ZERO; H]; S]; N],
            h: [[T::ZERO; H]; N],
            c: [[T::ZERO; H]; N],
            x: [[T::ZERO; I]; N],
            w_ih_t: [[[T::ZERO; I]; H]; G],
            w_hh_t: [[[T::ZERO; H]; H]; G],
            d_w_ih: [[[T::ZERO; H]; G]; I],
            d_w_hh: [[[T::ZERO; H]; G]; H],
            d_bias: [[T::ZERO; H]; S],
            len: 0,
        }
    }

    /// Steps recorded.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no step is recorded.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets the steps recorded.
    pub const fn clear(&mut self) {
        self.len = 0;
    }

    /// Fills in the transposed weights and clears the sums.
    pub(super) fn transpose<V>(&mut self, cell: &Fixed<T, V, I, H, G, S>) {
        let w_ih = cell.w_ih.0.as_flattened().as_flattened();
        let w_hh = cell.w_hh.0.as_flattened().as_flattened();
        for g in 0..G {
            for u in 0..H {
                for k in 0..I {
                    self.w_ih_t[g][u][k] = w_ih[index([I, G, H], panel(G), [k, g, u])];
                }
                for k in 0..H {
                    self.w_hh_t[g][u][k] = w_hh[index([H, G, H], panel(G), [k, g, u])];
                }
            }
        }
        self.d_w_ih = [[[T::ZERO; H]; G]; I];
        self.d_w_hh = [[[T::ZERO; H]; G]; H];
        self.d_bias = [[T::ZERO; H]; S];
    }

    /// What is left to do of some steps once their `d_gates` are known.
    pub(super) fn chunk<'a, V: Variant>(
        &'a mut self,
        steps: Range<usize>,
        d_x: &'a mut [T],
    ) -> Chunk<'a, T> {
        let shape = &Fixed::<T, V, I, H, G, S>::SHAPE;
        // Where the reset gate acts before the product, n's sums follow those of r and z.
        let (state, new) = self
            .d_w_hh
            .as_flattened_mut()
            .as_flattened_mut()
            .split_at_mut(shape.state_slots().count * H * H);
        Chunk {
            shape,
            rows: steps.len(),
            x: (self.x[steps.clone()].as_flattened(), I),
            h: self.h[steps.clone()].as_flattened(),
            gates: self.gates[steps.clone()].as_flattened().as_flattened(),
            d_gates: self.d_gates[steps].as_flattened().as_flattened(),
            projected: None,
            input: Rhs {
                data: self.w_ih_t.as_flattened().as_flattened(),
                step: I,
                tile: 0,
                gate: 0,
            },
            d_x,
            add_d_x: false,
            gradients: WeightGradients {
                input: Sum::ByValue(self.d_w_ih.as_flattened_mut().as_flattened_mut()),
                state: Sum::ByValue(state),
                new: Sum::ByValue(new),
                projection: Sum::ByValue(&mut []),
                bias: self.d_bias.as_flattened_mut(),
            },
        }
    }

    /// Adds the sums to gradients in PyTorch's layout.
    pub(super) fn add_to<V: Variant>(&self, to: &mut Parameters<T, I, H, G>) {
        let before = matches!(V::KIND, CellKind::Gru { reset_after: false });
        let d_w_hh = self.d_w_hh.as_flattened().as_flattened();
        for g in 0..G {
            let from = Fixed::<T, V, I, H, G, S>::state_gate(g);
            for u in 0..H {
                for k in 0..I {
                    to.w_ih[g][u][k] += self.d_w_ih[k][g][u];
                }
                for k in 0..H {
                    // Where the reset gate acts before the product, r and z are summed apart from n.
                    let at = match (before, g) {
                        (false, _) => (k * G + g) * H + u,
                        (true, 0) => 2 * H * H + k * H + u,
                        (true, g) => (k * 2 + g - 1) * H + u,
                    };
                    to.w_hh[from][u][k] += d_w_hh[at];
                }
                to.b_ih[g][u] += self.d_bias[bias_slot(V::KIND, Role::BiasIh, g)][u];
                to.b_hh[g][u] += self.d_bias[bias_slot(V::KIND, Role::BiasHh, g)][u];
            }
        }
    }
}

impl<T: Real, const I: usize, const H: usize, const G: usize, const S: usize, const N: usize>
    Default for Tape<T, I, H, G, S, N>
{
    fn default() -> Self {
        Self::new()
    }
}
