"""What stands around the recurrent nodes: shapes, products, activations, in NumPy.

Each function takes the node's attributes (`Attributes`: the defaults of its version are in) and its
inputs, None where one is omitted, and returns its outputs. What an operator's versions call
differently (``axes`` as an attribute, then as an input) is told by what the attributes hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from .._arguments import Array
from ..reference._onnx_functions import FORMULAS, log_softmax, softmax
from ._budget import AXES, Budget
from ._tensor import DTYPES, type_name

Attributes: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """One node, about to be computed."""

    attributes: Attributes
    inputs: list[Array | None]
    outputs: int
    version: int
    # What the value that is made may take.
    budget: Budget

    def given(self, index: int, name: str) -> Array:
        """An input that must be there."""
        value = self.optional(index)
        if value is None:
            raise ValueError(f"{name}: expected an input, got none")
        return value

    def optional(self, index: int) -> Array | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def integers(self, index: int, name: str) -> list[int] | None:
        """A list of integers: an attribute in older versions, an input in newer ones."""
        if name in self.attributes:
            return list(self.attributes[name])
        value = self.optional(index)
        if value is None:
            return None
        if value.dtype not in (np.int64, np.int32) or value.ndim > 1:
            raise ValueError(f"{name}: expected integers, one axis, got {described(value)}")
        # A number for each axis or each output; a list of millions takes much more than its array.
        if value.size > max(AXES, self.outputs):
            raise ValueError(f"{name}: expected at most {AXES} integers, got {value.size}")
        return [int(n) for n in value.reshape(-1)]

    def room(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], each: float = 8
    ) -> tuple[int, ...]:
        """`shape`, if a value of it may be made at so many nanoseconds a number."""
        return self.budget.room(shape, dtype, each)

    def like(self, index: int, name: str, each: float = 8) -> Array:
        """An input that must be there, if another value of its size may be made."""
        value = self.given(index, name)
        self.room(value.shape, value.dtype, each)
        return value


Operator: TypeAlias = Callable[[Call], list[Array]]

# Nanoseconds for one product and its sum, of integers, which no library multiplies; and for a
# number's exponential with what is done to it.
PRODUCT, TRANSCENDENTAL = 2, 32


def described(a: Array) -> str:
    return f"{a.dtype} {a.shape}"


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the start."""
    if not -rank <= axis < rank:
        raise ValueError(f"axis: expected one of {rank} axes, got {axis}")
    return axis % rank


# --- Values and shapes


def constant(call: Call) -> list[Array]:
    given = {key: value for key, value in call.attributes.items() if value is not None}
    if len(given) != 1:
        raise ValueError(f"expected one value, got {sorted(given)}")
    ((key, value),) = given.items()
    if key == "value":
        return [value]
    dtypes = {"value_int": "i8", "value_ints": "i8", "value_float": "f4", "value_floats": "f4"}
    if key not in dtypes:
        raise ValueError(f"attribute {key!r:.80}: expected a tensor or numbers")
    return [np.array(value, dtype=dtypes[key])]


def constant_of_shape(call: Call) -> list[Array]:
    shape = tuple(call.integers(0, "input") or ())
    value = call.attributes.get("value", np.zeros(1, dtype=np.float32))
    if value.size != 1:
        raise ValueError(f"attribute 'value': expected one number, got {described(value)}")
    return [np.full(call.room(shape, value.dtype), value.reshape(()))]


def identity(call: Call) -> list[Array]:
    return [call.given(0, "input")]


def dropout(call: Call) -> list[Array]:
    """As at inference, where it does nothing."""
    training = call.optional(2)
    if training is not None and training.any():
        raise ValueError("training_mode: expected False, got True")
    data = call.given(0, "data")
    if call.outputs < 2:
        return [data]
    return [data, np.ones(call.room(data.shape, np.dtype(np.bool_)), dtype=np.bool_)]


def cast(call: Call) -> list[Array]:
    dtype = DTYPES.get(call.attributes["to"])
    if dtype is None:
        raise ValueError(
            f"to: expected one of {sorted(map(str, DTYPES.values()))}, got "
            f"{type_name(call.attributes['to'])}"
        )
    data = call.given(0, "input")
    call.room(data.shape, dtype)
    return [data.astype(dtype)]


def shape(call: Call) -> list[Array]:
    sizes = call.given(0, "data").shape
    return [np.array(sizes[call.attributes.get("start", 0) : call.attributes.get("end")], "i8")]


def gather(call: Call) -> list[Array]:
    data, indices = call.given(0, "data"), call.given(1, "indices")
    axis = axis_of(call.attributes["axis"], data.ndim)
    if indices.dtype not in (np.int32, np.int64):
        raise ValueError(f"indices: expected integers, got {described(indices)}")
    size = data.shape[axis]
    call.budget.spend("", indices.size)
    if indices.size and not (-size <= indices.min() and indices.max() < size):
        raise ValueError(f"indices: expected less than {size}, got {indices.max()}")
    call.room((*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]), data.dtype)
    return [np.take(data, indices, axis=axis)]


def slice_(call: Call) -> list[Array]:
    data = call.given(0, "data")
    starts, ends = call.integers(1, "starts") or [], call.integers(2, "ends") or []
    axes = call.integers(3, "axes")
    axes = list(range(len(starts))) if axes is None else axes
    steps = call.integers(4, "steps") or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise ValueError("starts, ends, axes, steps: expected as many of each, steps other than 0")
    axes = [axis_of(axis, data.ndim) for axis in axes]
    if len(set(axes)) != len(axes):
        raise ValueError(f"axes: expected each once, got {axes}")
    where = [slice(None)] * data.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = data.shape[axis]
        start, end = (n + size if n < 0 else n for n in (start, end))
        if step > 0:
            where[axis] = slice(max(start, 0), max(end, 0), step)
        else:
            start, end = min(max(start, 0), size - 1), min(max(end, -1), size - 1)
            # To Python's slices -1 is the last entry; only None is the place before the first.
            where[axis] = slice(start, None if end < 0 else end, step)
    return [data[tuple(where)]]


def split(call: Call) -> list[Array]:
    data = call.given(0, "input")
    axis = axis_of(call.attributes["axis"], data.ndim)
    sizes = call.integers(1, "split")
    total = data.shape[axis]
    if sizes is None:
        parts = call.attributes.get("num_outputs", call.outputs)
        if parts != call.outputs:
            raise ValueError(f"num_outputs: expected {call.outputs}, got {parts}")
        each = -(-total // parts)
        sizes = [min(each, total - n * each) for n in range(parts)]
    if len(sizes) != call.outputs or min(sizes) < 0 or sum(sizes) != total:
        raise ValueError(f"split: expected {call.outputs} sizes with the sum {total}, got {sizes}")
    return np.split(data, np.cumsum(sizes)[:-1], axis=axis)


def concat(call: Call) -> list[Array]:
    parts = [call.given(n, "inputs") for n in range(len(call.inputs))]
    axis = axis_of(call.attributes["axis"], parts[0].ndim)
    sizes = list(parts[0].shape)
    sizes[axis] = sum(part.shape[axis] for part in parts if part.ndim > axis)
    call.room(tuple(sizes), parts[0].dtype)
    return [np.concatenate(parts, axis=axis)]


def squeeze(call: Call) -> list[Array]:
    data, axes = call.given(0, "data"), call.integers(1, "axes")
    return [data.squeeze() if axes is None else data.squeeze(tuple(axes))]


def unsqueeze(call: Call) -> list[Array]:
    data, axes = call.given(0, "data"), call.integers(1, "axes")
    if axes is None:
        raise ValueError("axes: expected some, got none")
    return [np.expand_dims(data, tuple(axes))]


def reshape(call: Call) -> list[Array]:
    # What is transposed has to be copied.
    data, sizes = call.like(0, "data"), call.integers(1, "shape")
    if sizes is None:
        raise ValueError("shape: expected sizes, got none")
    if not call.attributes.get("allowzero", 0):
        if any(size == 0 and n >= data.ndim for n, size in enumerate(sizes)):
            raise ValueError(f"shape: expected zeros for axes of {data.shape}, got {sizes}")
        sizes = [data.shape[n] if size == 0 else size for n, size in enumerate(sizes)]
    if min(sizes, default=0) < -1:
        raise ValueError(f"shape: expected sizes >= -1, got {sizes}")
    return [data.reshape(sizes)]


def flatten(call: Call) -> list[Array]:
    data, axis = call.like(0, "input"), call.attributes["axis"]
    axis = data.ndim if axis == data.ndim else axis_of(axis, data.ndim)
    return [data.reshape(math.prod(data.shape[:axis]), math.prod(data.shape[axis:]))]


def transpose(call: Call) -> list[Array]:
    return [call.given(0, "data").transpose(call.attributes.get("perm"))]


def expand(call: Call) -> list[Array]:
    data, sizes = call.given(0, "input"), call.integers(1, "shape")
    if sizes is None:
        raise ValueError("shape: expected sizes, got none")
    whole = np.broadcast_shapes(data.shape, call.room(tuple(sizes), data.dtype))
    return [np.broadcast_to(data, call.room(whole, data.dtype)).copy()]


# --- Arithmetic


def binary(function: Callable[[Array, Array], Any]) -> Operator:
    def compute(call: Call) -> list[Array]:
        a, b = call.given(0, "A"), call.given(1, "B")
        call.budget.spend("", a.size + b.size)
        call.room(np.broadcast_shapes(a.shape, b.shape), a.dtype)
        return [np.asarray(function(a, b), dtype=a.dtype)]

    return compute


def quotient(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    if not b.all():
        raise ValueError("B: expected divisors other than 0, got 0")
    # Integers are cut towards zero.
    return np.asarray(np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b)))


def matmul(call: Call) -> list[Array]:
    a, b = call.given(0, "A"), call.given(1, "B")
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError(f"expected at least one axis, got {described(a)} and {described(b)}")
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    # Products of vectors have one axis less.
    rows, columns = a.shape[-2:-1], b.shape[-1:] if b.ndim > 1 else ()
    call.room((*lead, *rows, *columns), a.dtype, a.shape[-1] * PRODUCT)
    return [np.asarray(np.matmul(a, b))]


def gemm(call: Call) -> list[Array]:
    a, b, c = call.given(0, "A"), call.given(1, "B"), call.optional(2)
    if a.ndim != 2 or b.ndim != 2:
        raise ValueError(f"expected two axes each, got {described(a)} and {described(b)}")
    a = a.T if call.attributes["transA"] else a
    b = b.T if call.attributes["transB"] else b
    shape = call.room((a.shape[0], b.shape[1]), a.dtype, 8 + a.shape[1] * PRODUCT)
    if c is not None and np.broadcast_shapes(shape, c.shape) != shape:
        raise ValueError(f"C: expected a shape that broadcasts to {shape}, got {c.shape}")
    y = a @ b
    if call.attributes["alpha"] != 1:
        y = call.attributes["alpha"] * y
    if c is not None:
        y = y + (call.attributes["beta"] * c if call.attributes["beta"] != 1 else c)
    return [np.asarray(y, dtype=a.dtype)]


def activation(name: str) -> Operator:
    formula = FORMULAS[name]

    def compute(call: Call) -> list[Array]:
        a = call.like(0, "X", TRANSCENDENTAL)
        constants = [call.attributes[key] for key in formula.constants]
        return [np.asarray(formula.function(a, *constants), dtype=a.dtype)]

    return compute


def thresholded_relu(call: Call) -> list[Array]:
    """Where X is more than alpha; as an activation of a recurrent node, where it reaches it."""
    a = call.like(0, "X")
    return [np.where(a > call.attributes["alpha"], a, np.zeros_like(a))]


def normaliser(function: Callable[[Array, int], Array]) -> Operator:
    def compute(call: Call) -> list[Array]:
        a = call.like(0, "input", TRANSCENDENTAL)
        axis = axis_of(call.attributes["axis"], a.ndim)
        if call.version >= 13:
            return [function(a, axis)]
        # Before, all axes from `axis` on were one.
        rows = a.reshape(math.prod(a.shape[:axis]), -1)
        return [function(rows, 1).reshape(a.shape)]

    return compute


OPERATORS: dict[str, Operator] = {
    "Add": binary(np.add),
    "Cast": cast,
    "Concat": concat,
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "Div": binary(quotient),
    "Dropout": dropout,
    "Expand": expand,
    "Flatten": flatten,
    "Gather": gather,
    "Gemm": gemm,
    "Identity": identity,
    "LogSoftmax": normaliser(log_softmax),
    "MatMul": matmul,
    "Mul": binary(np.multiply),
    "Reshape": reshape,
    "Shape": shape,
    "Slice": slice_,
    "Softmax": normaliser(softmax),
    "Split": split,
    "Squeeze": squeeze,
    "Sub": binary(np.subtract),
    "ThresholdedRelu": thresholded_relu,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
    **{
        name: activation(name)
        for name in (
            "Elu",
            "HardSigmoid",
            "LeakyRelu",
            "Relu",
            "Sigmoid",
            "Softplus",
            "Softsign",
            "Tanh",
        )
    },
}
