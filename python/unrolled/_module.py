"""What everything with parameters shares: their names, copies in and out, pickling."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np

from . import _arguments as arguments
from . import _native
from ._arguments import Array, Sizes
from ._compress import Compression, Weights, check, compression
from ._gradients import ModuleGradients
from ._native import Dense as NativeDense
from ._native import Network as NativeNetwork

S = TypeVar("S")


class Written:
    """What can be written as Rust source."""

    # `_rust` knows all that can be written, so that it gives the writer to them.
    _to_rust: ClassVar[Callable[[Any, str | os.PathLike[str], Weights | None], None]]

    # What `compress` found; of a net that it did not make, None.
    _compression: Compression | None = None

    def compress(self, weights: Weights, x: Any = None, *, lengths: Any = None) -> Self:
        """A copy that stores recurrent weights smaller, for steps of a single row.

        Such a step, in a stream above all, takes as long as its weights take to come from the
        cache: it reads the smaller ones where that is faster. All else reads floats, and everything
        is computed in `dtype`: the copy gives what a net of the rounded weights gives, bit for bit,
        and is saved as such a net. Copies and pickles of it are compressed too; what is loaded into
        it, or learned, is rounded again, so train before you compress. Read-outs (`Dense`) stay as
        they are. ``to_rust(path, weights=...)`` stores weights so as well.

        Parameters
        ----------
        weights : {"float16", "int8"}
            How ``weight_ih`` and ``weight_hh`` are stored: as IEEE 754's binary16, what is nearer
            to 0 than 2⁻¹⁴ being rounded to that or to 0; or as integers from -127 to 127 and, for
            each row, a scale, which is its largest magnitude / 127.
        x : array, optional
            Data of yours, as a call takes it: `compression` then says how far outputs moved.
        lengths : optional
            Goes with `x`, as a call takes it.

        Returns
        -------
        The same kind of net; its `compression` says what was gained and what it cost.

        Raises
        ------
        ValueError
            For another way of storing, weights that are not finite, and an `x` that does not fit.

        Examples
        --------
        >>> import numpy as np, unrolled as ur
        >>> net = ur.LSTM(1, 64, seed=0)
        >>> x = np.sin(np.arange(100, dtype=np.float32)).reshape(100, 1, 1)
        >>> small = net.compress("float16", x)
        >>> small.compression.bytes_before, small.compression.bytes
        (66560, 33280)
        >>> 0 < small.compression.error < 0.001
        True
        """
        check(weights)
        whole: Any = self
        if x is None and lengths is not None:
            raise ValueError("lengths: expected an x that they are of, got none")
        made = copy.deepcopy(self)
        made._store(weights)
        outputs = None
        if x is not None:
            outputs = _outputs(self, x, lengths), _outputs(made, x, lengths)
        made._compression = compression(whole.state_dict(), weights, outputs)
        return made

    @property
    def compression(self) -> Compression | None:
        """What `compress` did when it made this net; None where it did not."""
        return self._compression

    def _store(self, weights: Weights) -> None:
        """Store recurrent weights so from now on."""
        raise NotImplementedError

    def to_rust(self, path: str | os.PathLike[str], *, weights: Weights | None = None) -> None:
        """Write the model as Rust source for programs without `std` and without an allocator.

        A module with the weights as `static` cells of fixed size and
        ``step(&[f32; INPUTS], &mut State) -> [f32; OUTPUTS]``, whose results are `stream`'s, bit
        for bit. It depends on the crate `unrolled` with ``default-features = false``.

        Parameters
        ----------
        path : path
        weights : {"float16", "int8"}, optional
            Stores recurrent weights in half of the memory, or a quarter and a scale for each row:
            see `compress`, whose stream the program then equals, bit for bit. Such cells cannot be
            trained.

        Raises
        ------
        ValueError
            For what cells of fixed size do not have: a second direction, a projection, `normalise`,
            which needs the whole row; and for parameters that are not finite.
        """
        if weights is not None:
            check(weights)
        type(self)._to_rust(self, path, weights)


def _outputs(net: Any, x: Any, lengths: Any) -> Array:
    y = net(x) if lengths is None else net(x, lengths=lengths)
    outputs: Array = y[0] if isinstance(y, tuple) else y
    return outputs


class Module(Written):
    """Something with parameters. Use `LSTM`, `GRU`, `RNN` or `Dense`."""

    dtype: np.dtype[Any]
    _native: NativeNetwork | NativeDense
    _shapes: dict[str, tuple[int, ...]]
    # How recurrent weights are stored, where that is not as they are.
    _weights: Weights | None = None

    def _adopt(self, native: NativeNetwork | NativeDense) -> None:
        if self._weights is not None and isinstance(native, NativeNetwork):
            native = native.compressed(self._weights)
        self._native = native
        self._shapes = {name: tuple(shape) for name, shape in native.parameter_shapes()}

    def _store(self, weights: Weights) -> None:
        self._weights = weights
        self._adopt(self._native)

    def _make(self) -> NativeNetwork | NativeDense:
        """The native part, its parameters zero."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON knows them."""
        raise NotImplementedError

    @property
    def num_parameters(self) -> int:
        """How many numbers `state_dict` holds."""
        return sum(map(math.prod, self._shapes.values()))

    def state_dict(self) -> dict[str, Array]:
        """Copies of the parameters under PyTorch's names, in PyTorch's order."""
        return dict(zip(self._shapes, self._native.parameters(), strict=True))

    def load_state_dict(self, mapping: Mapping[str, Any]) -> None:
        """Replace every parameter. All or nothing: on an error nothing has changed.

        Tapes recorded before can no longer go backward.

        Parameters
        ----------
        mapping : mapping of str to array
            Arrays, or objects with DLPack or a buffer such as PyTorch's tensors, under the keys of
            `state_dict` and of the same shapes and dtype.

        Raises
        ------
        ValueError
            If keys are missing or unexpected (the message lists them), or a shape does not fit.
        TypeError
            If an array does not have the dtype of the parameters.
        """
        if not isinstance(mapping, Mapping):
            raise TypeError(f"mapping: expected a mapping, got {arguments.kind(mapping)}")
        _native.load([self._native], [self.fitting("mapping", mapping)])

    def fitting(self, name: str, mapping: Mapping[str, Any] | ModuleGradients) -> list[Array]:
        """The arrays of `mapping` in order, or all of them in one, if each parameter has one."""
        if isinstance(mapping, ModuleGradients):
            whole = mapping.whole()
            if whole is not None and mapping._shapes == self._shapes and whole.dtype == self.dtype:
                return [whole]
            mapping = mapping.parameters
        arguments.instance(name, mapping, Mapping, "a mapping")
        if mapping.keys() != self._shapes.keys():
            missing = [key for key in self._shapes if key not in mapping]
            unexpected = [key for key in mapping if key not in self._shapes]
            raise ValueError(
                f"{name}: expected the keys of state_dict(), got missing keys {missing}, "
                f"unexpected keys {unexpected}"
            )
        return [
            self._fitting(f"{name}[{key!r}]", mapping[key], shape)
            for key, shape in self._shapes.items()
        ]

    def _fitting(self, name: str, value: Any, shape: tuple[int, ...]) -> Array:
        a = arguments.array(name, value, self.dtype)
        return arguments.contiguous(arguments.shaped(name, a, "of the parameter", shape))

    def twin(self, parameters: list[Array]) -> Self:
        """Another of the same kind with these parameters, in the order of `state_dict`.

        Nothing is drawn: for who has the parameters and needs what works with them.
        """
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._adopt(twin._make())
        _native.load([twin._native], [parameters])
        return twin

    # Pickled, and with that copied, as its attributes and its parameters.

    def __getstate__(self) -> dict[str, Any]:
        attributes = {k: v for k, v in self.__dict__.items() if k not in ("_native", "_shapes")}
        return {"attributes": attributes, "parameters": self.state_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state["attributes"])
        self._adopt(self._make())
        self.load_state_dict(state["parameters"])


class Network(Module, Generic[S]):
    """A recurrent module, as its tapes and streams know it; `S` is the type of its state."""

    input_size: int
    hidden_size: int
    num_layers: int
    batch_first: bool
    bidirectional: bool
    _native: NativeNetwork
    _sizes: Sizes
    # Whether what a tape keeps are gates with names.
    _has_gates = True

    @property
    def num_directions(self) -> int:
        """2 if bidirectional, else 1."""
        return 2 if self.bidirectional else 1
