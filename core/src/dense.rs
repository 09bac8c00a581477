//! A dense read-out layer: y = W x + b, over any number of rows.

use crate::error::Error;
use crate::kernel::buffer::{Buffer, size, zeros};
use crate::kernel::buffer::{room, rows as zero_rows};
use crate::kernel::pack::Panel;
use crate::kernel::product::{Product, Start, Strides};
use crate::simd::{Element, Extent, Kernel, Level, Lhs, Rhs, Simd, accumulate};
use crate::time::Passes;
use alloc::vec::Vec;

/// y = W x + b (`torch.nn.Linear`): parameters are `weight` (out, in), then `bias` (out) if there is one.
#[derive(Debug)]
pub struct Dense<T: Passes> {
    inputs: usize,
    outputs: usize,
    bias: bool,
    level: Level,
    parameters: Vec<T>,
    forward: Panel<T>,
    backward: Panel<T>,
    start: Buffer<T>,
}

/// Gradients of a dense layer.
#[derive(Clone, Debug)]
pub struct DenseGradients<T> {
    /// By the parameters, flat.
    pub parameters: Vec<T>,
    /// By x.
    pub x: Vec<T>,
}

/// Rows whose weight gradients are summed before they are added to the rest.
const CHUNK: usize = 256;

/// Units that go together, whole tiles of every level, and how many numbers come out at a time: kept on the stack.
const UNITS: usize = 64;
const BLOCK: usize = 1024;

/// Values of a row at most that are copied one by one: a call for each row would take longer.
const FEW: usize = 4;

impl<T: Passes> Dense<T> {
    /// A layer with all parameters zero.
    ///
    /// # Errors
    /// `Invalid` or `TooLarge` where no such layer can be.
    pub fn new(inputs: usize, outputs: usize, bias: bool, level: Level) -> Result<Self, Error> {
        if inputs == 0 || outputs == 0 {
            return Err(Error::Invalid {
                argument: "in_features, out_features",
                expected: "at least 1",
            });
        }
        let n = size(&[inputs, outputs], "parameters")? + if bias { outputs } else { 0 };
        size(
            &[inputs.next_multiple_of(T::PAD), outputs.next_multiple_of(T::PAD), 4],
            "parameters",
        )?;
        Self::packed([inputs, outputs], bias, level, zeros(n, "parameters")?)
    }

    fn packed(
        [inputs, outputs]: [usize; 2],
        bias: bool,
        level: Level,
        parameters: Vec<T>,
    ) -> Result<Self, Error> {
        let (w, b) = parameters.split_at(inputs * outputs);
        let (forward, backward) = Panel::both(w, level.lanes::<T>(), outputs, inputs, &[0])?;
        let mut start: Buffer<T> = zero_rows(1, outputs.next_multiple_of(T::PAD), "bias")?;
        start[..b.len()].copy_from_slice(b);
        Ok(Dense { inputs, outputs, bias, level, parameters, forward, backward, start })
    }

    /// Values per row of x, and of y.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        (self.inputs, self.outputs)
    }

    /// The level whose kernels it runs.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// `weight`, then `bias`, flat.
    #[must_use]
    pub fn parameters(&self) -> &[T] {
        &self.parameters
    }

    /// Another such layer with these parameters. This one stays as it is.
    ///
    /// # Errors
    /// `Length` where they are not as many; `TooLarge` if there is no memory.
    pub fn with_parameters(&self, parameters: Vec<T>) -> Result<Self, Error> {
        let (expected, got) = (self.parameters.len(), parameters.len());
        if got != expected {
            return Err(Error::Length { argument: "parameters", expected, got });
        }
        let Dense { inputs, outputs, bias, level, .. } = *self;
        Self::packed([inputs, outputs], bias, level, parameters)
    }

    /// Changes the parameters.
    ///
    /// # Errors
    /// What `update` returns; `TooLarge` if there is no memory. The layer is then as it was.
    pub fn update<E: From<Error>>(
        &mut self,
        update: impl FnOnce(&mut [T]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut parameters = room(self.parameters.len(), "parameters")?;
        parameters.extend_from_slice(&self.parameters);
        update(&mut parameters)?;
        *self = self.with_parameters(parameters)?;
        Ok(())
    }

    fn rows(&self, argument: &'static str, len: usize, row: usize) -> Result<usize, Error> {
        if len.is_multiple_of(row) {
            Ok(len / row)
        } else {
            Err(Error::Length { argument, expected: len.next_multiple_of(row), got: len })
        }
    }

    /// y = W x + b for every row of x.
    ///
    /// # Errors
    /// `Length` where x is no whole number of rows; `TooLarge`.
    pub fn forward(&self, x: &[T]) -> Result<Vec<T>, Error> {
        let rows = self.rows("x", x.len(), self.inputs)?;
        let mut y = zeros(size(&[rows, self.outputs], "outputs")?, "outputs")?;
        self.forward_into(x, &mut y)?;
        Ok(y)
    }

    /// The same, to `y`; asks for no memory.
    ///
    /// # Errors
    /// `Length` where x is no whole number of rows, or y does not have as many.
    pub fn forward_into(&self, x: &[T], y: &mut [T]) -> Result<(), Error> {
        let rows = self.rows("x", x.len(), self.inputs)?;
        let expected = size(&[rows, self.outputs], "y")?;
        if y.len() != expected {
            return Err(Error::Length { argument: "y", expected, got: y.len() });
        }
        self.rows_into(rows, x, y);
        Ok(())
    }

    /// The same for so many rows, where they fit.
    pub(crate) fn rows_into(&self, rows: usize, x: &[T], y: &mut [T]) {
        let sizes = [self.inputs, self.outputs];
        self.product(sizes, rows, x, self.forward.view(), Start::Row(&self.start), y);
    }

    /// The mirror: d_x = Wᵀ d_y, d_w = Σ d_y xᵀ, d_b = Σ d_y.
    ///
    /// # Errors
    /// `Length` where x and d_y do not go together; `TooLarge`.
    pub fn backward(&self, x: &[T], d_y: &[T]) -> Result<DenseGradients<T>, Error> {
        let rows = self.rows("x", x.len(), self.inputs)?;
        let expected = size(&[rows, self.outputs], "dy")?;
        if d_y.len() != expected {
            return Err(Error::Length { argument: "dy", expected, got: d_y.len() });
        }
        let mut d_x = zeros(x.len(), "gradients")?;
        let sizes = [self.outputs, self.inputs];
        self.product(sizes, rows, d_y, self.backward.view(), Start::Zero, &mut d_x);

        // Lanes are inputs here, so that sums come out in PyTorch's layout, but for the padding.
        let stride = self.inputs.next_multiple_of(T::PAD);
        let mut padded: Buffer<T> = zero_rows(CHUNK.min(rows), stride, "gradients")?;
        let mut d_w: Buffer<T> = zero_rows(self.outputs, stride, "gradients")?;
        let mut parameters: Vec<T> = zeros(self.parameters.len(), "gradients")?;
        let (own_w, d_b) = parameters.split_at_mut(self.inputs * self.outputs);
        for (x, d_y) in x.chunks(CHUNK * self.inputs).zip(d_y.chunks(CHUNK * self.outputs)) {
            for (to, from) in padded.chunks_mut(stride).zip(x.chunks(self.inputs)) {
                to[..self.inputs].copy_from_slice(from);
            }
            let (values, right, out) = (self.outputs, &*padded, &mut *d_w);
            T::dispatch(self.level, Outer { left: d_y, values, right, stride, out });
            for row in d_y.chunks(self.outputs) {
                for (sum, &d) in d_b.iter_mut().zip(row) {
                    *sum += d;
                }
            }
        }
        for (to, from) in own_w.chunks_mut(self.inputs).zip(d_w.chunks(stride)) {
            to.copy_from_slice(&from[..self.inputs]);
        }
        debug_assert!(self.bias || d_b.is_empty());
        Ok(DenseGradients { parameters, x: d_x })
    }

    /// Rows of `outputs` sums over rows of `steps`.
    fn product(
        &self,
        [steps, outputs]: [usize; 2],
        rows: usize,
        x: &[T],
        weights: Rhs<'_, T>,
        start: Start<'_, T>,
        y: &mut [T],
    ) {
        let sums = Sums { steps, outputs, x, weights, start, y };
        match rows {
            1 => T::dispatch(self.level, OneRow(sums)),
            _ => T::dispatch(self.level, Rows(sums, rows)),
        }
    }
}

/// y = `start` + W x for some rows. Weights are packed.
struct Sums<'a, T> {
    steps: usize,
    outputs: usize,
    x: &'a [T],
    weights: Rhs<'a, T>,
    start: Start<'a, T>,
    y: &'a mut [T],
}

/// A single row, as of a stream: the sums go from registers to their places.
struct OneRow<'a, T>(Sums<'a, T>);

impl<T: Element> Kernel<T> for OneRow<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(mut self, s: S) {
        let tiles = self.0.outputs.div_ceil(S::LANES);
        let mut done = 0;
        while tiles - done >= 4 {
            self.tiles::<S, 4>(s, done);
            done += 4;
        }
        while done < tiles {
            self.tiles::<S, 1>(s, done);
            done += 1;
        }
    }
}

impl<T: Element> OneRow<'_, T> {
    #[inline(always)]
    fn tiles<S: Simd<T>, const N: usize>(&mut self, s: S, tile: usize) {
        let Sums { steps, x, weights, start, y, .. } = &mut self.0;
        let (steps, first) = (*steps, tile * S::LANES);
        let mut sums = [[[s.zero()]; N]];
        if let Start::Row(row) = start {
            for t in 0..N {
                sums[0][t][0] = s.load(&row[first + t * S::LANES..]);
            }
        }
        let data = &weights.data[first * steps..];
        let sums = accumulate::<T, S, 1, N, 1, 1, false>(
            s,
            sums,
            Lhs { data: x, row: 0, step: 1, segment: 0 },
            Rhs { data, step: S::LANES, tile: steps * S::LANES, gate: 0 },
            Extent { segments: 1, steps },
            S::LANES,
        );
        for t in 0..N {
            s.store_partial(&mut y[first + t * S::LANES..], sums[0][t][0]);
        }
    }
}

/// So many rows: a block of units and rows at a time, in padded rows, and then where they go.
struct Rows<'a, T>(Sums<'a, T>, usize);

impl<T: Element> Kernel<T> for Rows<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Rows(Sums { steps, outputs, x, weights, start, y }, rows) = self;
        let mut padded = [T::ZERO; BLOCK];
        for first in (0..outputs).step_by(UNITS) {
            let own = UNITS.min(outputs - first);
            let units = own.next_multiple_of(S::LANES);
            let rhs = Rhs { data: &weights.data[first * steps..], ..weights };
            let start = match start {
                Start::Row(row) => Start::Row(&row[first..]),
                _ => start,
            };
            let (most, mut done) = (BLOCK / units, 0);
            while done < rows {
                let rows = most.min(rows - done);
                s.run(Product::<T, 1, false> {
                    rows,
                    units,
                    lhs: Lhs { data: &x[done * steps..], row: steps, step: 1, segment: 0 },
                    rhs,
                    extent: Extent { segments: 1, steps },
                    chains: 1,
                    start,
                    turn: false,
                    out: &mut padded[..rows * units],
                    strides: Strides { row: units, tile: S::LANES, gate: 0 },
                });
                let y = &mut y[done * outputs..][..rows * outputs];
                if own <= FEW {
                    for n in 0..own {
                        for row in 0..rows {
                            y[row * outputs + first + n] = padded[row * units + n];
                        }
                    }
                } else {
                    for row in 0..rows {
                        y[row * outputs + first..][..own]
                            .copy_from_slice(&padded[row * units..][..own]);
                    }
                }
                done += rows;
            }
        }
    }
}

/// Sums over rows of `left` ⊗ `right`, which is padded, added to `out`.
struct Outer<'a, T> {
    left: &'a [T],
    values: usize,
    right: &'a [T],
    stride: usize,
    out: &'a mut [T],
}

impl<T: Element> Kernel<T> for Outer<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Self { left, values, right, stride, out } = self;
        s.run(Product::<T, 1, false> {
            rows: values,
            units: stride,
            lhs: Lhs { data: left, row: 1, step: values, segment: 0 },
            rhs: Rhs { data: right, step: stride, tile: S::LANES, gate: 0 },
            extent: Extent { segments: 1, steps: left.len() / values },
            chains: 1,
            start: Start::Added,
            turn: false,
            out,
            strides: Strides { row: stride, tile: S::LANES, gate: 0 },
        });
    }
}
