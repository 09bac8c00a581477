//! One layer in one direction over time: which step follows which, where a state is cut, and
//! where the gradient of a loss goes.

use alloc::vec;
use core::ops::Range;

use super::cell::{State, Step, WeightGradients, Weights, add, cell_size};
use super::{Problem, Trace, at};

/// One layer in one direction. Its steps are counted in the order it takes them: step s of row b
/// reads the input at [`Direction::time`].
pub(super) struct Direction<'a> {
    pub problem: &'a Problem<'a>,
    pub weights: Weights<'a>,
    /// (T, B, inputs)
    pub input: &'a [f64],
    /// Which of the L·D initial and final states is its own.
    pub index: usize,
    pub reverse: bool,
    /// Where its values begin among the D·S of the layer's output.
    pub offset: usize,
}

/// The loss as this layer sees it.
pub(super) struct Loss<'a> {
    /// (T, B, D·S)
    pub d_output: &'a [f64],
    /// (L·D, B, S)
    pub dh: &'a [f64],
    /// (L·D, B, H)
    pub dc: &'a [f64],
    /// How many steps back a loss is followed.
    pub truncate: Option<usize>,
}

/// Where this layer's gradients are added.
pub(super) struct Received<'a> {
    /// (T, B, inputs)
    pub d_input: &'a mut [f64],
    /// (L·D, B, S)
    pub d_h0: &'a mut [f64],
    /// (L·D, B, H)
    pub d_c0: &'a mut [f64],
    pub d_weights: WeightGradients<'a>,
}

impl Direction<'_> {
    pub fn forward(&self) -> Trace {
        let p = self.problem;
        let states = p.steps * p.batch;
        let cells = if p.config.kind.states() > 1 { states * p.config.hidden_size } else { 0 };
        let mut trace = Trace {
            hidden: vec![0.0; states * p.config.state_size()],
            cell: vec![0.0; cells],
            gates: vec![0.0; states * p.config.num_gates() * p.config.hidden_size],
        };
        for b in 0..p.batch {
            for s in 0..p.length(b) {
                let before = self.before(&trace, b, s);
                let step = self.step(b, s, &before);
                let after = step.forward(&mut trace.gates[self.gates(b, s)]);
                trace.hidden[self.hidden(b, s)].copy_from_slice(&after.h);
                trace.cell[self.cell(b, s)].copy_from_slice(&after.c);
            }
        }
        trace
    }

    /// One sweep carries every loss back at once, since all that follows is linear in it.
    /// Truncated, each loss goes its own way, as far as it is followed.
    pub fn backward(&self, trace: &Trace, loss: &Loss, received: &mut Received) {
        for b in 0..self.problem.batch {
            let length = self.problem.length(b);
            match loss.truncate {
                Some(lags) if length > 0 => {
                    for s in 0..length {
                        self.sweep(trace, loss, b, s.saturating_sub(lags), s..s + 1, received);
                    }
                }
                _ => self.sweep(trace, loss, b, 0, 0..length, received),
            }
        }
    }

    /// Carries the losses of the steps `losses` of row `b` back to step `first`.
    fn sweep(
        &self,
        trace: &Trace,
        loss: &Loss,
        b: usize,
        first: usize,
        losses: Range<usize>,
        received: &mut Received,
    ) {
        let p = self.problem;
        let (h, c) = self.own(b);
        let mut d = State::zeros(p.config);
        if losses.end == p.length(b) {
            add(&mut d.h, &loss.dh[h.clone()]);
            add(&mut d.c, &loss.dc[c.clone()]);
        }
        for s in (first..losses.end).rev() {
            if losses.contains(&s) {
                let from = at(p, self.time(b, s), b, p.config.output_size(), self.offset);
                add(&mut d.h, &loss.d_output[from..from + p.config.state_size()]);
            }
            let before = self.before(trace, b, s);
            d = self.step(b, s, &before).backward(
                &trace.gates[self.gates(b, s)],
                &trace.cell[self.cell(b, s)],
                &d,
                &mut received.d_input[self.x(b, s)],
                &mut received.d_weights,
            );
            if self.cut(b, s) {
                d = State::zeros(p.config);
            }
        }
        if first == 0 {
            add(&mut received.d_h0[h], &d.h);
            add(&mut received.d_c0[c], &d.c);
        }
    }

    fn step<'s>(&'s self, b: usize, s: usize, before: &'s State) -> Step<'s> {
        Step { w: &self.weights, x: &self.input[self.x(b, s)], before }
    }

    /// The time that step `s` of row `b` reads: backwards from the row's own end if reversed.
    fn time(&self, b: usize, s: usize) -> usize {
        if self.reverse { self.problem.length(b) - 1 - s } else { s }
    }

    /// Whether step `s` starts from zeros: an episode begins between the step before and it. A
    /// reset at time t lies between t − 1 and t, whichever of them comes first here.
    fn cut(&self, b: usize, s: usize) -> bool {
        let Some(resets) = self.problem.resets else { return false };
        let t = self.time(b, s);
        if self.reverse {
            s > 0 && resets[at(self.problem, t + 1, b, 1, 0)]
        } else {
            resets[at(self.problem, t, b, 1, 0)]
        }
    }

    /// The state step `s` starts from.
    fn before(&self, trace: &Trace, b: usize, s: usize) -> State {
        if self.cut(b, s) { State::zeros(self.problem.config) } else { self.after(trace, b, s) }
    }

    /// The state after the first `s` steps of row `b`.
    pub fn after(&self, trace: &Trace, b: usize, s: usize) -> State {
        if s == 0 {
            let (h, c) = self.own(b);
            State { h: self.problem.h0[h].to_vec(), c: self.problem.c0[c].to_vec() }
        } else {
            State {
                h: trace.hidden[self.hidden(b, s - 1)].to_vec(),
                c: trace.cell[self.cell(b, s - 1)].to_vec(),
            }
        }
    }

    /// Where row `b` lies in the arrays (L·D, B, S) and (L·D, B, H).
    fn own(&self, b: usize) -> (Range<usize>, Range<usize>) {
        let config = self.problem.config;
        let at = |size| {
            let start = (self.index * self.problem.batch + b) * size;
            start..start + size
        };
        (at(config.state_size()), at(cell_size(config)))
    }

    fn x(&self, b: usize, s: usize) -> Range<usize> {
        self.slot(b, s, self.weights.inputs)
    }

    fn hidden(&self, b: usize, s: usize) -> Range<usize> {
        self.slot(b, s, self.problem.config.state_size())
    }

    fn cell(&self, b: usize, s: usize) -> Range<usize> {
        self.slot(b, s, cell_size(self.problem.config))
    }

    fn gates(&self, b: usize, s: usize) -> Range<usize> {
        let config = self.problem.config;
        self.slot(b, s, config.num_gates() * config.hidden_size)
    }

    /// Where step `s` of row `b` lies in an array (T, B, `size`).
    fn slot(&self, b: usize, s: usize, size: usize) -> Range<usize> {
        let start = at(self.problem, self.time(b, s), b, size, 0);
        start..start + size
    }
}
