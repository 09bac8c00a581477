"""The networks in plain JAX: a `lax.scan` over time, differentiable as often as one likes.

The judge of `unrolled.jax`, and what it falls back to where the kernels cannot go: derivatives of
derivatives, forward mode, other devices than the CPU. Definitions as in `docs/mathematics.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

Parameters = Mapping[str, Any]
Cell = Callable[[Any, tuple[Any, ...], Parameters], tuple[Any, ...]]


def _of_h(p: Parameters) -> tuple[Any, Any]:
    """Weights and biases."""
    w = p["weight_hh"]
    return w, p.get("bias_hh", jnp.zeros(w.shape[0], w.dtype))


def _lstm(projected: Any, state: tuple[Any, ...], p: Parameters) -> Any:
    h, c = state
    (w_hh, b_hh), w_hr = _of_h(p), p.get("weight_hr")
    z = jnp.split(projected + h @ w_hh.T + b_hh, w_hh.shape[0] // c.shape[-1], axis=-1)
    i, g, o = jax.nn.sigmoid(z[0]), jnp.tanh(z[-2]), jax.nn.sigmoid(z[-1])
    # Three gates are those of the cell without a forget gate: f is 1.
    c = (jax.nn.sigmoid(z[1]) * c if len(z) == 4 else c) + i * g
    h = o * jnp.tanh(c)
    return (h if w_hr is None else h @ w_hr.T, c)


def _gru(projected: Any, state: tuple[Any, ...], p: Parameters) -> Any:
    (h,), (w_hh, b_hh) = state, _of_h(p)
    x_r, x_z, x_n = jnp.split(projected, 3, axis=-1)
    h_r, h_z, h_n = jnp.split(h @ w_hh.T + b_hh, 3, axis=-1)
    r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
    return ((1 - z) * jnp.tanh(x_n + r * h_n) + z * h,)


def _gru_reset_before(projected: Any, state: tuple[Any, ...], p: Parameters) -> Any:
    (h,), (w_hh, b_hh) = state, _of_h(p)
    x_r, x_z, x_n = jnp.split(projected, 3, axis=-1)
    w_r, w_z, w_n = jnp.split(w_hh, 3)
    b_r, b_z, b_n = jnp.split(b_hh, 3)
    r, z = jax.nn.sigmoid(x_r + h @ w_r.T + b_r), jax.nn.sigmoid(x_z + h @ w_z.T + b_z)
    return ((1 - z) * jnp.tanh(x_n + (r * h) @ w_n.T + b_n) + z * h,)


def _rnn(nonlinearity: str) -> Cell:
    function = {"tanh": jnp.tanh, "relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid}[nonlinearity]

    def step(projected: Any, state: tuple[Any, ...], p: Parameters) -> Any:
        w_hh, b_hh = _of_h(p)
        return (function(projected + state[0] @ w_hh.T + b_hh),)

    return step


KINDS = ("LSTM", "GRU", "RNN")


def cell(kind: str, config: Mapping[str, Any]) -> Cell:
    """One step of a cell: x's part of the sums, the state and the parameters -> the next state."""
    if kind == "LSTM":
        return _lstm
    if kind == "GRU":
        return _gru if config["reset_after"] else _gru_reset_before
    return _rnn(config["nonlinearity"])


def run(
    step: Cell,
    config: Mapping[str, Any],
    x: Any,
    state: tuple[Any, ...],
    lengths: Any,
    resets: Any,
    parameters: Mapping[str, Any],
) -> tuple[Any, ...]:
    """y (T, B, D*H) and the final state, each (L*D, B, H).

    x is (T, B, I); lengths (B,) and resets (T, B) may be None.
    """
    steps, batch = x.shape[:2]
    present = jnp.ones((steps, batch), bool)
    if lengths is not None:
        # Whatever integers they are: 3e9 as uint32 must not become negative.
        present = jnp.arange(steps)[:, None] < jnp.clip(lengths, 0, steps).astype(jnp.int32)
    cuts = jnp.zeros((steps, batch), bool) if resets is None else resets
    # Towards the start the cut lies between the same two steps, if both belong to the row.
    cuts_back = jnp.concatenate([cuts[1:] & present[1:], jnp.zeros((min(steps, 1), batch), bool)])

    final: list[tuple[Any, ...]] = []
    for layer in range(config["num_layers"]):
        # What lies past an end may be NaN, and 0 * NaN would reach the gradient.
        x = jnp.where(present[..., None], x, 0)
        outputs = []
        for reverse in range(1 + config["bidirectional"]):
            suffix = f"l{layer}{'_reverse' if reverse else ''}"
            initial = tuple(s[len(final)] for s in state)
            y, last = _direction(
                step, x, initial, present, cuts_back if reverse else cuts, bool(reverse),
                {name[: -len(suffix) - 1]: p for name, p in parameters.items()
                 if name.endswith(f"_{suffix}")},
            )  # fmt: skip
            outputs.append(y)
            final.append(last)
        x = jnp.concatenate(outputs, axis=-1)
    return (x, *(jnp.stack(parts) for parts in zip(*final, strict=True)))


def _direction(
    step: Cell,
    x: Any,
    initial: tuple[Any, ...],
    present: Any,
    cuts: Any,
    reverse: bool,
    parameters: Mapping[str, Any],
) -> tuple[Any, tuple[Any, ...]]:
    projected = x @ parameters["weight_ih"].T
    if "bias_ih" in parameters:
        projected = projected + parameters["bias_ih"]

    def one(state: tuple[Any, ...], at: tuple[Any, Any, Any]) -> tuple[tuple[Any, ...], Any]:
        projected, present, cut = at
        entering = tuple(jnp.where(cut[:, None], 0, s) for s in state)
        found = step(projected, entering, parameters)
        # Before a row begins (read backward) and after it ends its state only waits.
        held = tuple(jnp.where(present[:, None], n, s) for n, s in zip(found, state, strict=True))
        return held, jnp.where(present[:, None], found[0], 0)

    last, y = jax.lax.scan(one, initial, (projected, present, cuts), reverse=reverse)
    return y, last
