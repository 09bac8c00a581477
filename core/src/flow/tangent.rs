//! Tangents of a layer's state, carried with time.

use super::jacobian::{Jacobians, count};
use super::scale::{excess, largest};
use super::{Recorded, steps_between};
use crate::batch::{self, Interrupt};
use crate::error::Error;
use crate::kernel::buffer::{size, zeros};
use crate::net::network::Network;
use crate::net::tape::{ShardTrace, Tape};
use crate::real::Real;
use crate::simd::{Kernel, Simd};
use crate::time::Passes;
use crate::train::reduce::{dot, subtract_multiple};
use alloc::vec::Vec;

impl<T: Passes> Network<T> {
    /// Tangents u of s_k to those of s_t: ∂s_t/∂s_k u, with the layer's inputs held fixed; (m, B, S) in and out.
    /// k ≤ t; in the reverse direction k ≥ t. Each step's Jacobian is formed, their product never; sums
    /// run in `f64`.
    ///
    /// Zero where nothing crosses: with a reset between, or past a row's end.
    ///
    /// # Errors
    /// As [`pull_back`](Self::pull_back).
    pub fn push_forward(
        &self,
        tape: &Tape<T>,
        cell: usize,
        (t, k): (usize, usize),
        u: &[T],
        interrupt: Interrupt<'_>,
    ) -> Result<Vec<T>, Error> {
        let layer = Recorded::new(self, tape, cell)?;
        layer.check_pair(t, k)?;
        let (batch, s) = (tape.batch, layer.state());
        let m = count(u, batch, s)?;
        let work = self.work(t.abs_diff(k), batch).saturating_mul(s);
        let done = batch::run(rows(tape), work, |(shard, b)| {
            let mut tangents = Tangents::new(&layer, m)?;
            if b >= shard.shard.packing().count(t.max(k)) {
                return Ok((shard, b, tangents));
            }
            for (i, to) in tangents.rows.chunks_mut(s).enumerate() {
                let from = &u[(i * batch + shard.shard.rows[b]) * s..][..s];
                to.iter_mut().zip(from).for_each(|(to, u)| *to = u.to_f64());
            }
            let mut exponents = zeros_of(m)?;
            for step in steps_between(t, k).rev() {
                batch::poll(interrupt)?;
                tangents.step(&layer, shard, step, b);
                for (row, exponent) in tangents.rows.chunks_mut(s).zip(&mut exponents) {
                    let n = excess(largest(row)).unwrap_or(0);
                    if n != 0 {
                        super::scale::shift(row, -n);
                        *exponent += n;
                    }
                }
            }
            for (row, exponent) in tangents.rows.chunks_mut(s).zip(exponents) {
                let factor = libm::ldexp(1.0, exponent);
                row.iter_mut().for_each(|u| *u *= factor);
            }
            Ok((shard, b, tangents))
        })?;
        let mut out = zeros(u.len(), "tangents")?;
        for (shard, b, tangents) in done {
            for (i, from) in tangents.rows.chunks(s).enumerate() {
                let to = &mut out[(i * batch + shard.shard.rows[b]) * s..][..s];
                to.iter_mut().zip(from).for_each(|(to, &u)| *to = T::from_f64(u));
            }
        }
        Ok(out)
    }

    /// Carries n orthonormal tangents along the whole tape and makes them orthonormal again after every step (Benettin
    /// et al. 1980): `q`, (B, n, S), goes to the tangents at the end, and the result, (T, B, n), is the logarithm
    /// of how much each grew at step t in what the ones before it leave free. Averaged over time these are the Lyapunov
    /// exponents of the layer driven by its inputs, the largest first. A tape may follow another, with the `q`
    /// that one gave.
    ///
    /// Gram and Schmidt's process is gone through twice, in `f64`. A tangent that vanishes (relu units that are
    /// off, a reset) stays zero, with −∞ from then on. Past a row's end there are zeros, and `q` stays.
    ///
    /// # Errors
    /// As [`step_jacobians`](Self::step_jacobians); `Length` and `Invalid` for `q`.
    pub fn lyapunov(
        &self,
        tape: &Tape<T>,
        cell: usize,
        q: &mut [f64],
        interrupt: Interrupt<'_>,
    ) -> Result<Vec<f64>, Error> {
        let layer = Recorded::new(self, tape, cell)?;
        let (steps, batch, s) = (tape.steps, tape.batch, layer.state());
        let n = q.len() / size(&[batch, s], "tangents")?.max(1);
        if q.len() != n * batch * s {
            let expected = (n + 1) * batch * s;
            return Err(Error::Length { argument: "q", expected, got: q.len() });
        }
        if n > s {
            let expected = "no more tangents than the state has values";
            return Err(Error::Invalid { argument: "q", expected });
        }
        let work = self.work(steps, batch).saturating_mul(s);
        let done = batch::run(rows(tape), work, |(shard, b)| {
            let mut tangents = Tangents::new(&layer, n)?;
            tangents.rows.copy_from_slice(&q[shard.shard.rows[b] * n * s..][..n * s]);
            let count = (0..steps).take_while(|&t| b < shard.shard.packing().count(t)).count();
            let mut logs = zeros(size(&[count, n], "exponents")?, "exponents")?;
            for step in 0..count {
                batch::poll(interrupt)?;
                let step = if layer.reverse() { count - 1 - step } else { step };
                tangents.step(&layer, shard, step, b);
                let logs = &mut logs[step * n..][..n];
                let rows = &mut tangents.rows;
                T::dispatch(self.level(), Orthonormalise { rows, s, logs });
            }
            Ok((shard.shard.rows[b], tangents, logs))
        })?;
        let mut out = zeros(size(&[steps, batch, n], "exponents")?, "exponents")?;
        for (b, tangents, logs) in done {
            q[b * n * s..][..n * s].copy_from_slice(&tangents.rows);
            for (t, logs) in logs.chunks(n.max(1)).enumerate() {
                out[(t * batch + b) * n..][..n].copy_from_slice(logs);
            }
        }
        Ok(out)
    }
}

/// Every row of the batch: its shard, and its place there.
fn rows<T: Passes>(tape: &Tape<T>) -> Vec<(&ShardTrace<T>, usize)> {
    tape.shards.iter().flat_map(|s| (0..s.shard.rows.len()).map(move |b| (s, b))).collect()
}

fn zeros_of(n: usize) -> Result<Vec<i32>, Error> {
    let mut values = crate::kernel::buffer::room(n, "tangents")?;
    values.resize(n, 0);
    Ok(values)
}

/// Tangents of one row of the batch, and what a step of theirs needs.
struct Tangents<T: Passes> {
    rows: Vec<f64>,
    next: Vec<f64>,
    jacobian: Vec<T>,
    wide: Vec<f64>,
    jacobians: Jacobians<T>,
}

impl<T: Passes> Tangents<T> {
    fn new(layer: &Recorded<'_, T>, count: usize) -> Result<Self, Error> {
        let (s, what) = (layer.state(), "tangents");
        let (rows, square) = (size(&[count, s], what)?, size(&[s, s], what)?);
        Ok(Tangents {
            rows: zeros(rows, what)?,
            next: zeros(rows, what)?,
            jacobian: zeros(square, what)?,
            wide: zeros(square, what)?,
            jacobians: Jacobians::new(layer, s)?,
        })
    }

    /// Through step t of a shard's row b.
    fn step(&mut self, layer: &Recorded<'_, T>, shard: &ShardTrace<T>, t: usize, b: usize) {
        if layer.pass(&shard.shard).is_cut(t, b) {
            self.rows.fill(0.0);
            return;
        }
        let Tangents { rows, next, jacobian, wide, jacobians } = self;
        jacobians.of(layer, shard, t, b, jacobian);
        wide.iter_mut().zip(&*jacobian).for_each(|(wide, x)| *wide = x.to_f64());
        let s = layer.state();
        T::dispatch(layer.net.level(), Apply { jacobian: wide, from: rows, to: next, s });
        core::mem::swap(rows, next);
    }
}

/// A matrix applied to rows.
struct Apply<'a> {
    jacobian: &'a [f64],
    from: &'a [f64],
    to: &'a mut [f64],
    s: usize,
}

impl<T: Real> Kernel<T> for Apply<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, _: S) {
        let Self { jacobian, from, to, s } = self;
        for (from, to) in from.chunks_exact(s).zip(to.chunks_exact_mut(s)) {
            for (row, to) in jacobian.chunks_exact(s).zip(to) {
                *to = dot(row, from);
            }
        }
    }
}

/// Makes rows orthonormal, one after another, and notes the logarithms of what is left of each.
struct Orthonormalise<'a> {
    rows: &'a mut [f64],
    s: usize,
    logs: &'a mut [f64],
}

impl<T: Real> Kernel<T> for Orthonormalise<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, _: S) {
        let Self { rows, s, logs } = self;
        for (i, log) in logs.iter_mut().enumerate() {
            let (before, rest) = rows.split_at_mut(i * s);
            let row = &mut rest[..s];
            // What is left of a vector may be small beside what was taken away, and its errors are not: a second
            // time takes those away. Lengths multiply: the second is 1 but for rounding.
            *log = 0.0;
            for _ in 0..2 {
                for other in before.chunks_exact(s) {
                    let along = dot(other, row);
                    subtract_multiple(row, along, other);
                }
                let length = libm::sqrt(dot(row, row));
                *log += libm::log(length);
                if length > 0.0 {
                    row.iter_mut().for_each(|x| *x /= length);
                }
            }
        }
    }
}
