"""Weights as the kernels want them, packed once for as long as they stay what they are.

A packed network never changes: other weights make another one. So a tape, which refers to the
network it was recorded with, can go backward whatever has happened to the weights since.

How a change is noticed. A tensor's `_version` counts what is done to it in place, and `data_ptr`
tells where its numbers are. That does not tell everything: what is written through `tensor.data`,
through a NumPy view, or by a fused optimiser (`Adam(fused=True)`) counts nowhere. So the numbers
themselves are compared too, all of them

- after any `torch.optim` optimiser has stepped,
- where it costs next to nothing: in long calls, and where the weights are few,

and otherwise, in short calls with many weights, `GLANCE` of each, spread over it, which shows every
change of a weight as a whole.
"""

from __future__ import annotations

import itertools
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, NamedTuple

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from .._native import Network
from ._kind import Kind, Sizes

NUMBERS = {torch.float32: "float32", torch.float64: "float64"}
# What has nothing to add to a tensor's behaviour.
PLAIN = frozenset((torch.Tensor, torch.nn.Parameter))
EVERYTHING = sys.maxsize
# Numbers of each weight that are looked at when there is no time for more.
GLANCE = 32
# Steps times rows from which all numbers are compared: it costs a few hundredths of the call.
LONG = 256
# Numbers in all weights up to which they are compared always: some 3 µs.
FEW = 32_768

_optimisers_steps = itertools.count(1)
_epoch = 0


def _stepped(*_: Any) -> None:
    global _epoch
    _epoch = next(_optimisers_steps)


register_optimizer_step_post_hook(_stepped)


class Unfit(Exception):  # noqa: N818 - a reason, not an error: PyTorch computes instead
    """Why these weights are not for our kernels."""


def array(tensor: Any) -> Any:
    """A tensor's memory as a NumPy array; a copy if it is a negation still to be done."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    return tensor.numpy()


def _arrays(weights: Sequence[Any], dtype: Any) -> list[Any]:
    for weight in weights:
        if not weight.is_cpu or weight.layout is not torch.strided or weight.is_neg():
            raise Unfit("the weights are not dense tensors in the CPU's memory")
        if weight.dtype is not dtype:
            raise Unfit(f"x is {dtype}, a weight {weight.dtype}")
    return [array(weight) for weight in weights]


class Net(NamedTuple):
    """A network, and what a call has to know of it."""

    network: Network
    kind: Kind
    sizes: Sizes
    dtype: Any  # NumPy's
    # Of each weight, and the numbers it has.
    shapes: list[tuple[int, ...]]
    counts: list[int]


def _make(kind: Kind, arrays: list[Any]) -> Net:
    sizes = kind.sizes(arrays)
    network = Network(
        kind.cell,
        sizes.input,
        sizes.hidden,
        kind.layers,
        kind.bias,
        kind.bidirectional,
        sizes.state if kind.projected else 0,
        False,
        arrays[0].dtype.name,
    )
    shapes = [tuple(shape) for _, shape in network.parameter_shapes()]
    return _with(
        Net(network, kind, sizes, arrays[0].dtype, shapes, [a.size for a in arrays]), arrays
    )


def _with(net: Net, arrays: list[Any]) -> Net:
    if [a.shape for a in arrays] != net.shapes:
        raise Unfit("the weights have unusual shapes")
    return net._replace(network=net.network.with_parameters(arrays))


class Packed:
    """A network, and the weights it was made of. Immutable but for when it was last compared."""

    __slots__ = ("arrays", "dtype", "epoch", "few", "key", "net")

    def __init__(self, net: Net, arrays: list[Any], dtype: Any, key: Any, epoch: int) -> None:
        self.net = net
        self.dtype = dtype
        # They keep the weights' memory, so that no other weight can come to lie there.
        self.arrays = arrays
        self.few = sum(net.counts) <= FEW
        self.key = key
        self.epoch = epoch

    def __reduce__(self) -> Any:
        """Copied and pickled as None: a copy of a module packs its own weights."""
        return type(None), ()

    def holds(self, steps: int) -> bool:
        """Whether the weights, known to lie where they lay, still have the network's numbers."""
        epoch = _epoch
        thorough = steps >= LONG or self.few or self.epoch != epoch or self.key[0] is None
        most = EVERYTHING if thorough else GLANCE
        if not self.net.network.has_parameters(self.arrays, most):
            return False
        if thorough:
            self.epoch = epoch
        return True


def packed(
    cache: dict[int, Packed], slot: int, kind: Kind, weights: Sequence[Any], dtype: Any, steps: int
) -> Net:
    """The network of these weights, for an x of that dtype and so many steps times rows.

    Raises
    ------
    Unfit
        If our kernels cannot have them.
    """
    key: list[Any] = []
    for weight in weights:
        if type(weight) not in PLAIN:
            raise Unfit(f"a weight is a {type(weight).__name__}")
        key.append(weight.data_ptr())
    try:
        for weight in weights:
            key.append(weight._version)
    except RuntimeError:  # made in inference mode, where nothing is counted
        key.insert(0, None)
    found = cache.get(slot)
    if found is not None and found.dtype is dtype and found.key == key and found.holds(steps):
        return found.net
    epoch = _epoch
    arrays = _arrays(weights, dtype)
    if found is not None and found.dtype is dtype:
        net = _with(found.net, arrays)
    else:
        net = _make(kind, arrays)
    cache[slot] = Packed(net, arrays, dtype, key, epoch)
    return net


# Networks of weights that come without a module, by where the weights lie. Their memory may have
# been reused since, so all numbers are compared always.
_loose: OrderedDict[Any, Net] = OrderedDict()
_MOST_LOOSE = 64
_lock = Lock()


def packed_loose(kind: Kind, weights: Sequence[Any], dtype: Any) -> Net:
    """The network of weights that belong to no module we know."""
    key = (kind, *[(weight.data_ptr(), weight.shape, weight.dtype) for weight in weights])
    arrays = _arrays(weights, dtype)
    with _lock:
        found = _loose.pop(key, None)
    if found is None:
        net = _make(kind, arrays)
    elif found.network.has_parameters(arrays, EVERYTHING):
        net = found
    else:
        net = _with(found, arrays)
    with _lock:
        _loose[key] = net
        while len(_loose) > _MOST_LOOSE:
            _loose.popitem(last=False)
    return net


def threads_follower() -> Callable[[], None]:
    """A function to be called before work: as many threads as PyTorch has.

    Where PyTorch's number changes (`torch.set_num_threads`, workers of a DataLoader) ours follows
    once; `unrolled.set_num_threads` after that stands. UNROLLED_NUM_THREADS has the last word.
    """
    import os

    from .._native import set_num_threads

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
