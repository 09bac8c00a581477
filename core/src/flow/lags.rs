//! The gradient, lag by lag.

use super::Recorded;
use super::front::BLOCK;
use super::scale::NOTHING;
use super::term::{Row, Target, TermSums, accumulate};
use super::uses::Uses;
use super::wave::{Entry, Pairs, Wave, drop_out, input_derivative};
use crate::batch::{self, Interrupt};
use crate::error::Error;
use crate::kernel::buffer::{Buffer, size, zeros};
use crate::kernel::buffer::{dirty_rows, room};
use crate::net::dropout::Dropout;
use crate::net::gradients::Sums;
use crate::net::network::Network;
use crate::net::tape::{ShardTrace, Tape};
use crate::net::view::View;
use crate::time::Passes;
use alloc::vec::Vec;
use core::ops::Range;

/// Which terms to return themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terms<'a> {
    /// None.
    None,
    /// All T², zeros where there are none: T² times the parameter's memory.
    All,
    /// Those of these pairs of a loss t and a use k.
    Pairs(&'a [(usize, usize)]),
}

/// The gradient by one parameter, by when the loss is taken and when the parameter is used.
#[derive(Clone, Debug)]
pub struct LagGradients<T> {
    /// (T, T): the Frobenius norm of the term with its loss at t and the parameter's use at k.
    pub norms: Vec<f64>,
    /// (T): the norm of the sum of the terms with |t − k| = lag.
    pub by_lag: Vec<f64>,
    /// The terms asked for, each like the parameter, one after another.
    pub terms: Vec<T>,
}

/// Waves of losses at the most: enough for many threads.
const MOST_WAVES: usize = 16;
/// Bytes of derivatives by lower layers' outputs that are kept at a time where there are two directions.
const MOST_BYTES: usize = 64 << 20;

impl<T: Passes> Network<T> {
    /// ∂L/∂W = Σ_t Σ_k (∂L_t/∂s_t) (∂s_t/∂s_k) (∂⁺s_k/∂W), term by term, ∂⁺ with s_{k−1} held fixed: the batch is summed within a term, and all terms add up to the gradient that [`backward`](Self::backward) gives. `d_y` is ∂L_t/∂y_t, and
    /// `parameter` counts as [`Config::parameters`](crate::Config::parameters) does. A term of a lower layer
    /// has every path through the layers above; if these have two directions, a use may follow its loss.
    ///
    /// All losses go back together, lag by lag: about T²/2 · B steps of training (T² · B · 2 for a lower layer of
    /// two directions) and some tapes' worth of memory; there, T times the parameter's besides. Neither the
    /// number of threads nor the level (of those that fuse) shows in the results.
    ///
    /// # Errors
    /// `Length` for `d_y`, `Invalid` for the tape as [`step_jacobians`](Self::step_jacobians), and for a `parameter`
    /// there is not, `Range` for a pair; `TooLarge`; `Interrupted`.
    pub fn gradient_by_lag(
        &self,
        tape: &Tape<T>,
        d_y: View<'_, T>,
        parameter: usize,
        terms: Terms<'_>,
        interrupt: Interrupt<'_>,
    ) -> Result<LagGradients<T>, Error> {
        let config = self.config();
        let Some(parameter) = config.parameters().nth(parameter) else {
            let expected = "less than the number of parameters";
            return Err(Error::Invalid { argument: "parameter", expected });
        };
        let directions = config.num_directions();
        let at = |layer: usize, reverse| {
            Recorded::new(self, tape, layer * directions + usize::from(reverse))
        };
        let layer = at(parameter.layer, parameter.reverse)?;
        let (steps, batch) = (tape.steps, tape.batch);
        d_y.check("dy", steps, batch, config.output_size())?;
        let mut out = Collected::new(steps, parameter.len(), terms)?;

        // With one direction, losses come down through the layers at the same lag everywhere.
        let top = config.num_layers - 1;
        let both_ways = config.bidirectional && parameter.layer < top;
        let mut chain = room(top - parameter.layer + 1, "layers")?;
        if both_ways {
            chain.push(layer);
        } else {
            for above in (parameter.layer..=top).rev() {
                chain.push(at(above, parameter.reverse)?);
            }
        }
        let job = Job {
            target: Target::new(parameter, layer.shape),
            chain,
            dropout: Dropout::new(tape.dropout, steps, batch),
            interrupt,
            d_y,
            layer,
        };
        if batch == 0 {
            return Ok(out.finish());
        }
        if both_ways {
            let bytes = size(&[steps, batch, config.output_size(), size_of::<T>()], "losses")?;
            let at_once = (MOST_BYTES / bytes.max(1)).clamp(1, steps.max(1));
            let mut sums = room(steps, "gradients")?;
            for _ in 0..steps {
                sums.push((job.target.sums()?, NOTHING));
            }
            for first in (0..steps).step_by(at_once) {
                let losses = first..steps.min(first + at_once);
                let mut waves = job.waves(losses, 4, true)?;
                for lag in 1 - steps as isize..steps as isize {
                    job.step(&mut waves, lag, &mut out, &mut sums[lag.unsigned_abs()])?;
                }
            }
            for (lag, sums) in sums.iter().enumerate() {
                out.by_lag[lag] = job.norm(sums)?;
            }
        } else if steps > 0 {
            let count = (steps.saturating_mul(batch) / BLOCK).clamp(1, MOST_WAVES);
            let mut waves = job.waves(0..steps, count.div_ceil(tape.shards.len()), false)?;
            for lag in 0..steps {
                let mut sums = (job.target.sums()?, NOTHING);
                job.step(&mut waves, lag as isize, &mut out, &mut sums)?;
                out.by_lag[lag] = job.norm(&sums)?;
            }
        }
        Ok(out.finish())
    }
}

/// What is to be done.
struct Job<'a, T: Passes> {
    target: Target,
    layer: Recorded<'a, T>,
    /// The layers that losses come down through together, the parameter's last.
    chain: Vec<Recorded<'a, T>>,
    dropout: Option<Dropout>,
    interrupt: Interrupt<'a>,
    d_y: View<'a, T>,
}

/// A sum of terms, divided by a power of two.
type Scaled<T> = (Sums<T>, i32);

impl<'a, T: Passes> Job<'a, T> {
    /// `losses` in so many ranges, each of all shards, one after another.
    fn waves(
        &self,
        losses: Range<usize>,
        count: usize,
        both_ways: bool,
    ) -> Result<Vec<Uses<'a, T>>, Error> {
        let each = losses.len().div_ceil(count).max(1);
        let mut items = Vec::new();
        for first in losses.clone().step_by(each) {
            let own = first..losses.end.min(first + each);
            items.extend(self.layer.tape.shards.iter().map(|shard| (shard, own.clone())));
        }
        let (net, tape) = (self.layer.net, self.layer.tape);
        let work = if both_ways { net.work(tape.steps, tape.batch * losses.len()) } else { 0 };
        batch::run(items, work, |(shard, losses)| {
            let source = if both_ways {
                Entry::Above(self.above(shard, losses.clone())?)
            } else {
                Entry::Outputs(self.d_y)
            };
            Uses::new(self.target, &self.chain, shard, losses, source)
        })
    }

    /// Losses at every step of the outputs of the layer that the parameter's layer is below.
    fn above(&self, shard: &'a ShardTrace<T>, losses: Range<usize>) -> Result<Pairs<T>, Error> {
        let (net, tape) = (self.layer.net, self.layer.tape);
        let (config, steps) = (net.config(), tape.steps as isize);
        let rows = shard.shard.packing().range(&losses).len();
        let mut source = Entry::Outputs(self.d_y);
        for above in (self.layer.layer + 1..config.num_layers).rev() {
            let mut below = Pairs::new(tape.steps, rows, config.output_size())?;
            for direction in 0..config.num_directions() {
                let layer = Recorded::new(net, tape, above * config.num_directions() + direction)?;
                let mut wave = Wave::new(&[layer], shard, losses.clone())?;
                let row = layer.shape.input_stride;
                let mut d_x: Buffer<T> = dirty_rows(rows.min(BLOCK), row, "losses")?;
                let first = if matches!(source, Entry::Outputs(_)) { 0 } else { 1 - steps };
                for lag in first..steps {
                    batch::poll(self.interrupt)?;
                    wave.step(lag, &source, None, |block| {
                        input_derivative(&layer, block.work, block.places.len(), &mut d_x);
                        drop_out(&layer, self.dropout, shard, block.pairs, &mut d_x);
                        let rows = d_x.chunks(row).zip(block.exponents);
                        for ((pair, place), (row, &exponent)) in
                            block.pairs.iter().zip(block.places).zip(rows)
                        {
                            below.add(pair.k, place.cotangent, row, exponent);
                        }
                    });
                }
            }
            source = Entry::Above(below);
        }
        match source {
            Entry::Above(pairs) => Ok(pairs),
            Entry::Outputs(_) => unreachable!("there is a layer above"),
        }
    }

    /// All waves on to `lag`: norms and terms to `out`, the sum of the terms added to `sums`.
    fn step(
        &self,
        waves: &mut [Uses<'a, T>],
        lag: isize,
        out: &mut Collected<'_, T>,
        (sums, exponent): &mut Scaled<T>,
    ) -> Result<(), Error> {
        let (net, tape) = (self.layer.net, self.layer.tape);
        let work = net.work(tape.steps - lag.unsigned_abs(), tape.batch);
        batch::run(waves.iter_mut().collect(), work, |wave| {
            batch::poll(self.interrupt)?;
            wave.step(lag, self.dropout);
            Ok(())
        })?;
        let ranges: Vec<_> = waves.chunks(tape.shards.len()).collect();
        let norms = batch::run(ranges, work / 4, |shards| self.norms(shards))?;
        for (t, k, norm) in norms.into_iter().flatten() {
            out.norms[t * tape.steps + k] = norm;
        }
        out.terms(self, waves, lag)?;
        for wave in waves {
            accumulate(sums, exponent, &mut wave.sums, wave.exponent);
        }
        Ok(())
    }

    /// (t, k) and the norm of the term, for the losses of some waves, one of each shard.
    fn norms(&self, shards: &[Uses<'a, T>]) -> Result<Vec<(usize, usize, f64)>, Error> {
        let (net, tape) = (self.layer.net, self.layer.tape);
        let losses = shards.first().map_or(0..0, Uses::losses);
        let mut sum = TermSums::new(self.target, net.level(), tape.batch)?;
        let (mut rows, mut norms) = (room(tape.batch, "terms")?, room(losses.len(), "terms")?);
        for t in losses {
            rows.clear();
            if let Some(k) = gather(shards, t, &mut rows) {
                norms.push((t, k, sum.norm(&rows)));
            }
        }
        Ok(norms)
    }

    fn norm(&self, (sums, exponent): &Scaled<T>) -> Result<f64, Error> {
        if *exponent == NOTHING {
            return Ok(0.0);
        }
        let mut scratch: Buffer<T> = dirty_rows(1, self.target.parameter.len(), "gradients")?;
        Ok(libm::ldexp(self.target.norm(sums, &mut scratch), *exponent))
    }
}

/// The rows of loss t's term in all shards, and its step.
fn gather<'s, T: Passes>(
    shards: &'s [Uses<'_, T>],
    t: usize,
    rows: &mut Vec<Row<'s, T>>,
) -> Option<usize> {
    shards.iter().fold(None, |k, wave| wave.rows(t, rows).or(k))
}

/// What has been found, and which terms are wanted.
struct Collected<'a, T> {
    steps: usize,
    len: usize,
    wanted: Terms<'a>,
    /// Wanted pairs by t − k, and their places.
    order: Vec<(isize, usize)>,
    norms: Vec<f64>,
    by_lag: Vec<f64>,
    terms: Vec<T>,
}

impl<'a, T: Passes> Collected<'a, T> {
    fn new(steps: usize, len: usize, wanted: Terms<'a>) -> Result<Self, Error> {
        let mut order = Vec::new();
        let count = match wanted {
            Terms::None => 0,
            Terms::All => size(&[steps, steps], "terms")?,
            Terms::Pairs(pairs) => {
                order = room(pairs.len(), "terms")?;
                for (at, &(t, k)) in pairs.iter().enumerate() {
                    let (most, got) = (steps.saturating_sub(1), t.max(k));
                    if got >= steps {
                        return Err(Error::Range { argument: "terms", at, most, got });
                    }
                    order.push((t as isize - k as isize, at));
                }
                order.sort_unstable();
                pairs.len()
            }
        };
        let norms = zeros(size(&[steps, steps], "norms")?, "norms")?;
        let terms = zeros(size(&[count, len], "terms")?, "terms")?;
        Ok(Collected { steps, len, wanted, order, norms, by_lag: zeros(steps, "norms")?, terms })
    }

    /// The terms of a lag that are wanted.
    fn terms(&mut self, job: &Job<'_, T>, waves: &[Uses<'_, T>], lag: isize) -> Result<(), Error> {
        let (net, tape) = (job.layer.net, job.layer.tape);
        let mut pairs = Vec::new();
        match self.wanted {
            Terms::None => return Ok(()),
            Terms::All => pairs.extend((0..self.steps).map(|t| (t, None))),
            Terms::Pairs(wanted) => {
                let lag = if job.layer.reverse() { -lag } else { lag };
                let first = self.order.partition_point(|&(other, _)| other < lag);
                let own = self.order[first..].iter().take_while(|&&(other, _)| other == lag);
                pairs.extend(own.map(|&(_, at)| (wanted[at].0, Some(at))));
            }
        }
        let mut sum = TermSums::new(job.target, net.level(), tape.batch)?;
        let mut rows = room(tape.batch, "terms")?;
        for (t, at) in pairs {
            let shards = waves.chunks(tape.shards.len()).find(|w| w[0].losses().contains(&t));
            rows.clear();
            if let Some(k) = shards.and_then(|shards| gather(shards, t, &mut rows)) {
                let at = at.unwrap_or(t * self.steps + k);
                sum.term(&rows, &mut self.terms[at * self.len..][..self.len]);
            }
        }
        Ok(())
    }

    fn finish(self) -> LagGradients<T> {
        LagGradients { norms: self.norms, by_lag: self.by_lag, terms: self.terms }
    }
}
