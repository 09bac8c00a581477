//! How gradients flow; `unrolled.flow` says what the arguments mean and checks them.
//!
//! Arrays have all their axes here, (…, B, …), with a batch or without; `cell` counts layers · directions.

use crate::arguments::d_y;
use crate::array::{Steps, Values, copied, to_numpy};
use crate::axes::Axes;
use crate::compute::interruptible;
use crate::network::{Network, typed_tape};
use crate::number::{Number, each};
use crate::shared::Shared;
use crate::tape::Tape;
use pyo3::prelude::*;
use unrolled::batch::Interrupt;
use unrolled::error::Error;
use unrolled::flow::Terms;
use unrolled::network::Network as Net;
use unrolled::tape::Tape as CoreTape;

/// Values of the state of one layer in one direction.
fn state(net: &Network) -> usize {
    net.config.state_sizes().sum()
}

/// The Jacobian of every step: (T, B, S, S).
#[pyfunction]
pub fn step_jacobians<'py>(
    py: Python<'py>,
    net: &Network,
    tape: &Tape,
    cell: usize,
) -> PyResult<Bound<'py, PyAny>> {
    fn run<'py, T: Number>(
        py: Python<'py>,
        (network, net): (&Network, &Shared<Net<T>>),
        tape: &Tape,
        cell: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (tape, s) = (typed_tape::<T>(tape)?, state(network));
        let (steps, batch) = (tape.steps(), tape.batch());
        let work = network.work(steps, batch.saturating_mul(s));
        let net = net.get(py);
        let found = interruptible(py, work, |i| net.step_jacobians(tape, cell, i))?;
        to_numpy(py, found, [steps, batch, s, s])
    }
    each!(&net.net, own => run(py, (net, own), tape, cell))
}

/// ∂s_t/∂s_k: (B, S, S), float64.
#[pyfunction]
pub fn transition<'py>(
    py: Python<'py>,
    net: &Network,
    tape: &Tape,
    cell: usize,
    t: usize,
    k: usize,
) -> PyResult<Bound<'py, PyAny>> {
    fn run<'py, T: Number>(
        py: Python<'py>,
        (network, net): (&Network, &Shared<Net<T>>),
        tape: &Tape,
        cell: usize,
        (t, k): (usize, usize),
    ) -> PyResult<Bound<'py, PyAny>> {
        let (tape, s) = (typed_tape::<T>(tape)?, state(network));
        let batch = tape.batch();
        let work = network.work(t.abs_diff(k), batch.saturating_mul(s));
        let net = net.get(py);
        let found = interruptible(py, work, |i| net.transition(tape, cell, (t, k), i))?;
        to_numpy(py, found, [batch, s, s])
    }
    each!(&net.net, own => run(py, (net, own), tape, cell, (t, k)))
}

type Carry<T> =
    fn(&Net<T>, &CoreTape<T>, usize, (usize, usize), &[T], Interrupt<'_>) -> Result<Vec<T>, Error>;

/// (m, B, S) to (m, B, S).
fn carry<'py, T: Number>(
    py: Python<'py>,
    (network, net): (&Network, &Shared<Net<T>>),
    tape: &Tape,
    cell: usize,
    (t, k): (usize, usize),
    v: &Bound<'py, PyAny>,
    carry: Carry<T>,
) -> PyResult<Bound<'py, PyAny>> {
    let (tape, s) = (typed_tape::<T>(tape)?, state(network));
    let (v, batch) = (Values::<T>::typed("v", v)?, tape.batch());
    let v = v.slice()?;
    let m = v.len() / (batch * s).max(1);
    let work = network.work(t.abs_diff(k), batch.saturating_mul(m.max(s)));
    let net = net.get(py);
    let found = interruptible(py, work, |i| carry(&net, tape, cell, (t, k), v, i))?;
    to_numpy(py, found, [m, batch, s])
}

/// Cotangents from s_t to s_k: (m, B, S) to (m, B, S).
#[pyfunction]
pub fn pull_back<'py>(
    py: Python<'py>,
    net: &Network,
    tape: &Tape,
    cell: usize,
    t: usize,
    k: usize,
    v: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    each!(&net.net, own => carry(py, (net, own), tape, cell, (t, k), v, Net::pull_back))
}

/// Tangents from s_k to s_t: (m, B, S) to (m, B, S).
#[pyfunction]
pub fn push_forward<'py>(
    py: Python<'py>,
    net: &Network,
    tape: &Tape,
    cell: usize,
    t: usize,
    k: usize,
    u: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    each!(&net.net, own => carry(py, (net, own), tape, cell, (t, k), u, Net::push_forward))
}

/// Orthonormal tangents q, (B, n, S), along the tape: their growth, (T, B, n), and what they are at the end.
#[pyfunction]
pub fn lyapunov<'py>(
    py: Python<'py>,
    net: &Network,
    tape: &Tape,
    cell: usize,
    q: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    fn run<'py, T: Number>(
        py: Python<'py>,
        (network, net): (&Network, &Shared<Net<T>>),
        tape: &Tape,
        cell: usize,
        q: &Bound<'py, PyAny>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let (tape, s) = (typed_tape::<T>(tape)?, state(network));
        let (steps, batch) = (tape.steps(), tape.batch());
        let q = Values::<f64>::typed("q", q)?;
        let q = q.slice()?;
        let n = q.len() / (batch * s).max(1);
        let work = network.work(steps, batch.saturating_mul(s));
        let net = net.get(py);
        let (logs, q) = interruptible(py, work, |interrupt| {
            let mut q = copied(q, "tangents")?;
            Ok((net.lyapunov(tape, cell, &mut q, interrupt)?, q))
        })?;
        Ok((to_numpy(py, logs, [steps, batch, n])?, to_numpy(py, q, [batch, n, s])?))
    }
    each!(&net.net, own => run(py, (net, own), tape, cell, q))
}

type Arrays<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>);

/// Norms (T, T), by lag (T), and the terms asked for, flat. `every`: all T · T of them, else those of
/// `pairs`. `parameter` counts as `parameter_shapes` does.
#[pyfunction]
pub fn gradient_by_lag<'py>(
    py: Python<'py>,
    net: &Network,
    tape: &Tape,
    dy: &Bound<'py, PyAny>,
    parameter: usize,
    every: bool,
    pairs: Vec<(usize, usize)>,
) -> PyResult<Arrays<'py>> {
    fn run<'py, T: Number>(
        py: Python<'py>,
        (network, net): (&Network, &Shared<Net<T>>),
        tape: &Tape,
        dy: &Bound<'py, PyAny>,
        parameter: usize,
        terms: Terms<'_>,
    ) -> PyResult<Arrays<'py>> {
        let axes = Axes { batch_first: network.batch_first, unbatched: tape.unbatched };
        let tape = typed_tape::<T>(tape)?;
        let (steps, batch) = (tape.steps(), tape.batch());
        let dy = d_y::<T>(&network.config, dy, (steps, batch), axes)?;
        let dy = Steps::new("dy", &dy, axes, network.work_per_gradient())?;
        let d_y = dy.view()?;
        let work = network.work(steps, batch).saturating_mul(steps);
        let net = net.get(py);
        let g = interruptible(py, work, |interrupt| {
            net.gradient_by_lag(tape, d_y, parameter, terms, interrupt)
        })?;
        let found = g.terms.len();
        Ok((
            to_numpy(py, g.norms, [steps, steps])?,
            to_numpy(py, g.by_lag, [steps])?,
            to_numpy(py, g.terms, [found])?,
        ))
    }
    let terms = match (every, &pairs[..]) {
        (true, _) => Terms::All,
        (_, []) => Terms::None,
        (_, pairs) => Terms::Pairs(pairs),
    };
    each!(&net.net, own => run(py, (net, own), tape, dy, parameter, terms))
}
