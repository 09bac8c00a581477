"""Weights as the kernels want them, packed once for as long as they stay what they are.

A packed network never changes: other weights make another one. So a tape, which refers to the
network it was recorded with, can go backward whatever has happened to the weights since.

How a change is noticed: before every call all numbers are compared, bit by bit. PyTorch's counters
(`_version`) know nothing of what is written through `tensor.data`, a NumPy view, a fused optimiser
or by another process. The comparison runs as fast as memory is read; where a call is so short that
this makes it slower than PyTorch's, the module leaves it to PyTorch (`_quicker_by_torch`).
"""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch

from .._native import Network, set_num_threads
from ._kind import Kind, Sizes
from ._memory import Unfit, array

# What has nothing to add to a tensor's behaviour.
PLAIN = frozenset((torch.Tensor, torch.nn.Parameter))
_ALL = sys.maxsize
_NOT_DENSE = "the weights are not dense tensors in the CPU's memory"


def _arrays(weights: Sequence[Any], dtype: Any) -> list[Any]:
    for weight in weights:
        if not weight.is_cpu or weight.layout is not torch.strided:
            raise Unfit(_NOT_DENSE)
        if weight.dtype is not dtype:
            raise Unfit(f"x is {dtype}, a weight {weight.dtype}")
    return [array(weight) for weight in weights]


class Net(NamedTuple):
    """A network, and what a call has to know of it."""

    network: Network
    kind: Kind
    sizes: Sizes
    # Of each state.
    columns: tuple[int, ...]
    dtype: Any  # NumPy's
    # Of each weight, and the numbers it has.
    shapes: list[tuple[int, ...]]
    counts: list[int]


def _make(kind: Kind, arrays: list[Any]) -> Net:
    """A network for such weights, all of them zero."""
    if any(a.ndim != 2 for a in arrays[: len(kind.traits.matrices)]):
        raise Unfit("the weights have unusual shapes")
    sizes = kind.sizes(arrays)
    if 0 in sizes:
        raise Unfit("the weights are empty")
    network = kind.network(sizes, arrays[0].dtype.name)
    shapes = [tuple(shape) for _, shape in network.parameter_shapes()]
    counts = [a.size for a in arrays]
    return Net(network, kind, sizes, kind.columns(sizes), arrays[0].dtype, shapes, counts)


def _renewed(net: Net | None, kind: Kind, arrays: list[Any]) -> Net:
    """`net` itself if it has these weights, or else one that has them."""
    if net is None or net.kind != kind or net.dtype != arrays[0].dtype:
        net = _make(kind, arrays)
    if [a.shape for a in arrays] != net.shapes:
        raise Unfit("the weights have unusual shapes")
    if net.network.has_parameters(arrays, _ALL):
        return net
    return net._replace(network=net.network.with_parameters(arrays))


class Packed(NamedTuple):
    """A network, and the arrays of its weights, with where and how these lay in memory."""

    net: Net
    places: list[tuple[int, Any]]
    arrays: list[Any]

    def __reduce__(self) -> Any:
        """Copied and pickled as None: a copy of a module packs its own weights."""
        return type(None), ()


def _still_there(found: Packed, weights: Sequence[Any], dtype: Any) -> bool:
    """Whether the arrays are still those of the weights."""
    for weight, (address, shape) in zip(weights, found.places, strict=True):
        if (
            weight.data_ptr() != address
            or weight.shape != shape
            or weight.dtype is not dtype
            or not weight.is_contiguous()
            or weight.is_neg()
        ):
            return False
    return True


def packed(
    cache: dict[int, Packed],
    slot: int,
    kind: Kind,
    weights: Sequence[Any],
    units: int,
    dtype: Any,
) -> Net:
    """The network of these weights of so many units, for an x of that dtype.

    Raises
    ------
    Unfit
        If our kernels cannot have them.
    """
    for weight in weights:
        if type(weight) not in PLAIN:
            raise Unfit(f"a weight is a {type(weight).__name__}")
        if weight.layout is not torch.strided:
            raise Unfit(_NOT_DENSE)
    found = cache.get(slot)
    if found is not None and found.net.kind == kind and _still_there(found, weights, dtype):
        if found.net.network.has_parameters(found.arrays, _ALL):
            return found.net
        arrays = found.arrays
    else:
        arrays = _arrays(weights, dtype)
    net = _renewed(None if found is None else found.net, kind, arrays)
    if net.sizes.hidden != units:
        raise Unfit("the weights have unusual shapes")
    cache[slot] = Packed(net, [(w.data_ptr(), w.shape) for w in weights], arrays)
    return net


# Networks of weights that come without a module, by where the weights lie. Each of the dictionary's
# operations is whole by itself; a lock would hang a signal handler or a forked child that finds it
# held.
_loose: OrderedDict[Any, Net] = OrderedDict()
_MOST_LOOSE = 64


def packed_loose(kind: Kind, weights: Sequence[Any], dtype: Any) -> Net:
    """The network of weights that belong to no module we know."""
    key = (kind, *[(weight.data_ptr(), weight.shape, weight.dtype) for weight in weights])
    arrays = _arrays(weights, dtype)
    net = _renewed(_loose.pop(key, None), kind, arrays)
    _loose[key] = net
    # Another thread may have emptied it meanwhile.
    with suppress(KeyError):
        while len(_loose) > _MOST_LOOSE:
            _loose.popitem(last=False)
    return net


def threads_follower() -> Callable[[], None]:
    """A function to be called before work: as many threads as PyTorch has.

    Where PyTorch's number changes (`torch.set_num_threads`, workers of a DataLoader) ours follows
    once; `unrolled.set_num_threads` after that stands. UNROLLED_NUM_THREADS has the last word.
    """
    if "UNROLLED_NUM_THREADS" in os.environ:
        return lambda: None
    last = 0

    def follow() -> None:
        nonlocal last
        threads = torch.get_num_threads()
        if threads != last:
            last = threads
            set_num_threads(threads)

    return follow


follow_threads = threads_follower()
