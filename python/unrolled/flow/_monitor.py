"""How gradients flow while a network trains: samples of few rows, now and then."""

from __future__ import annotations

import csv
import importlib
import io
import os
from typing import Any

import numpy as np

from .. import _arguments as arguments
from .._arguments import Array
from .._extras import install
from .._modules import RecurrentNet
from .._tape import Tape
from .._write import replace
from ._gates import HIGH, LOW, gate_values
from ._kernels import step_jacobians
from ._monitor_plot import draw
from ._monitor_sample import Sample
from ._sample import Sequences, Window, inside, recurrent_weight

# The gradient without the lags beyond each, exactly, costs its K + 1 steps a step: 63 in all, and
# one for the whole. On 2 of 32 rows, in one call of 100, that is 4 % of training's steps.
TRUNCATIONS = (0, 1, 3, 7, 15, 31)
BINS = 20


class Monitor:
    """Watch how gradients flow in a training loop.

    Called at every step, it looks at every so many: a few rows are recorded anew and taken back.
    Nothing of the network, of the tape or of the gradients is changed, and no dropout is drawn:
    training goes on to the last bit as it would without. At the defaults that is a hundredth or
    so of the time of training, and up to a twentieth where a step of it takes a tenth of a
    millisecond (benches/monitor.py in the repository measures it).

    Parameters
    ----------
    net : LSTM, GRU, RNN or Recurrent
    every : int
        Which calls are sampled: the first, and from there every so many.
    rows : int
        How many rows of the batch, others each time.
    jacobians : int
        At how many steps the norm of the Jacobian is taken.
    parameter : str, optional
        Whose gradient is taken apart by lag; None is ``weight_hh`` of the top layer (forward), or
        ``weight_ih`` of a cell without maps of h.
        For a layer below, a lag counts the steps within each layer, as `truncate` of
        `Tape.backward` does.

    Attributes
    ----------
    history : list of Sample

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Example
    -------
    >>> import numpy as np
    >>> import unrolled as ur
    >>> net, rng = ur.LSTM(3, 8, seed=0), np.random.default_rng(0)
    >>> opt, monitor = ur.optim.Adam(net), ur.flow.Monitor(net, every=2)
    >>> for _ in range(4):
    ...     x = rng.normal(size=(20, 4, 3)).astype(np.float32)
    ...     y, _, tape = net.record(x)
    ...     loss, dy = ur.losses.mse(y, np.zeros_like(y))
    ...     monitor(tape, dy, loss)
    ...     opt.step(tape.backward(dy))
    >>> [sample.call for sample in monitor.history]
    [0, 2]
    """

    def __init__(
        self,
        net: Any,
        every: int = 200,
        *,
        rows: int = 2,
        jacobians: int = 2,
        parameter: str | None = None,
    ) -> None:
        if not isinstance(net, RecurrentNet):
            raise TypeError(
                f"net: expected an LSTM, GRU, RNN or Recurrent, got {arguments.kind(net)}"
            )
        self.net = net
        self.every = arguments.integer("every", every, at_least=1)
        self.rows = arguments.integer("rows", rows, at_least=1)
        self.jacobians = arguments.integer("jacobians", jacobians, at_least=1)
        if parameter is None:
            parameter = recurrent_weight(net, net.num_layers - 1)
        self.parameter: str = arguments.choice("parameter", parameter, tuple(net._shapes))
        self.history: list[Sample] = []
        self._calls = 0

    def __call__(
        self,
        recording: Any,
        dy: Any,
        loss: float | None = None,
        *,
        gradients: Any = None,
        state: Any = None,
        lengths: Any = None,
        resets: Any = None,
    ) -> None:
        """Count a step of training, and look at it if it is its turn.

        To be called before the optimiser's step, while `dy` belongs to the parameters.

        Parameters
        ----------
        recording : Tape, or array x
            The tape of this step, whose arrays are still as they were; or what it was recorded
            from, with `state`, `lengths` and `resets`.
        dy : array, as y
        loss : float, optional
            To be kept with the sample.
        gradients : Gradients, optional
            What ``tape.backward(dy)`` gave, for `gradient_norms` of the whole batch at no cost.
        state, lengths, resets
            As for `record`; not with a tape, which has its own.
        """
        if loss is not None and not isinstance(loss, (int, float, np.integer, np.floating)):
            raise TypeError(f"loss: expected None or a real number, got {arguments.kind(loss)}")
        if isinstance(loss, int):
            loss = arguments.real("loss", loss)
        call, self._calls = self._calls, self._calls + 1
        if call % self.every:
            return
        net = self.net
        if isinstance(recording, Tape):
            if recording._net is not net:
                raise ValueError("recording: expected a tape of the network watched, got another's")
            if not (state is None and lengths is None and resets is None):
                raise ValueError("state, lengths, resets: expected None with a tape, got some")
            x, state, lengths, resets, _ = recording._given
        else:
            x = recording
        x = arguments.array("x", x, net.dtype)
        if x.ndim not in (2, 3):
            raise ValueError(f"x: expected shape (T, B, I) or (T, I), got {x.shape}")
        if resets is not None:
            resets = arguments.array("resets", resets, np.bool_)
        every = Sequences.of(net, x, lengths, resets, state)
        size = net.num_directions * net._sizes.states[0]
        dy = arguments.array("dy", dy, net.dtype)
        shape = (*x.shape[:-1], size)
        dy = inside(net, arguments.shaped("dy", dy, "as y", shape))
        # A batch of nothing is none to learn from, and no reason to stop a training.
        if every.lengths.any():
            self.history.append(self._sample(call, loss, every, dy, gradients))

    def _sample(
        self, call: int, loss: float | None, every: Sequences, dy: Array, gradients: Any
    ) -> Sample:
        there = np.flatnonzero(every.lengths)
        count = min(self.rows, len(there))
        # Spread over the batch, and one further each time.
        spread = np.arange(count) * (len(there) // count)
        rows = there[(len(self.history) + spread) % len(there)]
        part = every.rows(rows)
        whole = part.window(np.zeros(count, int), part.lengths.astype(int))
        _, tape = whole.record()
        steps = whole.steps
        # The window is as long as the longest of these rows.
        losses = np.ascontiguousarray(dy[:steps, rows])
        if self.net.batch_first:
            losses = np.ascontiguousarray(np.swapaxes(losses, 0, 1))
        full = tape.backward(losses).parameters
        given = full
        if gradients is not None:
            gradients = getattr(gradients, "parameters", gradients)
            given = dict(zip(full, self.net.fitting("gradients", gradients), strict=True))
        bands, by_lag = self._bands(tape, losses, full[self.parameter], steps)
        gates, counts = self._gates(tape)
        return Sample(
            call,
            None if loss is None else float(loss),
            tuple(rows.tolist()),
            {name: float(np.linalg.norm(a.ravel())) for name, a in given.items()},
            bands,
            by_lag,
            self._jacobian_norms(part),
            gates,
            counts,
        )

    def _bands(
        self, tape: Tape[Any], dy: Array, full: Array, steps: int
    ) -> tuple[tuple[tuple[int, int], ...], Array]:
        """Differences of gradients truncated at more and more lags: what each band adds."""
        found: list[float] = []
        bands: list[tuple[int, int]] = []
        before, low = np.zeros_like(full), 0
        for high in (*(k for k in TRUNCATIONS if k < steps - 1), steps - 1):
            upto = full
            if high < steps - 1:
                upto = tape.backward(dy, truncate=high).parameters[self.parameter]
            found.append(float(np.linalg.norm(upto - before)))
            bands.append((low, high))
            before, low = upto, high + 1
        return tuple(bands), np.array(found)

    def _jacobian_norms(self, part: Sequences) -> dict[str, Array]:
        """Of single steps, recorded alone from the states that enter them."""
        net = self.net
        places = np.arange(self.jacobians)
        rows = places % len(part.lengths)
        at = ((2 * places + 1) * part.lengths[rows] // (2 * self.jacobians)).astype(int)
        single: Window = part.rows(rows).window(at, at + 1)
        _, tape = single.record()
        found = {}
        for name, layer, reverse in _places(net):
            j = step_jacobians(tape, layer, reverse)[0].astype(np.float64)
            # The largest eigenvalue of JᵀJ takes a fraction of the time of all singular values.
            # LAPACK raises on NaN, which a training that has diverged is full of.
            if np.isfinite(j).all():
                squares = np.linalg.eigvalsh(np.swapaxes(j, -1, -2) @ j)[:, -1]
                found[name] = np.sqrt(np.maximum(squares, 0.0))
            else:
                found[name] = np.full(len(j), np.nan)
        return found

    def _gates(
        self, tape: Tape[Any]
    ) -> tuple[dict[str, tuple[float, float, float]], dict[str, Array]]:
        shares, counts = {}, {}
        for name, layer, reverse in _places(self.net):
            values = gate_values(tape, layer, reverse)
            for gate, a in values.items():
                low, high = np.mean(a < LOW), np.mean(a > HIGH)
                shares[f"{gate}_{name}"] = (float(low), float(high), float(np.mean(a)))
                # 1 itself belongs to the last; relu's |h| may be beyond it.
                bins = np.clip(BINS * np.nan_to_num(a), 0, BINS - 1).astype(np.intp)
                counts[f"{gate}_{name}"] = np.bincount(bins, minlength=BINS)
        return shares, counts

    def plot(self) -> Any:
        """Draw the history: gradients, their shares by lag, Jacobians, gates.

        Returns
        -------
        matplotlib Figure

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError
            If there is no sample yet.
        """
        return draw(self._sampled(), self.parameter)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the history: a line for each sample, a column for each number.

        Parameters
        ----------
        path : path
            Replaced in one move.
        """
        lines = [{"call": s.call} | s.scalars() for s in self._sampled()]
        columns = list(dict.fromkeys(name for line in lines for name in line))
        file = io.StringIO()
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
        replace(path, file.getvalue().encode())

    def to_tensorboard(self, writer: Any) -> None:
        """Write the history for TensorBoard: scalars, histograms of gates and Jacobians.

        Parameters
        ----------
        writer : SummaryWriter or path
            Of tensorboardX or `torch.utils.tensorboard`; it stays open. For a directory one is
            made, of tensorboardX if that is installed, which does not need torch.

        Raises
        ------
        ImportError
            If a directory is given and neither is installed.
        """
        history = self._sampled()
        if isinstance(writer, (str, os.PathLike)):
            own = _summary_writer()(os.fspath(writer))
            try:
                self._write(own, history)
            finally:
                own.close()
        elif callable(getattr(writer, "add_histogram_raw", None)):
            self._write(writer, history)
        else:
            raise TypeError(
                f"writer: expected a SummaryWriter or a path, got {arguments.kind(writer)}"
            )

    def _write(self, writer: Any, history: list[Sample]) -> None:
        limits = np.linspace(0.0, 1.0, BINS + 1)
        for sample in history:
            for name, value in sample.scalars().items():
                writer.add_scalar(f"flow/{name}", value, sample.call)
            for name, norms in sample.jacobian_norms.items():
                if np.isfinite(norms).all():
                    writer.add_histogram(f"flow/jacobian_norm/{name}/steps", norms, sample.call)
            for name, counts in sample.gate_counts.items():
                middle = (limits[1:] + limits[:-1]) / 2
                writer.add_histogram_raw(
                    f"flow/gate/{name}/values",
                    min=0.0,
                    max=1.0,
                    num=int(counts.sum()),
                    sum=float(counts @ middle),
                    sum_squares=float(counts @ middle**2),
                    bucket_limits=limits[1:].tolist(),
                    bucket_counts=counts.tolist(),
                    global_step=sample.call,
                )

    def _sampled(self) -> list[Sample]:
        if not self.history:
            raise ValueError("history: expected at least one sample, got none: call it in training")
        return self.history

    def __repr__(self) -> str:
        return f"<Monitor of {self.net!r}: {len(self.history)} samples of {self._calls} calls>"


def _places(net: Any) -> list[tuple[str, int, bool]]:
    """Name, layer and direction of each recurrence."""
    return [
        (f"l{layer}{'_reverse' if reverse else ''}", layer, reverse)
        for layer in range(net.num_layers)
        for reverse in (False, True)[: net.num_directions]
    ]


def _summary_writer() -> Any:
    for module in ("tensorboardX", "torch.utils.tensorboard"):
        try:
            return importlib.import_module(module).SummaryWriter
        except ImportError:
            continue
    raise ImportError(
        "to_tensorboard: expected tensorboardX or torch.utils.tensorboard, got neither; "
        + install("tensorboard")
    )
