"""From a chain of layers to networks of ours."""

from __future__ import annotations

import re
from typing import Any, TypeAlias

import numpy as np

from .._activation import Activation
from .._arguments import Array
from .._dense import Dense
from .._modules import GRU, LSTM, RNN, RecurrentNet
from .._sequential import Sequential
from ..cells._recurrent import Recurrent
from ._budget import Budget
from ._chain import Chain, find
from ._model import Model
from ._proto import Source
from ._symbols import (
    ActivationStage,
    DenseStage,
    RecurrentStage,
    Rows,
    Stage,
    StateInput,
    UnlikeLayersError,
)

Layered: TypeAlias = LSTM | GRU | RNN | Recurrent | Dense | Sequential
Loaded: TypeAlias = Layered | Model
# How `_export` names recurrent nodes: the place in a Sequential, the layer.
OURS = re.compile(r"layers\.(\d+)\.l(\d+)")


def load(source: Source, *, allow_nonfinite: bool = False) -> Loaded:
    """Read an ONNX model.

    A chain of recurrent layers, dense ones and activations comes back as those layers; anything
    else, as far as it can be computed, as a `Model`, whose attribute `unlike_layers` says why.
    Nodes with peepholes, ``clip``, ``input_forget`` or other activations come back as `Recurrent`.

    Consecutive nodes that are the layers of one network become one. Layers take and give what
    `LSTM`, `GRU`, `RNN` and `Sequential` do, however the graph arranges its outputs: ``y`` with
    both directions side by side, then the states. What is an input ``sequence_lens`` is the
    argument `lengths`. (A row of length 0 keeps its initial state here; in ONNX it ends in zeros.)

    Parameters
    ----------
    source : path, bytes or onnx.ModelProto
    allow_nonfinite : bool
        Whether NaN and infinity are taken as weights.

    Returns
    -------
    LSTM, GRU, RNN, Recurrent, Dense, Sequential or Model

    Raises
    ------
    FileNotFoundError
    TypeError
        If `source` is something else.
    ValueError
        If it is not a model, or one with a node, attribute, type or version that is not supported;
        the message names it.

    Example
    -------
    >>> import unrolled as ur
    >>> import unrolled.onnx
    >>> net = ur.LSTM(3, 8, num_layers=2, seed=0)
    >>> ur.onnx.load(ur.onnx.to_onnx(net))
    LSTM(3, 8, num_layers=2)
    """
    model = Model.unprepared(source, allow_nonfinite=allow_nonfinite)
    try:
        return layers(find(model), model._budget)
    except UnlikeLayersError as why:
        model.unlike_layers = str(why)
        model.prepare()
        return model
    except TypeError as error:
        # Layers of several dtypes, which no input could run through.
        raise ValueError(f"source: {error}") from None


def layers(chain: Chain, budget: Budget) -> Layered:
    """The layers of a chain: one by itself, or a Sequential."""
    found: list[Any] = []
    initial: list[Any] = []
    groups = grouped(chain.stages)
    for group in groups:
        first = group[0]
        if isinstance(first, DenseStage):
            budget.network("product", (first.weight, first.bias))
            found.append(dense(first))
        elif isinstance(first, ActivationStage):
            found.append(activation(first))
        else:
            stages = [stage for stage in group if isinstance(stage, RecurrentStage)]
            for stage in stages:
                budget.network(stage.recurrence.name, (stage.w, stage.r, stage.b, stage.p))
            first.recurrence.compiling(first.p is not None, budget)
            found.append(network(stages, chain.batch_first))
            initial.append(initial_state(stages))
    if not any(isinstance(layer, (RecurrentNet, Dense)) for layer in found):
        raise UnlikeLayersError("no layer with parameters")
    given = [state is not None for state in initial]
    if any(given):
        states = [
            zeros(layer) if state is None else state
            for layer, state in zip(
                (layer for layer in found if isinstance(layer, RecurrentNet)), initial, strict=True
            )
        ]
        return Sequential(*found, initial_state=tuple(states))
    if len(found) == 1 and not isinstance(found[0], Activation):
        alone: Layered = found[0]
        return alone
    return Sequential(*found)


def grouped(stages: tuple[Stage, ...]) -> list[list[Stage]]:
    """Stages that are the layers of one network, together."""
    groups: list[list[Stage]] = []
    for stage in stages:
        last = groups[-1][-1] if groups else None
        both = isinstance(stage, RecurrentStage) and isinstance(last, RecurrentStage)
        if both and continues(last, stage):
            groups[-1].append(stage)
        else:
            groups.append([stage])
    return groups


def continues(before: Any, stage: Any) -> bool:
    """Whether a layer can be the next one of the same network."""
    names = OURS.fullmatch(before.name), OURS.fullmatch(stage.name)
    if names[0] and names[1] and names[0][1] != names[1][1]:
        # Written by us as two networks.
        return False
    a, b = before.recurrence, stage.recurrence
    sizes = before.r.shape == stage.r.shape and stage.w.shape[2] == columns(before)
    there = [(each.b is None, each.p is None) for each in (before, stage)]
    alike = a.computed == b.computed and sizes and there[0] == there[1]
    return alike and all(map(follows, before.initial, stage.initial))


def columns(stage: RecurrentStage) -> int:
    """Features that a layer gives."""
    return int(stage.r.shape[0] * stage.r.shape[2])


def follows(before: StateInput | Rows | None, state: StateInput | Rows | None) -> bool:
    """Whether two initial states can be rows of one."""
    if isinstance(before, StateInput) and isinstance(state, StateInput):
        return before.name == state.name and before.end == state.start
    return type(before) is type(state) and not isinstance(state, StateInput)


def network(stages: list[RecurrentStage], batch_first: bool) -> RecurrentNet[Any]:
    """Stages with one set of attributes, as the layers of a network."""
    first = stages[0]
    recurrence = first.recurrence
    for state in first.initial:
        if isinstance(state, StateInput) and state.start != 0:
            raise UnlikeLayersError(
                f"{recurrence.name}: an initial state from the midst of an input"
            )
    net = recurrence.cell(first.p is not None).network(
        first.w.shape[2],
        first.r.shape[2],
        num_layers=len(stages),
        bias=first.b is not None,
        batch_first=batch_first,
        bidirectional=len(recurrence.reverse) == 2,
        dtype=first.w.dtype,
    )
    parameters: dict[str, Array] = {}
    for n, stage in enumerate(stages):
        parameters |= stage.recurrence.parameters(stage.w, stage.r, stage.b, stage.p, n)
    net.load_state_dict(parameters)
    return net


def initial_state(stages: list[RecurrentStage]) -> Any:
    """The constant state (L*D, H) that the layers start from, as a Sequential takes it, or None."""
    if not any(isinstance(state, Rows) for stage in stages for state in stage.initial):
        return None
    parts = []
    for n in range(len(stages[0].recurrence.kind.states)):
        rows = []
        for stage in stages:
            state = stage.initial[n]
            if isinstance(state, StateInput):
                raise UnlikeLayersError("initial states of which some are inputs, some constants")
            shape = (stage.r.shape[0], stage.r.shape[2])
            rows.append(
                np.zeros(shape, dtype=stage.r.dtype) if state is None else state.value[:, 0]
            )
        parts.append(np.concatenate(rows))
    return tuple(parts) if len(parts) > 1 else parts[0]


def zeros(layer: RecurrentNet[Any]) -> Any:
    parts = tuple(
        np.zeros((layer._sizes.cells, columns), dtype=layer.dtype)
        for columns in layer._sizes.states
    )
    return parts if len(parts) > 1 else parts[0]


def dense(stage: DenseStage) -> Dense:
    outputs, inputs = stage.weight.shape
    layer = Dense(inputs, outputs, bias=stage.bias is not None, dtype=stage.weight.dtype, seed=0)
    parameters = {"weight": stage.weight}
    if stage.bias is not None:
        parameters["bias"] = stage.bias
    layer.load_state_dict(parameters)
    return layer


def activation(stage: ActivationStage) -> Activation:
    return Activation(stage.function, **stage.constants)
