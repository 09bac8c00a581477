//! What a map adds to the slots of a group of tiles.

use super::panel::place;
use super::product::fit;
use crate::real::Real;
use crate::simd::flat::Array;
use crate::simd::{Extent, Full, Lanes, Lhs, Rhs, Simd, Weight, accumulate_stored};
use core::marker::PhantomData;

/// What follows a run of tiles in a group: no more, another tile, or a part of one.
pub const NONE: u8 = 0;
pub const TILE: u8 = 1;
pub const PART: u8 = 2;

/// A group of tiles: a run of them, equally far apart, and what follows.
pub struct Tiles<const RUN: usize, const EXTRA: u8>;

/// It, as one type.
pub trait Group {
    const RUN: usize;
    const EXTRA: u8;
    const COUNT: usize = Self::RUN + if Self::EXTRA == NONE { 0 } else { 1 };
}

impl<const RUN: usize, const EXTRA: u8> Group for Tiles<RUN, EXTRA> {
    const RUN: usize = RUN;
    const EXTRA: u8 = EXTRA;
}

/// Tiles of a group at most.
pub const MOST: usize = 5;

/// Tiles that are activated together, by pairs; and summed together, where the registers hold the sums.
pub const fn together(slots: usize) -> usize {
    if slots == 1 { 4 } else { 2 }
}

/// Σ_k by(k) · w(k, unit, gate), to be added to slots from `slot` on.
#[derive(Clone, Copy)]
pub struct MapSum<'a, T: Real, W: Weight<T> = Full> {
    pub by: &'a [T],
    /// Panels of these gates.
    pub w: &'a [W::Stored],
    pub scales: Scales<'a, W::Scale>,
    pub slot: usize,
    /// Units in all, and in a panel.
    pub units: usize,
    pub panel: usize,
}

/// Panels of scales, of so many gates; those of this sum begin with one of them.
#[derive(Clone, Copy)]
pub struct Scales<'a, A> {
    pub data: &'a [A],
    pub gates: usize,
    pub first: usize,
}

/// How many tiles of a group's run are summed together.
struct Together<T, S, R, const GATES: usize, const CHAINS: usize>(PhantomData<(T, S, R)>);

impl<T: Real, S: Simd<T>, R: Group, const GATES: usize, const CHAINS: usize>
    Together<T, S, R, GATES, CHAINS>
{
    const TILES: usize = match (R::RUN, fit::<T, S>(GATES, CHAINS)) {
        (2..=4, fit) if fit >= R::RUN => R::RUN,
        (4, 2 | 3) => 2,
        _ => 1,
    };
}

impl<T: Real, W: Weight<T>> MapSum<'_, T, W> {
    /// Adds it for a group of tiles.
    #[inline(always)]
    pub fn tiles<
        S: Simd<T>,
        R: Group,
        A: Array<Lanes<T, S>>,
        const GATES: usize,
        const CHAINS: usize,
    >(
        self,
        s: S,
        u: usize,
        tiles: &mut [A; MOST],
    ) {
        match Together::<T, S, R, GATES, CHAINS>::TILES {
            2 if R::RUN == 2 => self.run::<S, A, 2, GATES, CHAINS, false>(s, u, &mut tiles[..2]),
            3 => self.run::<S, A, 3, GATES, CHAINS, false>(s, u, &mut tiles[..3]),
            4 => self.run::<S, A, 4, GATES, CHAINS, false>(s, u, &mut tiles[..4]),
            2 => {
                // Not a loop: places that are known need no check.
                self.run::<S, A, 2, GATES, CHAINS, false>(s, u, &mut tiles[..2]);
                self.run::<S, A, 2, GATES, CHAINS, false>(s, u + 2 * S::LANES, &mut tiles[2..4]);
            }
            _ => {
                for t in 0..R::RUN {
                    let tile = &mut tiles[t..=t];
                    self.run::<S, A, 1, GATES, CHAINS, false>(s, u + t * S::LANES, tile);
                }
            }
        }
        let (u, tile) = (u + R::RUN * S::LANES, &mut tiles[R::RUN..=R::RUN]);
        match R::EXTRA {
            TILE => self.run::<S, A, 1, GATES, CHAINS, false>(s, u, tile),
            PART => self.run::<S, A, 1, GATES, CHAINS, true>(s, u, tile),
            _ => {}
        }
    }

    /// Adds it for tiles equally far apart.
    #[inline(always)]
    fn run<
        S: Simd<T>,
        A: Array<Lanes<T, S>>,
        const TILES: usize,
        const GATES: usize,
        const CHAINS: usize,
        const PART: bool,
    >(
        self,
        s: S,
        u: usize,
        tiles: &mut [A],
    ) {
        let Self { by, w, scales, slot, units, panel } = self;
        let sizes = [by.len(), GATES, units];
        let (at, width) = place(sizes, panel, u);
        let apart = match TILES {
            1 => 0,
            // A group begins where as many of them would end: it does not reach into another panel.
            _ if panel % (TILES * S::LANES) == 0 => S::LANES,
            _ => place(sizes, panel, u + S::LANES).0 - at,
        };
        let mut sums = [[[s.zero(); GATES]; TILES]; 1];
        for t in 0..TILES {
            for g in 0..GATES {
                sums[0][t][g] = tiles[t].as_ref()[slot + g].v;
            }
        }
        let mut scale = [[s.zero(); GATES]; TILES];
        if const { size_of::<W::Scale>() > 0 } {
            for t in 0..TILES {
                let (at, width) = place([1, scales.gates, units], panel, u + t * S::LANES);
                for g in 0..GATES {
                    let from = &scales.data[at + (scales.first + g) * width..];
                    scale[t][g] = W::scales::<S, PART>(s, from);
                }
            }
        }
        let sums = accumulate_stored::<T, W, S, 1, TILES, GATES, CHAINS, PART>(
            s,
            sums,
            Lhs { data: by, row: 0, step: 1, segment: 0 },
            Rhs { data: &w[at..], step: GATES * width, tile: apart, gate: width },
            scale,
            Extent { segments: 1, steps: by.len() },
            units - u,
        );
        for t in 0..TILES {
            for g in 0..GATES {
                tiles[t].as_mut()[slot + g] = Lanes::new(s, sums[0][t][g]);
            }
        }
    }
}
