//! Rows of cotangents on their way back.

use super::Recorded;
use super::scale::{self, NOTHING, excess, largest, shift};
use crate::cell::{Projection, Step};
use crate::error::Error;
use crate::kernel::buffer::Buffer;
use crate::kernel::shape::Shape;
use crate::math::Accurate;
use crate::real::Real;
use crate::sequence::{Passes, PullBack};
use crate::tape::{Trace, dirty_rows, room, rows};
use alloc::vec::Vec;
use core::ops::Range;

/// Rows that go through a step together: their derivatives stay in cache between their making and use.
pub const BLOCK: usize = 256;

/// Cotangents of one layer's state, padded rows of h and of c, each times a power of two.
pub struct Front<T: Real> {
    pub d_h: Buffer<T>,
    /// Empty where the cell has no c.
    pub d_c: Buffer<T>,
    pub exponents: Vec<i32>,
}

/// Which cotangent goes through which step.
#[derive(Clone, Copy)]
pub struct Place {
    /// Row of the front.
    pub cotangent: usize,
    /// Packed row of the tape.
    pub tape: usize,
    /// Whether the state before the step was cut to zero.
    pub cut: bool,
}

impl<T: Real> Front<T> {
    /// `count` cotangents, all zero.
    pub fn new(shape: &Shape, count: usize) -> Result<Self, Error> {
        let what = "cotangents";
        let with_c = if shape.kind.has_cell_state() { count } else { 0 };
        let mut exponents = room(count, what)?;
        exponents.resize(count, NOTHING);
        let d_h = rows(count, shape.state_stride, what)?;
        Ok(Front { d_h, d_c: rows(with_c, shape.stride, what)?, exponents })
    }

    /// The rows of h and c of a cotangent, and its exponent.
    pub fn row(&mut self, shape: &Shape, at: usize) -> (&mut [T], &mut [T], &mut i32) {
        let (h, c) = (shape.state_stride, if self.d_c.is_empty() { 0 } else { shape.stride });
        let d_h = &mut self.d_h[at * h..(at + 1) * h];
        (d_h, &mut self.d_c[at * c..(at + 1) * c], &mut self.exponents[at])
    }

    /// A cotangent becomes the `at`-th unit vector of the state.
    pub fn set_unit(&mut self, shape: &Shape, row: usize, at: usize) {
        let (d_h, d_c, exponent) = self.row(shape, row);
        d_h.fill(T::ZERO);
        d_c.fill(T::ZERO);
        *exponent = 0;
        match at.checked_sub(shape.state) {
            None => d_h[at] = T::ONE,
            Some(at) => d_c[at] = T::ONE,
        }
    }

    /// A cotangent becomes `v`, values of the state.
    pub fn set(&mut self, shape: &Shape, row: usize, v: &[T]) {
        let (d_h, d_c, exponent) = self.row(shape, row);
        let (h, c) = v.split_at(shape.state);
        d_h[..h.len()].copy_from_slice(h);
        if !d_c.is_empty() {
            d_c[..c.len()].copy_from_slice(c);
        }
        *exponent = 0;
        self.settle_row(shape, row, false);
    }

    /// The values of a cotangent.
    pub fn get<U: Real>(&mut self, shape: &Shape, row: usize, v: &mut [U]) {
        let (d_h, d_c, exponent) = self.row(shape, row);
        let (h, c) = v.split_at_mut(shape.state);
        // Not `power`: here even what is far below 1 is to be seen.
        let factor = if *exponent == NOTHING { 0.0 } else { libm::ldexp(1.0, *exponent) };
        for (to, from) in [(h, d_h), (c, d_c)] {
            to.iter_mut().zip(from).for_each(|(to, d)| *to = U::from_f64(d.to_f64() * factor));
        }
    }

    /// Adds a derivative by the layer's outputs, both directions' side by side, times a power of two.
    pub fn add(&mut self, layer: &Recorded<'_, T>, row: usize, d_y: &[T], other: i32)
    where
        T: Passes,
    {
        let shape = &layer.shape;
        let (d_h, d_c, exponent) = self.row(shape, row);
        if other > *exponent {
            shift(d_c, exponent.saturating_sub(other));
        }
        let d_y = &d_y[layer.direction * shape.state..][..shape.state];
        scale::add(d_h, exponent, d_y, other);
    }

    /// After a step: what is cut becomes zero, and rows that leave the range of numbers go on times another power.
    pub fn settle(&mut self, shape: &Shape, places: &[Place]) {
        for place in places {
            self.settle_row(shape, place.cotangent, place.cut);
        }
    }

    fn settle_row(&mut self, shape: &Shape, row: usize, cut: bool) {
        let (d_h, d_c, exponent) = self.row(shape, row);
        if cut {
            d_h.fill(T::ZERO);
            d_c.fill(T::ZERO);
            *exponent = NOTHING;
            return;
        }
        let (h, c) = (largest(d_h), largest(d_c));
        match excess(if h > c { h } else { c }) {
            // NaN is larger than nothing, and smaller.
            None if d_h.iter().chain(&*d_c).all(|x| *x == T::ZERO) => *exponent = NOTHING,
            None | Some(0) => {}
            Some(n) => {
                shift(d_h, -n);
                shift(d_c, -n);
                *exponent += n;
            }
        }
    }
}

/// Memory for the steps of a block of rows, and what the last one gave.
pub struct Work<T: Real> {
    h: Buffer<T>,
    c: Buffer<T>,
    gates: Buffer<T>,
    d_h: Buffer<T>,
    d_c: Buffer<T>,
    scratch: Buffer<T>,
    /// Derivatives by the pre-activations, in the order of the places; so the others.
    pub d_gates: Buffer<T>,
    /// Total derivatives by h, where that is projected.
    pub d_projected: Buffer<T>,
    /// o ⊙ tanh(c), where h is projected.
    pub m: Buffer<T>,
}

/// The rows `of` takes from the places, if they are neighbours.
pub fn neighbours(places: &[Place], of: fn(&Place) -> usize) -> Option<Range<usize>> {
    let (first, last) = (of(places.first()?), of(places.last()?));
    (last.checked_sub(first)? + 1 == places.len()
        && places.windows(2).all(|pair| of(&pair[0]) + 1 == of(&pair[1])))
    .then_some(first..last + 1)
}

/// Rows of `row` numbers taken from the places: where they lie, if they are neighbours there, or copied to `to`.
pub fn gather<'a, T: Real>(
    from: &'a [T],
    to: &'a mut [T],
    row: usize,
    places: &[Place],
    of: fn(&Place) -> usize,
) -> &'a [T] {
    if from.is_empty() {
        return from;
    }
    if let Some(rows) = neighbours(places, of) {
        return &from[rows.start * row..rows.end * row];
    }
    for (to, place) in to.chunks_mut(row).zip(places) {
        to.copy_from_slice(&from[of(place) * row..][..row]);
    }
    to
}

impl<T: Passes> Work<T> {
    /// For up to `count` rows.
    pub fn new(shape: &Shape, count: usize) -> Result<Self, Error> {
        let what = "scratch";
        let with_c = if shape.kind.has_cell_state() { count } else { 0 };
        let projected = if shape.projected { count } else { 0 };
        Ok(Work {
            h: dirty_rows(count, shape.state_stride, what)?,
            c: dirty_rows(with_c, shape.stride, what)?,
            gates: dirty_rows(count, shape.row(), what)?,
            d_h: dirty_rows(count, shape.state_stride, what)?,
            d_c: dirty_rows(with_c, shape.stride, what)?,
            scratch: dirty_rows(count, shape.stride, what)?,
            d_gates: rows(count, shape.row(), what)?,
            d_projected: dirty_rows(projected, shape.state_stride, what)?,
            m: dirty_rows(projected, shape.stride, what)?,
        })
    }

    /// Each place's cotangent, back through its step; exponents stay, and so does what is to be cut.
    pub fn pull(
        &mut self,
        layer: &Recorded<'_, T>,
        trace: &Trace<T>,
        front: &mut Front<T>,
        places: &[Place],
    ) {
        let (shape, n) = (&layer.shape, places.len());
        let (h_row, c_row, row) = (shape.state_stride, shape.stride, shape.row());
        let tape: fn(&Place) -> usize = |place| place.tape;
        let step = Step {
            gates: gather(&trace.gates, &mut self.gates, row, places, tape),
            h: gather(&trace.h, &mut self.h, h_row, places, tape),
            c: gather(&trace.c, &mut self.c, c_row, places, tape),
        };
        let own = neighbours(places, |place| place.cotangent);
        let (d_h, d_c) = match &own {
            Some(own) => {
                let c = if front.d_c.is_empty() { 0 } else { c_row };
                (
                    &mut front.d_h[own.start * h_row..own.end * h_row],
                    &mut front.d_c[own.start * c..own.end * c],
                )
            }
            None => {
                let cotangent: fn(&Place) -> usize = |place| place.cotangent;
                gather(&front.d_h, &mut self.d_h, h_row, places, cotangent);
                gather(&front.d_c, &mut self.d_c, c_row, places, cotangent);
                (&mut self.d_h[..], &mut self.d_c[..])
            }
        };
        let projection = shape
            .projected
            .then_some(Projection { d_projected: &mut self.d_projected, m: &mut self.m });
        let rows = PullBack {
            shape,
            weights: layer.net.packed[layer.cell()].transposed(),
            math: Accurate,
            rows: n,
            step,
            d_h,
            d_c,
            d_gates: &mut self.d_gates,
            scratch: &mut self.scratch,
            projection,
        };
        T::pull_back(layer.net.level(), rows);
        if own.is_none() {
            scatter(&self.d_h, &mut front.d_h, h_row, places);
            scatter(&self.d_c, &mut front.d_c, c_row, places);
        }
    }
}

fn scatter<T: Real>(from: &[T], to: &mut [T], row: usize, places: &[Place]) {
    for (from, place) in from.chunks(row).zip(places) {
        to[place.cotangent * row..][..row].copy_from_slice(from);
    }
}
