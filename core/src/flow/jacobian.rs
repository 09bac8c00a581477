//! Jacobians of a layer's own recurrence, and cotangents pulled back through it.

use super::front::{BLOCK, Front, Route, Work};
use super::{Recorded, steps_between};
use crate::batch::{self, Interrupt};
use crate::error::Error;
use crate::kernel::buffer::room;
use crate::kernel::buffer::{size, zeros};
use crate::net::network::Network;
use crate::net::tape::{ShardTrace, Tape};
use crate::real::Real;
use crate::time::Passes;
use alloc::vec::Vec;
use core::ops::Range;

impl<T: Passes> Network<T> {
    /// The Jacobian of every step of one layer in one direction (`cell` = layer · directions + direction):
    /// (T, B, S, S), row i of (t, b) being the derivative of s_t's i-th value by s_{t−1} (reverse: by s_{t+1}), with the
    /// layer's inputs held fixed. The state s is all the cell carries: h, or an LSTM's (h, c).
    ///
    /// Zero where nothing crosses: at a reset and past a row's end. At a row's first step it is the derivative by the
    /// initial state.
    ///
    /// # Errors
    /// `Invalid` for a tape with checkpoints or of other parameters and for a `cell` there is not; `TooLarge`;
    /// `Interrupted`.
    pub fn step_jacobians(
        &self,
        tape: &Tape<T>,
        cell: usize,
        interrupt: Interrupt<'_>,
    ) -> Result<Vec<T>, Error> {
        let layer = Recorded::new(self, tape, cell)?;
        let s = layer.state();
        let mut out = zeros(size(&[tape.steps, tape.batch, s, s], "Jacobians")?, "Jacobians")?;
        let step = (tape.batch * s * s).max(1);
        let work = self.work(tape.steps, tape.batch).saturating_mul(s);
        batch::run(out.chunks_mut(step).enumerate().collect(), work, |(t, out)| {
            batch::poll(interrupt)?;
            let mut jacobians = Jacobians::new(&layer, s)?;
            for shard in &tape.shards {
                let pass = layer.pass(&shard.shard);
                for b in (0..pass.rows.count(t)).filter(|&b| !pass.is_cut(t, b)) {
                    let at = shard.shard.rows[b] * s * s;
                    jacobians.of(&layer, shard, t, b, &mut out[at..at + s * s]);
                }
            }
            Ok(())
        })?;
        Ok(out)
    }

    /// Cotangents v of s_t to those of s_k: vᵀ ∂s_t/∂s_k, with the layer's inputs held fixed; (m, B, S) in and out.
    /// k ≤ t; in the reverse direction k ≥ t. No Jacobian is formed; the unit vectors give ∂s_t/∂s_k itself.
    ///
    /// Zero where nothing crosses: with a reset between, or past a row's end.
    ///
    /// # Errors
    /// As [`step_jacobians`](Self::step_jacobians), `Range` and `Invalid` for `t` and `k`, `Length` for `v`.
    pub fn pull_back(
        &self,
        tape: &Tape<T>,
        cell: usize,
        (t, k): (usize, usize),
        v: &[T],
        interrupt: Interrupt<'_>,
    ) -> Result<Vec<T>, Error> {
        let layer = Recorded::new(self, tape, cell)?;
        layer.check_pair(t, k)?;
        let (batch, s) = (tape.batch, layer.state());
        let m = count(v, batch, s)?;
        let seed = |front: &mut Front<T>, row, i: usize, b: usize| {
            front.set(&layer.shape, row, &v[(i * batch + b) * s..][..s]);
        };
        let mut out = zeros(v.len(), "cotangents")?;
        carry(&layer, (t, k), m, seed, interrupt, |i, b| (i * batch + b) * s, &mut out)?;
        Ok(out)
    }

    /// The product of the steps' Jacobians, ∂s_t/∂s_k = J_t … J_{k+1}, with the layer's inputs held fixed: (B, S, S).
    /// Carried in `T`, times powers of two: it neither vanishes nor overflows before `f64` does.
    ///
    /// # Errors
    /// As [`pull_back`](Self::pull_back).
    pub fn transition(
        &self,
        tape: &Tape<T>,
        cell: usize,
        (t, k): (usize, usize),
        interrupt: Interrupt<'_>,
    ) -> Result<Vec<f64>, Error> {
        let layer = Recorded::new(self, tape, cell)?;
        layer.check_pair(t, k)?;
        let s = layer.state();
        let seed = |front: &mut Front<T>, row, i, _| front.set_unit(&layer.shape, row, i);
        let mut out = zeros(size(&[tape.batch, s, s], "Jacobians")?, "Jacobians")?;
        carry(&layer, (t, k), s, seed, interrupt, |i, b| (b * s + i) * s, &mut out)?;
        Ok(out)
    }
}

/// Carries `m` cotangents for each row of the batch from s_t to s_k: `seed` sets them, `at` says where in `out` they
/// go to.
fn carry<T: Passes, U: Real>(
    layer: &Recorded<'_, T>,
    (t, k): (usize, usize),
    m: usize,
    seed: impl Fn(&mut Front<T>, usize, usize, usize) + Sync,
    interrupt: Interrupt<'_>,
    at: impl Fn(usize, usize) -> usize,
    out: &mut [U],
) -> Result<(), Error> {
    let (tape, shape, s) = (layer.tape, &layer.shape, layer.state());
    // As many cotangents of all a shard's rows at a time as make a block.
    let mut items: Vec<(&ShardTrace<T>, Range<usize>)> = Vec::new();
    for shard in &tape.shards {
        let at_once = (BLOCK / shard.shard.rows.len().max(1)).max(1);
        items.extend((0..m).step_by(at_once).map(|i| (shard, i..m.min(i + at_once))));
    }
    let work = layer.net.work(t.abs_diff(k), tape.batch).saturating_mul(m);
    let done = batch::run(items, work, |(shard, own)| {
        let pass = layer.pass(&shard.shard);
        // Rows that run at both steps.
        let n = pass.rows.count(t.max(k));
        let mut front = Front::new(shape, own.len() * n)?;
        let mut places = room(own.len() * n, "cotangents")?;
        let mut work = Work::new(layer, own.len() * n)?;
        for (i, b) in own.clone().flat_map(|i| (0..n).map(move |b| (i, b))) {
            let row = (i - own.start) * n + b;
            seed(&mut front, row, i, shard.shard.rows[b]);
            places.push(Route { cotangent: row, tape: 0, cut: false });
        }
        if n > 0 {
            for step in steps_between(t, k) {
                batch::poll(interrupt)?;
                for (row, place) in places.iter_mut().enumerate() {
                    place.tape = pass.rows.offsets[step] + row % n;
                    place.cut = pass.is_cut(step, row % n);
                }
                work.pull(layer, layer.trace(shard), &mut front, &places);
                front.settle(shape, &places);
            }
        }
        Ok((shard, own, n, front))
    })?;
    for (shard, own, n, mut front) in done {
        for (i, b) in own.clone().flat_map(|i| (0..n).map(move |b| (i, b))) {
            let to = &mut out[at(i, shard.shard.rows[b])..][..s];
            front.get(shape, (i - own.start) * n + b, to);
        }
    }
    Ok(())
}

/// How many vectors of S values for each of `batch` rows.
pub(super) fn count<T>(v: &[T], batch: usize, s: usize) -> Result<usize, Error> {
    let each = size(&[batch, s], "cotangents")?;
    if each == 0 {
        return Ok(0);
    }
    let (m, got) = (v.len() / each, v.len());
    if m * each != got {
        return Err(Error::Length { argument: "v", expected: (m + 1) * each, got });
    }
    Ok(m)
}

/// Jacobians of single steps, out of S unit cotangents.
pub(super) struct Jacobians<T: Passes> {
    front: Front<T>,
    work: Work<T>,
    places: Vec<Route>,
}

impl<T: Passes> Jacobians<T> {
    pub fn new(layer: &Recorded<'_, T>, s: usize) -> Result<Self, Error> {
        let count = s.min(BLOCK);
        Ok(Jacobians {
            front: Front::new(&layer.shape, count)?,
            work: Work::new(layer, count)?,
            places: room(count, "Jacobians")?,
        })
    }

    /// That of step t of a shard's row b, cut or not.
    pub fn of(
        &mut self,
        layer: &Recorded<'_, T>,
        shard: &ShardTrace<T>,
        t: usize,
        b: usize,
        out: &mut [T],
    ) {
        let s = layer.state();
        let tape = shard.shard.offsets[t] + b;
        let Jacobians { front, work, places } = self;
        for (block, out) in out.chunks_mut(BLOCK * s).enumerate() {
            places.clear();
            for row in 0..out.len() / s {
                front.set_unit(&layer.shape, row, block * BLOCK + row);
                places.push(Route { cotangent: row, tape, cut: false });
            }
            work.pull(layer, layer.trace(shard), front, places);
            for (row, out) in out.chunks_mut(s).enumerate() {
                front.get(&layer.shape, row, out);
            }
        }
    }
}
