//! Products over whole matrices: the tile of [`crate::simd::accumulate`] walked over rows and units.

use super::plan::{Plan, RunTime, SINGLE};
use crate::real::Real;
use crate::simd::{Extent, Kernel, Lhs, Rhs, Simd, Tile, accumulate};

/// What a product starts from, or is added to.
#[derive(Clone, Copy)]
pub enum Start<'a, T> {
    /// Zero.
    Zero,
    /// This row (slots and units as in the output's row), for every row of the output.
    Row(&'a [T]),
    /// The values that stand in the output: the sum goes on from them.
    Out,
    /// Zero, and the finished sum is added to what stands in the output.
    Added,
}

/// Where results go: vector (row, tile, gate) starts at `row * self.row + tile * self.tile + gate * self.gate`.
#[derive(Clone, Copy)]
pub struct Strides {
    /// From a row to the next.
    pub row: usize,
    /// From a tile to the next.
    pub tile: usize,
    /// From a gate to the next.
    pub gate: usize,
}

/// out(r, unit, gate) = start + Σ_k lhs(r, k) · rhs(k, unit, gate), for `GATES` gates at a time.
///
/// Where `PACKED`, `rhs` is a panel as `pack` makes them: the gates' vectors of a step adjoin,
/// and so do steps. The compiler then knows the strides, and a short product is done in half the instructions.
pub struct Product<'a, T, const GATES: usize, const PACKED: bool> {
    /// Rows of `lhs` and of the output.
    pub rows: usize,
    /// Units. Where they are no multiple of the lanes (run-time buffers are padded, fixed sizes are
    /// not), the last tile is read and written in part, row by row.
    pub units: usize,
    /// Left operand.
    pub lhs: Lhs<'a, T>,
    /// Right operand.
    pub rhs: Rhs<'a, T>,
    /// The length of k.
    pub extent: Extent,
    /// Runs of k summed apart: see [`chains`].
    pub chains: usize,
    /// What the sums start from.
    pub start: Start<'a, T>,
    /// Whether to walk the tiles from the last to the first: where the right operand is larger than a cache,
    /// going to and fro finds there what was read last. The results are the same.
    pub turn: bool,
    /// The results.
    pub out: &'a mut [T],
    /// Where they go.
    pub strides: Strides,
}

/// In how many runs to sum k when a row has few accumulators: a multiply-add waits for the one
/// before it, and about eight independent sums keep the units busy. A function of the sizes alone,
/// for the order of summation shows in the results.
#[inline(always)]
pub const fn chains<T: Real>(units: usize, gates: usize) -> usize {
    match units.div_ceil(T::PAD) * gates {
        0..=3 => 4,
        4..=7 => 2,
        _ => 1,
    }
}

/// How many rows of `vectors` accumulators fit the registers, at most as many as there are tiles of: with a value for
/// each row and one vector, or, where there are fewer vectors, with these and two values, for the compiler reads the
/// next early.
const fn most_rows<T: Real, S: Simd<T>>(vectors: usize) -> usize {
    let mut rows = if vectors <= 2 { 8 } else { 6 };
    while rows > 1 {
        let others = if rows <= vectors { rows + 1 } else { vectors + 2 };
        if rows * vectors + others <= S::REGISTERS {
            break;
        }
        rows -= 1;
    }
    rows
}

/// How many tiles of many rows go together at the most: gates fill four vectors, or six where that leaves more sums to the
/// registers.
const fn most_abreast<T: Real, S: Simd<T>>(gates: usize) -> usize {
    let more = gates == 3 && 3 * most_rows::<T, S>(3) < 6 * most_rows::<T, S>(6);
    if more { 2 } else { 4 / gates }
}

/// The same for so many rows. With few registers two vectors and twice the rows are faster than four, but leave less even
/// blocks of few rows: 6, 5 and 5 of 16 in place of four of 3 and two of 2.
const fn abreast<T: Real, S: Simd<T>>(gates: usize, rows: usize) -> usize {
    let most = most_abreast::<T, S>(gates);
    let less = gates == 1 && 4 * most_rows::<T, S>(4) <= 2 * most_rows::<T, S>(2) && rows >= 32;
    if less { 2 } else { most }
}

/// How many tiles of one row go together: registers for the accumulators, for the row's value and for a vector.
#[inline(always)]
pub(crate) const fn fit<T: Real, S: Simd<T>>(gates: usize, chains: usize) -> usize {
    // Numbers by themselves are summed one run after another.
    let (chains, most) = if S::LANES > 1 { (chains, 4) } else { (1, 8) };
    match (S::REGISTERS - 2) / (chains * gates) {
        0 => 1,
        n if n >= most => most,
        // There are tiles of one to four, and of eight.
        4.. => 4,
        n => n,
    }
}

/// What a core's first cache holds at the least.
const FIRST_CACHE: usize = 32 << 10;

/// How many of `whole` tiles of one row go together, at most `most`: in groups as even as can be, for a small
/// group has few sums to keep the units busy; and in two at the least where the right operand takes more `bytes`
/// than the first cache holds, so that there are two ends to walk between.
#[inline(always)]
const fn together(most: usize, whole: usize, bytes: usize) -> usize {
    let groups = whole.div_ceil(most);
    if groups <= 1 && bytes <= FIRST_CACHE {
        return most;
    }
    match groups {
        0..=2 => whole.div_ceil(2),
        _ => whole.div_ceil(groups),
    }
}

/// [`together`], where sizes are fixed. Their weights lie in rows of all units; half the columns of such rows share
/// half the sets of a cache, so that walking to and fro would find nothing there.
const fn fixed_together<T: Real, S: Simd<T>>(units: usize, gates: usize, chains: usize) -> usize {
    let most = fit::<T, S>(gates, chains);
    // Numbers by themselves have no need of groups as even as can be.
    if S::LANES > 1 { together(most, units / S::LANES, 0) } else { most }
}

/// Whether so many tiles may be taken at once in a row's product; for 0, whether there may be a partial one.
const fn may_take<T: Real, S: Simd<T>>(
    fixed: Option<usize>,
    gates: usize,
    chains: usize,
    tiles: usize,
) -> bool {
    match (fixed, tiles) {
        (None, _) => tiles <= fit::<T, S>(gates, chains),
        (Some(units), 0) => units % S::LANES != 0,
        (Some(units), _) => {
            let most = fixed_together::<T, S>(units, gates, chains);
            let whole = units / S::LANES;
            let rest = whole % most;
            // What is left of eight is four, and what is left of that.
            let last = if rest > 4 { tiles == 4 || tiles == rest - 4 } else { tiles == rest };
            tiles <= most && (tiles == most && whole >= most || last)
        }
    }
}

/// Whether tiles of this form occur: they fit the registers, and gates fill them before tiles do.
const fn chosen<T: Real, S: Simd<T>>(
    rows: usize,
    tiles: usize,
    gates: usize,
    chains: usize,
) -> bool {
    if rows == 1 {
        tiles <= fit::<T, S>(gates, chains)
    } else {
        rows <= most_rows::<T, S>(tiles * gates) && tiles <= most_abreast::<T, S>(gates)
    }
}

impl<'a, T: Real> Product<'a, T, 0, false> {
    /// The same for so many gates, packed or not.
    #[inline(always)]
    pub fn with<const GATES: usize, const PACKED: bool>(self) -> Product<'a, T, GATES, PACKED> {
        let Self { rows, units, lhs, rhs, extent, chains, start, turn, out, strides } = self;
        Product { rows, units, lhs, rhs, extent, chains, start, turn, out, strides }
    }
}

impl<T: Real, const GATES: usize, const PACKED: bool> Product<'_, T, GATES, PACKED> {
    /// The product of a single row, inlined: for sizes fixed when compiled.
    #[inline(always)]
    pub fn run_one_row<S: Simd<T>, P: Plan, const WHICH: u8>(mut self, s: S) {
        match const {
            match P::FIXED {
                Some(units) if WHICH == SINGLE => chains::<T>(units, GATES),
                _ => 1,
            }
        } {
            1 => self.one_row::<S, P, 1>(s),
            2 => self.one_row::<S, P, 2>(s),
            _ => self.one_row::<S, P, 4>(s),
        }
    }

    /// The product of any rows, inlined, in one run: for numbers by themselves. Few forms of tiles occur, because each
    /// is code of its own wherever this is called.
    #[inline(always)]
    pub fn run_in_line<S: Simd<T>>(mut self, s: S) {
        debug_assert!(S::LANES == 1, "units are not cut into vectors");
        let (rows, tiles) = (self.rows, self.units);
        let (whole, wide) = (rows / 4 * 4, tiles / 4 * 4);
        for row in (0..whole).step_by(4) {
            for tile in (0..wide).step_by(4) {
                self.tile_body::<S, 4, 4, 1, false>(s, row, tile);
            }
            for tile in wide..tiles {
                self.tile_body::<S, 4, 1, 1, false>(s, row, tile);
            }
        }
        for row in whole..rows {
            for tile in (0..wide).step_by(4) {
                self.tile_body::<S, 1, 4, 1, false>(s, row, tile);
            }
            for tile in wide..tiles {
                self.tile_body::<S, 1, 1, 1, false>(s, row, tile);
            }
        }
    }

    #[inline(always)]
    fn one_row<S: Simd<T>, P: Plan, const CHAINS: usize>(&mut self, s: S) {
        let whole = self.units / S::LANES;
        let at_once = match P::FIXED {
            Some(units) => fixed_together::<T, S>(units, GATES, CHAINS),
            None if whole <= 1 => 1,
            None => {
                let vectors = self.extent.segments * self.extent.steps * whole * GATES;
                let bytes = vectors * S::LANES * size_of::<T>();
                together(fit::<T, S>(GATES, CHAINS), whole, bytes)
            }
        };
        let mut done = 0;
        macro_rules! tiles {
            ($n:literal) => {
                if const { may_take::<T, S>(P::FIXED, GATES, CHAINS, $n) } {
                    while at_once >= $n && whole - done >= $n {
                        let tile = if self.turn { whole - done - $n } else { done };
                        self.tile::<S, 1, $n, CHAINS>(s, [0, 1], tile);
                        done += $n;
                    }
                }
            };
        }
        tiles!(8);
        tiles!(4);
        tiles!(3);
        tiles!(2);
        tiles!(1);
        // Packed units are padded to whole tiles.
        if const { !PACKED && may_take::<T, S>(P::FIXED, GATES, CHAINS, 0) }
            && !self.units.is_multiple_of(S::LANES)
        {
            self.tile_body::<S, 1, 1, CHAINS, true>(s, 0, whole);
        }
    }

    #[inline(always)]
    fn many_rows<S: Simd<T>, const CHAINS: usize>(&mut self, s: S) {
        let tiles_in_all = self.units / S::LANES;
        let mut done = 0;
        while done < tiles_in_all {
            let tiles = abreast::<T, S>(GATES, self.rows).min(tiles_in_all - done);
            let blocks = self.rows.div_ceil(most_rows::<T, S>(GATES * tiles));
            let (rows, longer) = (self.rows / blocks, self.rows % blocks);
            let tile = if self.turn { tiles_in_all - done - tiles } else { done };
            self.blocks::<S, CHAINS>(s, 0, [longer, rows + 1], tile, tiles);
            self.blocks::<S, CHAINS>(s, longer * (rows + 1), [blocks - longer, rows], tile, tiles);
            done += tiles;
        }
        if const { !PACKED } && !self.units.is_multiple_of(S::LANES) {
            for row in 0..self.rows {
                self.tile_body::<S, 1, 1, CHAINS, true>(s, row, tiles_in_all);
            }
        }
    }

    /// So many blocks of so many rows each, from a row on.
    #[inline(always)]
    fn blocks<S: Simd<T>, const CHAINS: usize>(
        &mut self,
        s: S,
        row: usize,
        [count, rows]: [usize; 2],
        tile: usize,
        tiles: usize,
    ) {
        if count == 0 {
            return;
        }
        if rows == 1 {
            // Summed as a row by itself: its runs side by side, for which there may not be registers in several tiles.
            for tile in tile..tile + tiles {
                self.tile::<S, 1, 1, CHAINS>(s, [row, count], tile);
            }
            return;
        }
        macro_rules! choose {
            ($(($r:literal, $t:literal)),*) => {
                match (rows, tiles) {
                    $(($r, $t) => self.tile::<S, $r, $t, CHAINS>(s, [row, count], tile),)*
                    _ => unreachable!("blocks have at most 8 rows and 4 tiles"),
                }
            };
        }
        #[rustfmt::skip]
        choose!(
            (2, 1), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1), (8, 1), (2, 2), (3, 2), (4, 2), (5, 2),
            (6, 2), (7, 2), (8, 2), (2, 3), (3, 3), (4, 3), (5, 3), (6, 3), (2, 4), (3, 4), (4, 4),
            (5, 4), (6, 4)
        );
    }

    /// So many whole tiles, one below the other: a function of its own, inlined for a single row, whose work is too short
    /// to be called.
    #[inline(always)]
    fn tile<S: Simd<T>, const ROWS: usize, const TILES: usize, const CHAINS: usize>(
        &mut self,
        s: S,
        [row, count]: [usize; 2],
        tile: usize,
    ) {
        // What is never chosen is not compiled.
        if const { !chosen::<T, S>(ROWS, TILES, GATES, CHAINS) } {
            unreachable!("{ROWS} rows and {TILES} tiles do not fit the registers");
        }
        if const { ROWS == 1 } {
            for row in row..row + count {
                self.tile_body::<S, ROWS, TILES, CHAINS, false>(s, row, tile);
            }
        } else {
            s.run(WholeTiles::<T, ROWS, TILES, GATES, CHAINS, PACKED> {
                product: self,
                row,
                count,
                tile,
            });
        }
    }

    #[inline(always)]
    fn tile_body<
        S: Simd<T>,
        const ROWS: usize,
        const TILES: usize,
        const CHAINS: usize,
        const PART: bool,
    >(
        &mut self,
        s: S,
        row: usize,
        tile: usize,
    ) {
        let width = if PART { self.units - tile * S::LANES } else { S::LANES };
        let at = |r: usize, t: usize, g: usize| {
            (row + r) * self.strides.row + (tile + t) * self.strides.tile + g * self.strides.gate
        };

        let mut acc: Tile<S::V, ROWS, TILES, GATES> = [[[s.zero(); GATES]; TILES]; ROWS];
        match self.start {
            Start::Zero => {}
            Start::Added if const { !S::PREFETCHES } => {}
            Start::Added => {
                for r in 0..ROWS {
                    for t in 0..TILES {
                        for g in 0..GATES {
                            s.prefetch(&self.out[at(r, t, g)..]);
                        }
                    }
                }
            }
            Start::Row(values) => {
                for t in 0..TILES {
                    for g in 0..GATES {
                        let at = (tile + t) * self.strides.tile + g * self.strides.gate;
                        let v = read::<T, S, PART>(s, values, at, width);
                        for r in 0..ROWS {
                            acc[r][t][g] = v;
                        }
                    }
                }
            }
            Start::Out => {
                for r in 0..ROWS {
                    for t in 0..TILES {
                        for g in 0..GATES {
                            acc[r][t][g] = read::<T, S, PART>(s, self.out, at(r, t, g), width);
                        }
                    }
                }
            }
        }
        let lhs = Lhs { data: &self.lhs.data[row * self.lhs.row..], ..self.lhs };
        let mut rhs = Rhs { data: &self.rhs.data[tile * self.rhs.tile..], ..self.rhs };
        if PACKED {
            (rhs.step, rhs.gate) = (GATES * S::LANES, S::LANES);
        }
        let mut acc = accumulate::<T, S, ROWS, TILES, GATES, CHAINS, PART>(
            s,
            acc,
            lhs,
            rhs,
            self.extent,
            width,
        );
        if let Start::Added = self.start {
            for r in 0..ROWS {
                for t in 0..TILES {
                    for g in 0..GATES {
                        acc[r][t][g] = s
                            .add(read::<T, S, PART>(s, self.out, at(r, t, g), width), acc[r][t][g]);
                    }
                }
            }
        }
        for r in 0..ROWS {
            for t in 0..TILES {
                for g in 0..GATES {
                    let to = &mut self.out[at(r, t, g)..];
                    if PART {
                        s.store_partial(&mut to[..width], acc[r][t][g]);
                    } else {
                        s.store(to, acc[r][t][g]);
                    }
                }
            }
        }
    }
}

impl<T: Real, const GATES: usize, const PACKED: bool> Kernel<T> for Product<'_, T, GATES, PACKED> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(mut self, s: S) {
        // Four runs are for three gates at the most: see `chains`.
        match (self.rows, self.chains) {
            (0, _) => {}
            (1, 1) => self.one_row::<S, RunTime, 1>(s),
            (_, 1) => self.many_rows::<S, 1>(s),
            (1, 2) if const { PACKED } => self.one_row::<S, RunTime, 2>(s),
            (_, 2) if const { PACKED } => self.many_rows::<S, 2>(s),
            (1, 4) if const { PACKED && GATES < 4 } => self.one_row::<S, RunTime, 4>(s),
            (_, 4) if const { PACKED && GATES < 4 } => self.many_rows::<S, 4>(s),
            _ => unreachable!("only packed products of few gates are summed in runs"),
        }
    }
}

// Not a closure: those do not inherit target features where they are not inlined.
#[inline(always)]
fn read<T: Real, S: Simd<T>, const PART: bool>(s: S, from: &[T], at: usize, width: usize) -> S::V {
    if PART { s.load_partial(&from[at..at + width]) } else { s.load(&from[at..]) }
}

struct WholeTiles<
    'p,
    'a,
    T,
    const ROWS: usize,
    const TILES: usize,
    const GATES: usize,
    const CHAINS: usize,
    const PACKED: bool,
> {
    product: &'p mut Product<'a, T, GATES, PACKED>,
    row: usize,
    count: usize,
    tile: usize,
}

impl<
    T: Real,
    const ROWS: usize,
    const TILES: usize,
    const GATES: usize,
    const CHAINS: usize,
    const PACKED: bool,
> Kernel<T> for WholeTiles<'_, '_, T, ROWS, TILES, GATES, CHAINS, PACKED>
{
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        for block in 0..self.count {
            let row = self.row + block * ROWS;
            self.product.tile_body::<S, ROWS, TILES, CHAINS, false>(s, row, self.tile);
        }
    }
}
