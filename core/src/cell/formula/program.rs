//! A formula compiled: what runs forward and back, and what is kept in between.

use super::code::Code;
use super::description::Description;
use super::plan::{Scheme, Wanted};
use super::run::{self, Memory, Unprojected};
use crate::cell::Tanh;
use crate::cell::elementwise::{Back, Elementwise, Forth};
use crate::error::Error;
use crate::kernel::layout::Layout;
use crate::kernel::states::States;
use crate::real::Real;
use crate::simd::Simd;
use alloc::vec::Vec;

/// A cell made of a formula.
#[derive(Clone, Debug)]
pub struct Program {
    pub(super) layout: Layout,
    /// By stage.
    pub(super) forward: Vec<Code>,
    /// The last stage where no way back follows, so that nothing is kept for it.
    pub(super) forward_alone: Code,
    /// By the stage of the way forward that each mirrors.
    pub(super) backward: Vec<Code>,
    /// Planes that hold something when a step is done.
    pub(super) kept: usize,
}

impl Program {
    /// Compiles a formula.
    pub fn new(description: &Description) -> Result<Self, Error> {
        Ok(Self::compile(description)?.0)
    }

    /// The same, with what it was made of.
    pub fn compile(description: &Description) -> Result<(Self, Scheme, Wanted), Error> {
        let mut scheme = Scheme::new(description)?;
        let last = scheme.layout.stages() - 1;
        let d = scheme.differentiate();
        let kept = scheme.choose_kept(&d);
        let (planes, count) = scheme.place(&kept)?;
        let forward: Vec<Code> = (0..=last).map(|stage| scheme.forward(stage, &planes)).collect();
        let forward_alone = forward[last].alone();
        let backward = (0..=last).map(|stage| scheme.backward(stage, &planes, &d)).collect();
        let layout = scheme.layout.with_planes(count);
        Ok((Program { layout, forward, forward_alone, backward, kept: count }, scheme, d))
    }
}

impl<T: Real> Elementwise<T> for Program {
    // Never asked for: it is not short.
    type Cell = Tanh;
    const SHORT: bool = false;

    fn layout(&self) -> &Layout {
        &self.layout
    }
    fn scratch(&self, stride: usize) -> usize {
        let all = self.forward.iter().chain(&self.backward);
        all.map(|code| run::scratch::<T>(code, stride)).max().unwrap_or(0)
    }

    #[inline(always)]
    fn forward<S: Simd<T>>(&self, s: S, work: Forth<'_, T>) {
        let Forth { shape, stage, rows, keep, slots, states, .. } = work;
        let Forth { unprojected, parameters, scratch, .. } = work;
        let alone = !keep && stage + 1 == self.forward.len();
        let code = if alone { &self.forward_alone } else { &self.forward[stage] };
        let memory = Memory {
            shape,
            planes: slots,
            kept: &[],
            states,
            unprojected: unprojected.map_or(Unprojected::Nothing, Unprojected::New),
            before: States { data: &[], rows: 0, first: 0 },
            parameters,
            scratch,
        };
        run::run(s, code, rows, memory);
    }

    #[inline(always)]
    fn backward<S: Simd<T>>(&self, s: S, work: Back<'_, T>) {
        let Back { shape, stage, rows, slots, before, d_states, .. } = work;
        let Back { d_unprojected, d_slots, parameters, scratch, .. } = work;
        let memory = Memory {
            shape,
            planes: d_slots,
            kept: slots,
            states: d_states,
            unprojected: d_unprojected.map_or(Unprojected::Nothing, Unprojected::Derivative),
            before,
            parameters,
            scratch,
        };
        run::run(s, &self.backward[stage], rows, memory);
    }
}
