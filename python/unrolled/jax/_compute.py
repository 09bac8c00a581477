"""What XLA calls: the kernels on views of its memory.

A tape cannot be an array of JAX's. It stays here, and the program carries a token by which the way
back finds it. The token names it for as long as it is kept: until it is used, or until newer ones
need the room. A way back whose tape is gone records again, with the same result to the last bit, so
that nothing hangs on how often or in what order XLA runs what.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from threading import RLock
from typing import Any, NamedTuple

import numpy as np

from .._arguments import Array
from .._modules import RecurrentNet
from .._tape import Tape
from ._call import Call, parse, template


class Recorded(NamedTuple):
    """The tapes of one call, one for each network that ran, and what they are tapes of."""

    members: int
    mapped: tuple[bool, ...]
    shape: tuple[int, ...]
    tapes: list[Tape[Any]]

    @property
    def nbytes(self) -> int:
        return sum(tape.nbytes for tape in self.tapes)


class Tapes:
    """Those not yet used, the newest `limit` bytes of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: OrderedDict[bytes, Recorded] = OrderedDict()
        self._bytes = 0
        # XLA may run several calls at once, and a signal handler call again from within one.
        self._lock = RLock()

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self._bytes

    @property
    def limit(self) -> int:
        """The most memory held."""
        return self._limit

    @limit.setter
    def limit(self, value: int) -> None:
        with self._lock:
            self._limit = value
            self._make_room()

    def keep(self, recorded: Recorded) -> bytes:
        """The token. No other process has given it out either: arrays can be saved and loaded."""
        token = secrets.token_bytes(16)
        size = recorded.nbytes
        with self._lock:
            self._held[token] = recorded
            self._bytes += size
            self._make_room()
        return token

    def take(self, token: bytes) -> Recorded | None:
        """What was kept under the token, if it still is; it no longer is then."""
        with self._lock:
            recorded = self._held.pop(token, None)
            size = 0 if recorded is None else recorded.nbytes
            self._bytes -= size
        return recorded

    def _make_room(self) -> None:
        while self._held and self._bytes > self._limit:
            _, oldest = self._held.popitem(last=False)
            size = oldest.nbytes
            self._bytes -= size


tapes = Tapes(limit=1 << 30)


def run(text: bytes, operands: list[Array], results: list[Array]) -> None:
    """y and the final state."""
    call = parse(text)
    nets = _Networks(call, operands)
    for member in range(max(call.members, 1)):
        x, state, lengths, resets, _ = call.parts(_of(call, operands, member))
        y, final = nets[member](x, _state(state), lengths=lengths, resets=resets)
        _fill(call, results, member, [y, *_parts(final)])


def record(text: bytes, operands: list[Array], results: list[Array]) -> None:
    """y and the final state, and the token of the tapes."""
    call = parse(text)
    nets = _Networks(call, operands)
    recorded = []
    for member in range(max(call.members, 1)):
        y, final, tape = _record(call, nets[member], _of(call, operands, member))
        _fill(call, results[:-1], member, [y, *_parts(final)])
        recorded.append(tape)
    kept = Recorded(call.members, call.mapped, operands[0].shape, recorded)
    results[-1][...] = np.frombuffer(tapes.keep(kept), np.uint32)


def backward(text: bytes, operands: list[Array], results: list[Array]) -> None:
    """The derivatives by the wanted operands.

    The operands are the token, those of the network, and the derivatives by y and the final state.
    """
    call = parse(text)
    token, *operands = operands
    mapped = call.mapped[: call.primals]
    # Several ways back may start from one recording: then only the derivatives by y are mapped.
    alone = not any(mapped)
    kept = tapes.take(token.tobytes())
    if kept is not None and not (
        kept.mapped == mapped
        and kept.shape == operands[0].shape
        and (alone or kept.members == call.members)
    ):
        kept = None
    recorded = None if kept is None else kept.tapes
    nets = _Networks(call, operands)
    tape = None
    for member in range(max(call.members, 1)):
        mine = _of(call, operands, member)
        if recorded is not None:
            tape = recorded[0 if alone else member]
        elif tape is None or not alone:
            _, _, tape = _record(call, nets[member], mine)
        dy, *d_state = mine[call.primals :]
        g = tape.backward(dy, _state(tuple(d_state)))
        found = dict(enumerate([g.input, *_parts(g.state)]))
        found |= enumerate(g.parameters.values(), start=call.first_parameter)
        _fill(call, results, member, [found[n] for n in call.wanted_operands()])


class _Networks:
    """The networks of the members, made when asked for; one for all if they share parameters."""

    def __init__(self, call: Call, operands: list[Array]) -> None:
        self._call, self._operands = call, operands
        self._template = template(call.kind, call.config)
        self._shared = not any(call.mapped[call.first_parameter : call.primals])
        self._made: tuple[int, RecurrentNet[Any]] | None = None

    def __getitem__(self, member: int) -> RecurrentNet[Any]:
        member = 0 if self._shared else member
        if self._made is None or self._made[0] != member:
            *_, parameters = self._call.parts(_of(self._call, self._operands, member))
            self._made = (member, self._template.twin(parameters))
        return self._made[1]


def _record(call: Call, net: RecurrentNet[Any], operands: list[Array]) -> Any:
    x, state, lengths, resets, _ = call.parts(operands)
    return net.record(x, _state(state), lengths=lengths, resets=resets)


def _of(call: Call, operands: list[Array], member: int) -> list[Array]:
    """One member's operands."""
    pairs = zip(operands, call.mapped, strict=True)
    return [a[member] if mapped else a for a, mapped in pairs]


def _fill(call: Call, results: list[Array], member: int, values: list[Array]) -> None:
    for result, value in zip(results, values, strict=True):
        (result[member] if call.members else result)[...] = value


def _state(parts: tuple[Array, ...]) -> Any:
    return parts if len(parts) > 1 else parts[0]


def _parts(state: Any) -> tuple[Array, ...]:
    return state if isinstance(state, tuple) else (state,)
