//! Panels filled out of matrices in PyTorch's layout.

use super::panel::{Aligned, fill, fill_slot};
use super::{Compressed, Fixed};
use crate::cell::{Cell, Layout};
use crate::kernel::panel::panel;
use crate::real::Real;
use crate::simd::Weight;
use crate::simd::flat::{filled, flat, flat_mut};
use core::slice::{from_mut, from_ref};

impl<C: Cell, T: Real, const I: usize, const H: usize, W: Weight<T>> Fixed<C, T, I, H, W> {
    /// A cell of weights that are stored smaller.
    #[must_use]
    pub const fn from_compressed(p: &Compressed<C, T, I, H, W>) -> Self {
        let mut this = Self::zeros();
        this.fill_weights(
            flat(from_ref(&p.w_ih)).as_flattened().as_flattened(),
            flat(from_ref(&p.w_hh)).as_flattened().as_flattened(),
        );
        this.fill_scales(flat(from_ref(&p.scale_ih)), flat(from_ref(&p.scale_hh)));
        let [b_ih, b_hh] = [flat(from_ref(&p.b_ih)), flat(from_ref(&p.b_hh))];
        this.fill_rest(b_ih, b_hh, flat(from_ref(&p.w_p)));
        this
    }

    pub(super) const fn zeros() -> Self {
        const { assert!(I > 0 && H > 0, "a cell has inputs and units") };
        let zeros = [T::ZERO; H];
        Fixed {
            w_ih: Aligned([filled([W::ZERO; H]); I]),
            w_hh: Aligned([filled([W::ZERO; H]); H]),
            scale_ih: Aligned(filled([W::UNSCALED; H])),
            scale_hh: Aligned(filled([W::UNSCALED; H])),
            b_ih: Aligned(filled(zeros)),
            b_hh: Aligned(filled(zeros)),
            w_p: Aligned(filled(zeros)),
        }
    }

    /// By block, unit and what multiplies.
    pub(super) const fn fill_weights(&mut self, w_ih: &[W::Stored], w_hh: &[W::Stored]) {
        let layout = const { &Layout::of::<C>() };
        let width = panel(layout.slots());
        let to = flat_mut(&mut self.w_ih.0).as_flattened_mut();
        fill(w_ih, to, [I, H], width, layout.x_blocks());
        let to = flat_mut(&mut self.w_hh.0).as_flattened_mut();
        let (to, mut rest) = to.split_at_mut(layout.h_blocks().len() * H * H);
        fill(w_hh, to, [H, H], width, layout.h_blocks());
        let mut i = 0;
        while i < layout.maps().len() {
            let to;
            (to, rest) = rest.split_at_mut(H * H);
            fill(w_hh, to, [H, H], width, &[layout.maps()[i].block]);
            i += 1;
        }
    }

    /// By block and unit.
    const fn fill_scales(&mut self, ih: &[[W::Scale; H]], hh: &[[W::Scale; H]]) {
        let layout = const { &Layout::of::<C>() };
        let width = panel(layout.slots());
        let to = flat_mut(from_mut(&mut self.scale_ih.0)).as_flattened_mut();
        let mut gate = 0;
        while gate < ih.len() {
            let block = layout.x_blocks()[gate] as usize;
            fill_slot(&ih[block], to, [ih.len(), H], width, gate);
            gate += 1;
        }
        let to = flat_mut(from_mut(&mut self.scale_hh.0)).as_flattened_mut();
        let fed = layout.h_blocks().len();
        let mut gate = 0;
        while gate < hh.len() {
            let mapped = gate >= fed;
            let block =
                if mapped { layout.maps()[gate - fed].block } else { layout.h_blocks()[gate] };
            fill_slot(&hh[block as usize], to, [hh.len(), H], width, gate);
            gate += 1;
        }
    }

    /// Biases by block and unit; the units' own by parameter and unit.
    pub(super) const fn fill_rest(&mut self, b_ih: &[[T; H]], b_hh: &[[T; H]], w_p: &[[T; H]]) {
        let layout = const { &Layout::of::<C>() };
        let (slots, width) = (layout.slots(), panel(layout.slots()));
        let to = flat_mut(from_mut(&mut self.b_ih.0)).as_flattened_mut();
        let mut block = 0;
        while block < b_ih.len() {
            fill_slot(&b_ih[block], to, [slots, H], width, layout.x_slot(block));
            block += 1;
        }
        let to = flat_mut(from_mut(&mut self.b_hh.0)).as_flattened_mut();
        let mut block = 0;
        while block < b_hh.len() {
            fill_slot(&b_hh[block], to, [slots, H], width, layout.h_slot(block));
            block += 1;
        }
        let to = flat_mut(from_mut(&mut self.w_p.0)).as_flattened_mut();
        let mut own = 0;
        while own < w_p.len() {
            fill_slot(&w_p[own], to, [w_p.len(), H], width, own);
            own += 1;
        }
    }
}
