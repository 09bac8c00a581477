//! Rows of cotangents on their way back.

use super::Recorded;
use super::scale::{self, NOTHING, excess, largest, shift};
use crate::cell::{Scratch, Step};
use crate::error::Error;
use crate::kernel::buffer::Buffer;
use crate::kernel::buffer::{dirty_rows, room, rows};
use crate::kernel::shape::Shape;
use crate::kernel::states::{States, StatesMut};
use crate::net::tape::DirectionTrace;
use crate::real::Real;
use crate::time::{Passes, PullBack};
use alloc::vec::Vec;
use core::ops::Range;

/// Rows that go through a step together: their derivatives stay in cache between their making and use.
pub const BLOCK: usize = 256;

/// Cotangents of one layer's states, padded rows, each times a power of two.
pub struct Front<T: Real> {
    d_states: Buffer<T>,
    pub exponents: Vec<i32>,
}

/// Which cotangent goes through which step.
#[derive(Clone, Copy)]
pub struct Route {
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
        let mut exponents = room(count, what)?;
        exponents.resize(count, NOTHING);
        Ok(Front { d_states: rows(count, shape.states_len(1), what)?, exponents })
    }

    /// The row of one state of a cotangent.
    fn row(&mut self, shape: &Shape, at: usize, state: usize) -> &mut [T] {
        let (begin, row) = (shape.state_at(self.exponents.len(), state), shape.state_row(state));
        &mut self.d_states[begin + at * row..][..row]
    }

    /// Each state's row of a cotangent, and the values of it among those of `v`.
    fn each<U>(
        &mut self,
        shape: &Shape,
        at: usize,
        v: &mut [U],
        mut act: impl FnMut(&mut [T], &mut [U]),
    ) {
        let mut rest = v;
        for state in 0..shape.layout.states() {
            let len = if state == 0 { shape.state } else { shape.hidden };
            let (own, others) = rest.split_at_mut(len);
            act(&mut self.row(shape, at, state)[..len], own);
            rest = others;
        }
    }

    /// A cotangent becomes zero.
    fn clear(&mut self, shape: &Shape, at: usize) {
        for state in 0..shape.layout.states() {
            self.row(shape, at, state).fill(T::ZERO);
        }
    }

    /// A cotangent becomes the `at`-th unit vector of the states.
    pub fn set_unit(&mut self, shape: &Shape, row: usize, at: usize) {
        self.clear(shape, row);
        self.exponents[row] = 0;
        let (state, at) = match at.checked_sub(shape.state) {
            None => (0, at),
            Some(at) => (1 + at / shape.hidden, at % shape.hidden),
        };
        self.row(shape, row, state)[at] = T::ONE;
    }

    /// A cotangent becomes `v`, values of the states.
    pub fn set(&mut self, shape: &Shape, row: usize, v: &[T]) {
        let mut rest = v;
        for state in 0..shape.layout.states() {
            let (own, others) = rest.split_at(if state == 0 { shape.state } else { shape.hidden });
            self.row(shape, row, state)[..own.len()].copy_from_slice(own);
            rest = others;
        }
        self.exponents[row] = 0;
        self.settle_row(shape, row, false);
    }

    /// The values of a cotangent.
    pub fn get<U: Real>(&mut self, shape: &Shape, row: usize, v: &mut [U]) {
        let exponent = self.exponents[row];
        // Not `power`: here even what is far below 1 is to be seen.
        let factor = if exponent == NOTHING { 0.0 } else { libm::ldexp(1.0, exponent) };
        self.each(shape, row, v, |from, to| {
            to.iter_mut().zip(from).for_each(|(to, d)| *to = U::from_f64(d.to_f64() * factor));
        });
    }

    /// Adds a derivative by the layer's outputs, both directions' side by side, times a power of two.
    pub fn add(&mut self, layer: &Recorded<'_, T>, row: usize, d_y: &[T], other: i32)
    where
        T: Passes,
    {
        let shape = &layer.shape;
        let mut exponent = self.exponents[row];
        if other > exponent {
            for state in 1..shape.layout.states() {
                shift(self.row(shape, row, state), exponent.saturating_sub(other));
            }
        }
        let d_y = &d_y[layer.direction * shape.state..][..shape.state];
        scale::add(self.row(shape, row, 0), &mut exponent, d_y, other);
        self.exponents[row] = exponent;
    }

    /// After a step: what is cut becomes zero, and rows that leave the range of numbers go on times another power.
    pub fn settle(&mut self, shape: &Shape, places: &[Route]) {
        for place in places {
            self.settle_row(shape, place.cotangent, place.cut);
        }
    }

    fn settle_row(&mut self, shape: &Shape, row: usize, cut: bool) {
        if cut {
            self.clear(shape, row);
            self.exponents[row] = NOTHING;
            return;
        }
        let states = 0..shape.layout.states();
        let mut most = T::ZERO;
        for state in states.clone() {
            let own = largest(self.row(shape, row, state));
            if own > most {
                most = own;
            }
        }
        match excess(most) {
            // NaN is larger than nothing, and smaller.
            None if states
                .clone()
                .all(|state| self.row(shape, row, state).iter().all(|x| *x == T::ZERO)) =>
            {
                self.exponents[row] = NOTHING;
            }
            None | Some(0) => {}
            Some(n) => {
                states.for_each(|state| shift(self.row(shape, row, state), -n));
                self.exponents[row] += n;
            }
        }
    }
}

/// Memory for the steps of a block of rows, and what the last one gave.
pub struct Work<T: Real> {
    /// Rows there is room for.
    count: usize,
    before: Buffer<T>,
    slots: Buffer<T>,
    d_states: Buffer<T>,
    of_step: [Buffer<T>; 2],
    /// Derivatives by the pre-activations, in the order of the places.
    pub d_slots: Buffer<T>,
    /// Total derivatives by h, where that is projected.
    pub d_projected: Buffer<T>,
}

/// The rows `of` takes from the places, if they are neighbours.
pub fn neighbours(places: &[Route], of: fn(&Route) -> usize) -> Option<Range<usize>> {
    let (first, last) = (of(places.first()?), of(places.last()?));
    (last.checked_sub(first)? + 1 == places.len()
        && places.windows(2).all(|pair| of(&pair[0]) + 1 == of(&pair[1])))
    .then_some(first..last + 1)
}

/// Rows of `row` numbers taken from the places: where they lie, if they are neighbours there, or copied to `to`. The
/// last row of all may end early, where rows begin behind others' beginnings.
pub fn gather<'a, T: Real>(
    from: &'a [T],
    to: &'a mut [T],
    row: usize,
    places: &[Route],
    of: fn(&Route) -> usize,
) -> &'a [T] {
    if from.is_empty() {
        return from;
    }
    if let Some(rows) = neighbours(places, of) {
        return &from[rows.start * row..from.len().min(rows.end * row)];
    }
    for (to, place) in to.chunks_mut(row).zip(places) {
        let from = &from[of(place) * row..];
        let len = row.min(from.len());
        to[..len].copy_from_slice(&from[..len]);
    }
    to
}

impl<T: Passes> Work<T> {
    /// For up to `count` rows of a layer.
    pub fn new(layer: &Recorded<'_, T>, count: usize) -> Result<Self, Error> {
        let (what, shape) = ("scratch", &layer.shape);
        let projected = if shape.projected { count } else { 0 };
        Ok(Work {
            count,
            before: dirty_rows(count, shape.states_len(1), what)?,
            slots: dirty_rows(count, shape.row(), what)?,
            d_states: dirty_rows(count, shape.states_len(1), what)?,
            of_step: layer.net.scratch(shape, count)?,
            d_slots: rows(count, shape.row(), what)?,
            d_projected: dirty_rows(projected, shape.state_stride, what)?,
        })
    }

    /// Each place's cotangent, back through its step; exponents stay, and so does what is to be cut.
    pub fn pull(
        &mut self,
        layer: &Recorded<'_, T>,
        trace: &DirectionTrace<T>,
        front: &mut Front<T>,
        places: &[Route],
    ) {
        let (shape, n) = (&layer.shape, places.len());
        let tape: fn(&Route) -> usize = |place| place.tape;
        let own: fn(&Route) -> usize = |place| place.cotangent;
        let before = match neighbours(places, tape) {
            Some(rows) => States { data: &trace.before, rows: trace.rows, first: rows.start },
            None => {
                copy_rows(
                    shape,
                    (&trace.before, trace.rows),
                    (&mut self.before, self.count),
                    places,
                    tape,
                );
                States { data: &self.before, rows: self.count, first: 0 }
            }
        };
        let slots = gather(&trace.slots, &mut self.slots, shape.row(), places, tape);
        let all = front.exponents.len();
        let there = neighbours(places, own);
        let d_states = match &there {
            Some(rows) => StatesMut { data: &mut front.d_states, rows: all, first: rows.start },
            None => {
                let to = (&mut self.d_states[..], self.count);
                copy_rows(shape, (&front.d_states, all), to, places, own);
                StatesMut { data: &mut self.d_states, rows: self.count, first: 0 }
            }
        };
        let [row, cell] = &mut self.of_step;
        let rows = PullBack {
            shape,
            weights: layer.net.packed[layer.cell()].transposed(),
            rows: n,
            step: Step { slots, before, ahead: None },
            d_states,
            d_slots: &mut self.d_slots,
            scratch: Scratch { row, cell },
            d_projected: &mut self.d_projected,
        };
        layer.net.back(|cell| cell.pull_back(layer.net.level(), rows));
        if there.is_none() {
            for state in 0..shape.layout.states() {
                let row = shape.state_row(state);
                let from = &self.d_states[shape.state_at(self.count, state)..];
                scatter(from, &mut front.d_states[shape.state_at(all, state)..], row, places);
            }
        }
    }
}

/// The rows of all states that the places take, from states of so many rows to others.
fn copy_rows<T: Real>(
    shape: &Shape,
    (from, all): (&[T], usize),
    (to, count): (&mut [T], usize),
    places: &[Route],
    of: fn(&Route) -> usize,
) {
    for state in 0..shape.layout.states() {
        let row = shape.state_row(state);
        let from = &from[shape.state_at(all, state)..];
        let to = &mut to[shape.state_at(count, state)..];
        for (to, place) in to.chunks_mut(row).zip(places) {
            to.copy_from_slice(&from[of(place) * row..][..row]);
        }
    }
}

fn scatter<T: Real>(from: &[T], to: &mut [T], row: usize, places: &[Route]) {
    for (from, place) in from.chunks(row).zip(places) {
        to[place.cotangent * row..][..row].copy_from_slice(from);
    }
}
