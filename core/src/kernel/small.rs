//! Weights that are stored smaller, as panels for steps of a single row.
//!
//! Such a step reads each weight once, and where there are many of them it waits for the cache that they come from: for
//! half or a quarter of the bytes it waits less. Steps of many rows read weights once for all rows, and do not.

use super::pack::transpose;
use super::product::chains;
use super::shape::{Maps, Shape, Small, Stored};
use crate::error::Error;
use crate::real::Real;
use crate::simd::{Element, Float16, Int8, Level, Weight};
use alloc::vec::Vec;

/// How a [`Network`](crate::Network) stores the weights that steps of a single row read, which take as long as their weights
/// take to come from the cache.
///
/// Whatever it is, all other work reads floats, the same weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// As they are.
    #[default]
    Full,
    /// In half of the bytes of an `f32`, as [`Float16`].
    Float16,
    /// In a quarter of these, as [`Int8`], and a scale for each row.
    Int8,
}

impl Storage {
    /// What this makes of the rows of a matrix. What was rounded once stays.
    pub(crate) fn round<T: Real>(self, rows: &mut [T], columns: usize) -> Result<(), Error> {
        match self {
            Storage::Full => Ok(()),
            Storage::Float16 => round::<T, Float16>(rows, columns),
            Storage::Int8 => round::<T, Int8>(rows, columns),
        }
    }

    /// Whether steps of a single row of such a layer are faster with smaller weights, if its cell is short: see
    /// [`LEAST_FLOAT16`].
    pub(crate) fn serves<T: Element>(self, shape: &Shape, level: Level) -> bool {
        let [x_gates, gates] = [shape.layout.x_slots(), shape.layout.h_slots()].map(|s| s.count);
        let columns = shape.input * x_gates + shape.state * gates;
        let bytes = shape.stride * columns * size_of::<T>();
        let whole_lines = level.lanes::<T>() == T::PAD;
        let least = match self {
            Storage::Float16 => LEAST_FLOAT16,
            Storage::Int8 if whole_lines => LEAST_INT8,
            Storage::Int8 | Storage::Full => return false,
        };
        // What has fewer units goes through steps of known sizes, or has sums in several runs.
        let one_run = shape.stride > 32 && chains::<T>(shape.stride, gates) == 1;
        level.widens::<T>() && !shape.projected && one_run && bytes >= least
    }
}

/// Bytes of `weight_ih` and `weight_hh` as floats from which on it is faster to read them smaller, as measured on a Zen 5
/// with caches of 48 KiB and 1 MiB: floats come from the first cache as fast as they are multiplied, and what takes longer
/// there is to widen.
const LEAST_FLOAT16: usize = 96 << 10;
/// Integers take three more instructions for each vector, halves one. With vectors of half a cache line, of which there are
/// twice as many, that is slower than floats that come from the third cache.
const LEAST_INT8: usize = 256 << 10;

/// A row's room.
fn room<A: Copy>(zero: A, len: usize) -> Result<Vec<A>, Error> {
    let what = "packed weights";
    let mut numbers = super::buffer::room(len, what)?;
    numbers.resize(len, zero);
    Ok(numbers)
}

fn round<T: Real, W: Weight<T>>(rows: &mut [T], columns: usize) -> Result<(), Error> {
    let mut numbers = room(W::ZERO, columns)?;
    for row in rows.chunks_mut(columns) {
        let scale = W::again(row, &mut numbers);
        for (to, &number) in row.iter_mut().zip(&numbers) {
            *to = W::weight(number, scale);
        }
    }
    Ok(())
}

/// Numbers that start on a cache line.
#[derive(Debug)]
struct Aligned<A> {
    values: Vec<A>,
    start: usize,
}

impl<A: Copy> Aligned<A> {
    fn new(zero: A, len: usize) -> Result<Self, Error> {
        let (line, size) = (64, size_of::<A>().max(1));
        let values = room(zero, len + line / size)?;
        let past = values.as_ptr() as usize % line;
        Ok(Aligned { values, start: (line - past) % line / size })
    }
    fn get(&self) -> &[A] {
        &self.values[self.start..]
    }
    fn get_mut(&mut self) -> &mut [A] {
        &mut self.values[self.start..]
    }
}

/// A matrix.
#[derive(Debug)]
struct Panels<T: Real, W: Weight<T>> {
    numbers: Aligned<W::Stored>,
    /// As a matrix of one column.
    scales: Aligned<W::Scale>,
}

impl<T: Real, W: Weight<T>> Panels<T, W> {
    /// Of row blocks of a matrix with `hidden` rows a block, all of which are summed together.
    fn new(
        w: &[T],
        lanes: usize,
        (hidden, columns): (usize, usize),
        blocks: &[u8],
    ) -> Result<Self, Error> {
        let (padded, gates) = (hidden.next_multiple_of(T::PAD), blocks.len());
        let mut this = Panels {
            numbers: Aligned::new(W::ZERO, padded * columns * gates)?,
            scales: Aligned::new(W::UNSCALED, padded * gates)?,
        };
        let mut numbers = room(W::ZERO, hidden * columns)?;
        let mut scales = room(W::UNSCALED, hidden)?;
        for (g, &block) in blocks.iter().enumerate() {
            let w = &w[block as usize * hidden * columns..][..hidden * columns];
            for ((row, to), scale) in
                w.chunks(columns).zip(numbers.chunks_mut(columns)).zip(&mut scales)
            {
                *scale = W::again(row, to);
            }
            let step = gates * lanes;
            let to = &mut this.numbers.get_mut()[g * lanes..];
            transpose(&numbers, lanes, columns, to, (columns * step, step));
            transpose(&scales, lanes, 1, &mut this.scales.get_mut()[g * lanes..], (step, step));
        }
        Ok(this)
    }

    fn view(&self) -> Stored<'_, T, W> {
        Stored { numbers: self.numbers.get(), scales: self.scales.get() }
    }
}

/// The maps of x and of h.
#[derive(Debug)]
struct Pair<T: Real, W: Weight<T>> {
    input: Panels<T, W>,
    state: Panels<T, W>,
}

impl<T: Real, W: Weight<T>> Pair<T, W> {
    fn new(shape: &Shape, [w_ih, w_hh]: [&[T]; 2], lanes: usize) -> Result<Self, Error> {
        let Shape { hidden, input, state, layout, .. } = *shape;
        Ok(Pair {
            input: Panels::new(w_ih, lanes, (hidden, input), layout.x_blocks())?,
            state: Panels::new(w_hh, lanes, (hidden, state), layout.h_blocks())?,
        })
    }

    fn view(&self) -> Maps<'_, T, W> {
        Maps { input: self.input.view(), state: self.state.view() }
    }
}

/// The panels of a layer, where it has any.
#[derive(Debug, Default)]
pub struct SmallPanels<T: Real>(Ways<T>);

#[derive(Debug, Default)]
enum Ways<T: Real> {
    #[default]
    None,
    Float16(Pair<T, Float16>),
    Int8(Pair<T, Int8>),
}

impl<T: Real> SmallPanels<T> {
    /// Of the maps of x and of h.
    pub fn new(
        storage: Storage,
        shape: &Shape,
        maps: [&[T]; 2],
        lanes: usize,
    ) -> Result<Self, Error> {
        Ok(SmallPanels(match storage {
            Storage::Full => Ways::None,
            Storage::Float16 => Ways::Float16(Pair::new(shape, maps, lanes)?),
            Storage::Int8 => Ways::Int8(Pair::new(shape, maps, lanes)?),
        }))
    }

    /// As a step reads them.
    #[inline]
    pub fn view(&self) -> Small<'_, T> {
        match &self.0 {
            Ways::None => Small::None,
            Ways::Float16(pair) => Small::Float16(pair.view()),
            Ways::Int8(pair) => Small::Int8(pair.view()),
        }
    }
}
