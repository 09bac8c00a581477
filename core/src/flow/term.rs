//! A term of a parameter's gradient: derivatives ⊗ what the parameter multiplies, summed over the batch.

use super::scale::{self, NOTHING};
use crate::cell::Outer;
use crate::error::Error;
use crate::gates::{Parameter, Role};
use crate::kernel::buffer::Buffer;
use crate::kernel::buffer::{dirty_rows, rows};
use crate::kernel::layout::{MOST_MAPS, Slots};
use crate::kernel::shape::Shape;
use crate::net::gradients::Sums;
use crate::real::Real;
use crate::simd::{Kernel, Level, Simd};
use crate::time::Passes;
use crate::train::global_norm;
use crate::train::reduce::dot;

/// What a weight multiplies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// x
    Input,
    /// h before the step.
    State,
    /// The value in a slot: r ⊙ h, in the original GRU.
    Value(u8),
    /// 1: the weight is a bias.
    One,
    /// What is projected to h.
    Unprojected,
}

/// Weights with a common source: which derivatives go with it.
#[derive(Clone, Copy)]
pub struct Part {
    pub source: Source,
    pub slots: Slots,
}

/// Parts of a parameter at the most: a matrix of maps of h, and the maps of values.
pub const MOST_PARTS: usize = 1 + MOST_MAPS;

/// The parameter whose terms are asked for.
#[derive(Clone, Copy)]
pub struct Target {
    pub parameter: Parameter,
    pub shape: Shape,
    parts: [Part; MOST_PARTS],
    count: usize,
}

impl Target {
    pub fn new(parameter: Parameter, shape: Shape) -> Self {
        let layout = &shape.layout;
        let (source, slots) = match parameter.role {
            Role::WeightIh => (Source::Input, layout.x_slots()),
            Role::WeightHh => (Source::State, layout.h_slots()),
            Role::WeightHr => (Source::Unprojected, Slots { first: 0, count: 1 }),
            Role::BiasIh => (Source::One, layout.x_slots()),
            Role::BiasHh => (Source::One, layout.h_slots()),
            Role::WeightP => {
                (Source::One, Slots { first: layout.slots(), count: layout.parameters() })
            }
        };
        let mut parts = [Part { source, slots }; MOST_PARTS];
        let mut count = 1;
        for map in layout.maps() {
            let (first, last) = (map.to as usize, &mut parts[count - 1].slots);
            match parameter.role {
                Role::WeightHh => {
                    let slots = Slots { first, count: 1 };
                    parts[count] = Part { source: Source::Value(map.value), slots };
                    count += 1;
                }
                Role::BiasHh if first == last.first + last.count => last.count += 1,
                Role::BiasHh => {
                    parts[count] = Part { source, slots: Slots { first, count: 1 } };
                    count += 1;
                }
                _ => {}
            }
        }
        Target { parameter, shape, parts, count }
    }

    pub fn parts(&self) -> &[Part] {
        &self.parts[..self.count]
    }

    pub fn is_projection(&self) -> bool {
        self.parameter.role == Role::WeightHr
    }

    /// From one row of derivatives to the next: by the pre-activations, or by h where that is projected.
    pub fn row(&self) -> usize {
        if self.is_projection() { self.shape.state_stride } else { self.shape.row() }
    }

    /// From one slot of derivatives to the next.
    fn stride(&self) -> usize {
        if self.is_projection() { self.shape.state_stride } else { self.shape.stride }
    }

    /// The derivatives of a row that go with a part.
    pub fn derivatives<'a, T>(&self, part: &Part, row: &'a [T]) -> &'a [T] {
        &row[part.slots.first * self.stride()..][..part.slots.count * self.stride()]
    }

    /// Values of a source.
    pub fn values(&self, source: Source) -> usize {
        match source {
            Source::Input => self.shape.input,
            Source::State => self.shape.state,
            Source::Value(_) | Source::Unprojected => self.shape.hidden,
            Source::One => 1,
        }
    }

    /// Room for a sum of terms.
    pub fn sums<T: Real>(&self) -> Result<Sums<T>, Error> {
        let mut sums = Sums {
            input: Buffer::default(),
            state: Buffer::default(),
            maps: Buffer::default(),
            projection: Buffer::default(),
            bias: Buffer::default(),
        };
        let maps = self.shape.layout.maps().len();
        for part in self.parts() {
            let row = match part.source {
                Source::One => self.shape.row(),
                _ => self.shape.apart(part.slots.count * self.stride()),
            };
            let values = self.values(part.source);
            match part.source {
                Source::Input => sums.input = rows(values, row, "gradients")?,
                Source::State => sums.state = rows(values, row, "gradients")?,
                Source::Value(_) => sums.maps = rows(maps * values, row, "gradients")?,
                Source::One => sums.bias = rows(values, row, "gradients")?,
                Source::Unprojected => sums.projection = rows(values, row, "gradients")?,
            }
        }
        Ok(sums)
    }

    /// Adds a part of the terms of some rows: `derivatives` are rows of [`row`](Self::row), `values` a row for each and
    /// how far apart these are.
    pub fn add<T: Passes>(
        &self,
        level: Level,
        part: &Part,
        count: usize,
        derivatives: &[T],
        values: (&[T], usize),
        to: &mut Sums<T>,
    ) {
        let first = part.slots.first * self.stride();
        let out = match part.source {
            Source::Input => &mut to.input[..],
            Source::State => &mut to.state,
            Source::Value(slot) => {
                let len = self.shape.hidden * self.shape.apart(self.stride());
                let maps = self.shape.layout.maps();
                let at = maps.iter().position(|map| map.value == slot).unwrap_or(0) * len;
                &mut to.maps[at..at + len]
            }
            Source::One => &mut to.bias[first..],
            Source::Unprojected => &mut to.projection,
        };
        let outer = Outer {
            shape: &self.shape,
            rows: count,
            left: (values.0, values.1, self.values(part.source)),
            right: (&derivatives[first..], self.row(), part.slots.count, self.stride()),
            out,
        };
        T::outer(level, outer);
    }

    /// The norm of a sum of terms.
    pub fn norm<T: Passes>(&self, sums: &Sums<T>, scratch: &mut [T]) -> f64 {
        sums.unpack_one(&self.parameter, &self.shape, scratch);
        global_norm([&*scratch])
    }
}

/// All the buffers of a sum.
pub fn buffers<T: Real>(sums: &mut Sums<T>) -> [&mut Buffer<T>; 5] {
    let Sums { input, state, maps, projection, bias } = sums;
    [input, state, maps, projection, bias]
}

/// `to` · 2^`exponent` becomes the sum of itself and `from` · 2^`other`.
pub fn accumulate<T: Real>(to: &mut Sums<T>, exponent: &mut i32, from: &mut Sums<T>, other: i32) {
    let before = *exponent;
    for (to, from) in buffers(to).into_iter().zip(buffers(from)) {
        *exponent = before;
        scale::add(to, exponent, from, other);
    }
}

/// A row of the batch in a term: for each part its derivatives and what they go with.
#[derive(Clone, Copy)]
pub struct Row<'a, T> {
    pub parts: [(&'a [T], &'a [T]); MOST_PARTS],
    pub exponent: i32,
}

/// The norms of terms, and terms themselves.
pub struct TermSums<T: Passes> {
    target: Target,
    level: Level,
    sums: Sums<T>,
    unpacked: Buffer<T>,
    derivatives: Buffer<T>,
    values: Buffer<T>,
}

/// Sums that cancel more than this (squared) are not to be had from products of sums.
const CANCELS: f64 = 1e-3;

impl<T: Passes> TermSums<T> {
    /// For up to `batch` rows.
    pub fn new(target: Target, level: Level, batch: usize) -> Result<Self, Error> {
        let widest = target.parts().iter().map(|part| target.values(part.source)).max();
        Ok(TermSums {
            target,
            level,
            sums: target.sums()?,
            unpacked: dirty_rows(1, target.parameter.len(), "terms")?,
            derivatives: rows(batch, target.row(), "terms")?,
            values: dirty_rows(batch, widest.unwrap_or(0), "terms")?,
        })
    }

    /// The Frobenius norm of a term: the square is Σ_bb' (d_b · d_b')(v_b · v_b'), with no need of the term itself;
    /// unless there are so many rows that the term is cheaper, or they cancel.
    pub fn norm(&mut self, rows: &[Row<'_, T>]) -> f64 {
        let exponent = rows.iter().map(|row| row.exponent).max().unwrap_or(NOTHING);
        if exponent == NOTHING {
            return 0.0;
        }
        let (mut products, mut whole) = (0, 0);
        for part in self.target.parts() {
            let (d, v) =
                (part.slots.count * self.target.shape.stride, self.target.values(part.source));
            products += rows.len() * (d + v) / 2;
            whole += d * v;
        }
        if rows.len() == 1 || products < whole {
            let count = self.target.parts().len();
            let (square, most) = T::dispatch(self.level, Square { rows, count, exponent });
            if rows.len() == 1 || square > CANCELS * most * most {
                return libm::ldexp(libm::sqrt(square), exponent);
            }
        }
        self.sum(rows, exponent);
        libm::ldexp(self.target.norm(&self.sums, &mut self.unpacked), exponent)
    }

    /// The term itself, in PyTorch's layout.
    pub fn term(&mut self, rows: &[Row<'_, T>], to: &mut [T]) {
        let exponent = rows.iter().map(|row| row.exponent).max().unwrap_or(NOTHING);
        if exponent == NOTHING {
            to.fill(T::ZERO);
            return;
        }
        self.sum(rows, exponent);
        self.sums.unpack_one(&self.target.parameter, &self.target.shape, to);
        let factor = libm::ldexp(1.0, exponent);
        if exponent != 0 {
            to.iter_mut().for_each(|x| *x = T::from_f64(x.to_f64() * factor));
        }
    }

    /// The term, divided by 2^`exponent`.
    fn sum(&mut self, rows: &[Row<'_, T>], exponent: i32) {
        let TermSums { target, sums, derivatives, values, .. } = self;
        buffers(sums).into_iter().for_each(|sum| sum.fill(T::ZERO));
        for (at, part) in target.parts().iter().enumerate() {
            let (width, row) = (target.values(part.source), target.row());
            let first = part.slots.first * target.stride();
            for (i, from) in rows.iter().enumerate() {
                let (d, v) = from.parts[at];
                let factor = scale::power::<T>(from.exponent.saturating_sub(exponent));
                let to = &mut derivatives[i * row + first..][..d.len()];
                to.iter_mut().zip(d).for_each(|(to, &d)| *to = d * factor);
                values[i * width..][..width].copy_from_slice(v);
            }
            target.add(self.level, part, rows.len(), derivatives, (values, width), sums);
        }
    }
}

/// The squared norm of a sum of outer products over rows, divided by 4^`exponent`; and the sum of their norms,
/// divided by 2^`exponent`.
struct Square<'r, 'a, T> {
    rows: &'r [Row<'a, T>],
    count: usize,
    exponent: i32,
}

impl<T: Real> Kernel<T> for Square<'_, '_, T> {
    type Output = (f64, f64);
    #[inline(always)]
    fn run<S: Simd<T>>(self, _: S) -> (f64, f64) {
        let Self { rows, count, exponent } = self;
        let (mut square, mut most) = (0.0, 0.0);
        for (i, a) in rows.iter().enumerate() {
            let mut own = 0.0;
            for (j, b) in rows[..=i].iter().enumerate() {
                let powers = a.exponent.saturating_sub(exponent);
                let powers = powers.saturating_add(b.exponent.saturating_sub(exponent));
                let mut product = 0.0;
                for part in 0..count {
                    let ((d, v), (other_d, other_v)) = (a.parts[part], b.parts[part]);
                    product += dot(d, other_d) * dot(v, other_v);
                }
                product *= libm::ldexp(1.0, powers);
                if i == j {
                    square += product;
                    own = product;
                } else {
                    square += 2.0 * product;
                }
            }
            most += libm::sqrt(own);
        }
        // Rounding may leave less than nothing of what cancels.
        (if square < 0.0 { 0.0 } else { square }, most)
    }
}
