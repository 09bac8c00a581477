//! Maps of x and of h that are stored smaller than floats, for steps of a single row: what these read of a second cache is
//! what they wait for. See [`Weight`].

use super::shape::Weights;
use crate::real::Real;
use crate::simd::{Float16, Full, Int8, Weight};

/// How a net stores the weights of its maps of x and of h.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// As they are.
    #[default]
    Full,
    /// As [`Float16`].
    Float16,
    /// As [`Int8`].
    Int8,
}

impl Storage {
    /// Rounds rows of so many weights to what they are when stored.
    #[cfg(feature = "alloc")]
    pub fn round<T: Real>(self, weights: &mut [T], columns: usize) {
        fn rows<T: Real, W: Weight<T>>(weights: &mut [T], columns: usize) {
            let mut stored = alloc::vec![W::ZERO; columns];
            for row in weights.chunks_mut(columns) {
                let scale = W::store(row, &mut stored);
                for (weight, &stored) in row.iter_mut().zip(&stored) {
                    *weight = W::weight(stored, scale);
                }
            }
        }
        match self {
            Storage::Full => {}
            Storage::Float16 => rows::<T, Float16>(weights, columns),
            Storage::Int8 => rows::<T, Int8>(weights, columns),
        }
    }
}

/// A map: panels of stored numbers as those of the floats, and of scales, which are panels of one step.
#[derive(Clone, Copy)]
pub struct SmallMap<'a, A, B> {
    /// The numbers.
    pub data: &'a [A],
    /// The scales; none where there are none.
    pub scales: &'a [B],
}

/// The maps of x and of h, if they are stored smaller.
#[derive(Clone, Copy)]
pub enum Small<'a, T> {
    /// They are not.
    None,
    /// As [`Float16`].
    Float16([SmallMap<'a, u16, ()>; 2]),
    /// As [`Int8`].
    Int8([SmallMap<'a, i8, T>; 2]),
}

/// How the maps of x and of h are stored that a step reads.
pub trait Maps<T: Real>: Weight<T> {
    /// Whether they are smaller than floats.
    const SMALL: bool = true;
    /// Them; empty where they are stored in another way.
    fn of<'a>(weights: &Weights<'a, T>) -> [SmallMap<'a, Self::Stored, Self::Scale>; 2];
}

impl<T: Real> Maps<T> for Full {
    const SMALL: bool = false;
    #[inline(always)]
    fn of<'a>(weights: &Weights<'a, T>) -> [SmallMap<'a, T, ()>; 2] {
        [weights.input, weights.state].map(|map| SmallMap { data: map.data, scales: &[] })
    }
}

impl<T: Real> Maps<T> for Float16 {
    #[inline(always)]
    fn of<'a>(weights: &Weights<'a, T>) -> [SmallMap<'a, u16, ()>; 2] {
        match weights.small {
            Small::Float16(maps) => maps,
            _ => [SmallMap { data: &[], scales: &[] }; 2],
        }
    }
}

impl<T: Real> Maps<T> for Int8 {
    #[inline(always)]
    fn of<'a>(weights: &Weights<'a, T>) -> [SmallMap<'a, i8, T>; 2] {
        match weights.small {
            Small::Int8(maps) => maps,
            _ => [SmallMap { data: &[], scales: &[] }; 2],
        }
    }
}

#[cfg(feature = "alloc")]
pub use owned::SmallPanels;

#[cfg(feature = "alloc")]
mod owned {
    use super::{Small, SmallMap, Storage};
    use crate::error::Error;
    use crate::kernel::buffer::room;
    use crate::real::Real;
    use crate::simd::{Float16, Int8, Rhs, Weight};
    use alloc::vec::Vec;

    /// Stored numbers and scales of the maps of x and of h.
    #[derive(Debug, Default)]
    pub enum SmallPanels<T> {
        #[default]
        None,
        Float16([(Vec<u16>, Vec<()>); 2]),
        Int8([(Vec<i8>, Vec<T>); 2]),
    }

    impl<T: Real> SmallPanels<T> {
        /// Of packed maps, whose weights are rounded to what is stored.
        pub fn of(storage: Storage, maps: [Rhs<'_, T>; 2]) -> Result<Self, Error> {
            let [x, h] = maps;
            Ok(match storage {
                Storage::Full => SmallPanels::None,
                Storage::Float16 => {
                    SmallPanels::Float16([stored::<T, Float16>(x)?, stored::<T, Float16>(h)?])
                }
                Storage::Int8 => SmallPanels::Int8([stored::<T, Int8>(x)?, stored::<T, Int8>(h)?]),
            })
        }

        /// As the kernels read it.
        pub fn view(&self) -> Small<'_, T> {
            fn view<A, B>((data, scales): &(Vec<A>, Vec<B>)) -> SmallMap<'_, A, B> {
                SmallMap { data, scales }
            }
            match self {
                SmallPanels::None => Small::None,
                SmallPanels::Float16([x, h]) => Small::Float16([view(x), view(h)]),
                SmallPanels::Int8([x, h]) => Small::Int8([view(x), view(h)]),
            }
        }
    }

    /// Numbers in the order of the panels, and the scales of each tile's gates and lanes.
    #[allow(clippy::type_complexity)]
    fn stored<T: Real, W: Weight<T>>(
        map: Rhs<'_, T>,
    ) -> Result<(Vec<W::Stored>, Vec<W::Scale>), Error> {
        let (what, len) = ("packed weights", map.data.len());
        let steps = map.tile.checked_div(map.step).unwrap_or(0);
        let mut numbers = room(len, what)?;
        numbers.resize(len, W::ZERO);
        let mut scales = room(len.checked_div(steps).unwrap_or(0), what)?;
        let (mut row, mut own) = (room(steps, what)?, room(steps, what)?);
        own.resize(steps, W::ZERO);
        for tile in (0..len).step_by(map.tile.max(1)) {
            for lane in tile..tile + map.step {
                row.clear();
                row.extend(map.data[lane..].iter().step_by(map.step).take(steps));
                scales.push(W::store(&row, &mut own));
                for (to, &number) in numbers[lane..].iter_mut().step_by(map.step).zip(&own) {
                    *to = number;
                }
            }
        }
        Ok((numbers, scales))
    }
}
