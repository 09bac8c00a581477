"""The functions of cells: each takes symbols, numbers, and arrays of NumPy, PyTorch and JAX."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from ..reference._cells import relu as relu_of_array
from ..reference._cells import sigmoid as sigmoid_of_array
from ..reference._checks import shown
from ._description import SURROGATES
from ._maps import plain
from ._symbols import Namespace, Symbol, number, real, refuse, symbols

# For as long as a cell runs on arrays: what a map of a value is, and its first state.
_running: ContextVar[tuple[Callable[[str, Any], Any], Any] | None]
_running = ContextVar("running", default=None)


@contextmanager
def running(linear_map: Callable[[str, Any], Any], state: Any) -> Iterator[None]:
    """Within it `linear` on arrays calls `linear_map(name, value)`, and what is chosen among
    numbers is of the type of `state`.
    """
    token = _running.set((linear_map, state))
    try:
        yield
    finally:
        _running.reset(token)


def _softplus(a: Any) -> Any:
    return np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a)))


NUMPY: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in ["exp", "log", "sqrt", "abs", "sin", "cos", "tanh"]},
    "minimum": np.minimum,
    "maximum": np.maximum,
    "sigmoid": sigmoid_of_array,
    "log_sigmoid": lambda a: -_softplus(-a),
    "softplus": _softplus,
    "relu": relu_of_array,
    "silu": lambda a: a * sigmoid_of_array(a),
    "where": lambda c, a, b: np.where(np.asarray(c) != 0, a, b),
    "stop_gradient": lambda a: a,
}


def _tensor(value: Any, dtype: Any, device: Any) -> Any:
    """As `torch.as_tensor`; a number by an operation, as a graph of ONNX or of an exported program
    refuses tensors that come from nowhere.
    """
    torch = sys.modules["torch"]
    if not isinstance(value, (int, float)):
        return torch.as_tensor(value, dtype=dtype, device=device)
    if dtype.is_floating_point and math.fabs(value) > torch.finfo(dtype).max:
        value = math.copysign(math.inf, value)  # which `full` would refuse
    return torch.full((), value, dtype=dtype, device=device)


def _torch(name: str, *a: Any) -> Any:
    torch = sys.modules["torch"]
    f = torch.nn.functional
    if name in ("minimum", "maximum", "where"):
        tensors = [v for v in a if isinstance(v, torch.Tensor)]
        values = [v for v in a[name == "where" :] if isinstance(v, torch.Tensor)]
        dtype = values[0].dtype if values else torch.get_default_dtype()
        whole = [
            v if isinstance(v, torch.Tensor) else _tensor(v, dtype, tensors[0].device) for v in a
        ]
        if name == "where":
            whole[0] = whole[0] != 0
        return getattr(torch, name)(*whole)
    if name == "softplus":  # PyTorch's own is linear beyond 20, wrong by 2e-9.
        return -f.logsigmoid(-a[0])
    if name == "stop_gradient":
        return a[0].detach()
    inside = {"log_sigmoid": f.logsigmoid, "silu": f.silu}
    return (inside[name] if name in inside else getattr(torch, name))(*a)


def _jax(name: str, *a: Any) -> Any:
    jax = sys.modules["jax"]
    if name == "where":
        return jax.numpy.where(a[0] != 0, *a[1:])
    if name == "stop_gradient":
        return jax.lax.stop_gradient(a[0])
    if name == "abs":  # JAX's own has the derivative 1 at 0.
        return a[0] * jax.lax.stop_gradient(jax.numpy.sign(a[0]))
    owner = jax.nn if name in ("sigmoid", "log_sigmoid", "softplus", "relu", "silu") else jax.numpy
    return getattr(owner, name)(*a)


def library(values: tuple[Any, ...]) -> str:
    """Whose arrays they are; "number" if there are none."""
    torch, jax = sys.modules.get("torch"), sys.modules.get("jax")
    found = "number"
    for value in values:
        if torch is not None and isinstance(value, torch.Tensor):
            return "torch"
        if jax is not None and isinstance(value, jax.Array):
            return "jax"
        if isinstance(value, (np.ndarray, np.generic)):
            if value.dtype.kind in "OSUMm":
                refuse(f"expected numbers, got an array of {value.dtype}")
            found = "numpy"
        elif isinstance(value, Namespace):
            value._refused()
        else:
            real(value)
    return found


def whole(value: Any, like: Any) -> Any:
    """A number, or an array of some axes of `like`, as an array of all of them."""
    if getattr(value, "shape", None) == like.shape:
        return value
    value = value if hasattr(value, "shape") else real(value)
    which = library((like,))
    if which == "torch":
        return _tensor(value, like.dtype, like.device).expand(like.shape)
    numpy = sys.modules["jax"].numpy if which == "jax" else np
    return numpy.broadcast_to(numpy.asarray(value, like.dtype), like.shape)


def operand(of: Any) -> Any:
    """What can be compared: a symbol, an array, or a number of Python's."""
    of = plain(of)
    if isinstance(of, (Symbol, Namespace)) or hasattr(of, "shape"):
        return of
    return real(of)


def apply(name: str, *values: Any) -> Any:
    """One function of whatever the values are."""
    for symbol in symbols(values):
        return symbol._graph.apply(name, *values)
    values = tuple(map(operand, values))
    run = _running.get()
    if name == "where" and run and [hasattr(v, "shape") for v in values] == [True, False, False]:
        values = values[0], whole(values[1], run[1]), values[2]
    which = library(values)
    if which == "torch":
        return _torch(name, *values)
    if which == "jax":
        return _jax(name, *values)
    found = NUMPY[name](*values)
    return float(found) if which == "number" else found


def _unary(name: str, says: str) -> Callable[[Any], Any]:
    def function(a: Any) -> Any:
        return apply(name, a)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{says}, of a symbol, a number or an array."
    return function


exp = _unary("exp", "e to the power of a")
log = _unary("log", "Natural logarithm")
sqrt = _unary("sqrt", "Square root")
abs = _unary("abs", "Absolute value; its derivative at 0 is 0")
sin = _unary("sin", "Sine")
cos = _unary("cos", "Cosine")
tanh = _unary("tanh", "Hyperbolic tangent")
sigmoid = _unary("sigmoid", "1 / (1 + exp(-a)) without overflow")
log_sigmoid = _unary("log_sigmoid", "log(sigmoid(a)) without overflow")
softplus = _unary("softplus", "log(1 + exp(a)) without overflow")
relu = _unary("relu", "max(a, 0); its derivative at 0 is 0")
silu = _unary("silu", "a * sigmoid(a)")
stop_gradient = _unary("stop_gradient", "a itself, whose derivative counts as 0")


def minimum(a: Any, b: Any) -> Any:
    """The smaller of both; NaN if one is. A tie gives each half of the derivative."""
    return apply("minimum", a, b)


def maximum(a: Any, b: Any) -> Any:
    """The larger of both; NaN if one is. A tie gives each half of the derivative."""
    return apply("maximum", a, b)


def where(condition: Any, a: Any, b: Any) -> Any:
    """a where the condition is not 0, else b; only the chosen one gets a derivative.

    Two comparisons are joined by their product: ``where((c > 0) * (c < 1), a, b)``.
    """
    # What two constants come to, where a cell runs on arrays.
    condition = float(condition) if isinstance(condition, bool) else condition
    return apply("where", condition, a, b)


def clip(a: Any, low: Any, high: Any) -> Any:
    """a, at least `low` and at most `high`; its derivative is 1 inside, the bounds included."""
    a, low, high = map(operand, (a, low, high))
    raised = where(a < low, low, a)
    return where(raised > high, high, raised)


def linear(name: str, value: Any) -> Any:
    """A map of a computed value: the block `name` of weight_hh and bias_hh.

    Example
    -------
    >>> import unrolled as ur
    >>> from unrolled.cells import linear, sigmoid, tanh
    >>> @ur.cell
    ... def reset_before(x, h):
    ...     return tanh(x.n + linear("n", sigmoid(x.r + h.r) * h))
    >>> ur.Recurrent(reset_before, 3, 8).state_dict()["weight_hh_l0"].shape  # of r and of n
    (16, 8)
    """
    if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
        refuse(f"linear: expected a name, which does not begin with _, got {shown(name)}")
    if isinstance(value, Symbol):
        graph = value._graph
        graph._refuse_conditions("linear", [value._node])
        return graph.map_of_h(name, value._node)
    run = _running.get()
    if run is None:
        refuse(f"linear: expected a symbol, or a cell that runs, got {type(value).__name__}")
    return run[0](name, plain(value))


def normalise(*values: Any, eps: float = 1e-5) -> Any:
    """Zero mean and unit (biased) variance over all units of all arguments together.

    ``(a - mean) / sqrt(var + eps)`` for each argument; a tuple for more than one. On arrays the
    units are the last axis. (Ba, Kiros & Hinton 2016, "Layer normalization".)

    Example
    -------
    >>> import numpy as np
    >>> from unrolled.cells import normalise
    >>> normalise(np.array([1.0, 3.0])).round(3)
    array([-1.,  1.])
    """
    if not values:
        refuse("normalise: expected at least one value, got none")
    eps = number(eps)
    if not eps > 0:
        refuse(f"normalise: expected eps > 0, got {eps}", ValueError)
    for symbol in symbols(values):
        graph = symbol._graph
        nodes = tuple(map(graph.operand, values))
        graph._refuse_conditions("normalise", list(nodes))
        out = tuple(
            Symbol(graph, graph.add("normalise", nodes, eps, which)) for which in range(len(nodes))
        )
        return out if len(out) > 1 else out[0]
    values = tuple(map(plain, values))
    library(values)
    # Numbers count as arrays of the others' shape; by themselves, of one unit.
    like = max(values, key=lambda v: len(getattr(v, "shape", ())))
    alone = not getattr(like, "shape", ())
    like = np.zeros(1) if alone else like
    values = tuple(whole(v, like) for v in values)
    mean = sum(v.mean(-1) for v in values) / len(values)
    centred = [v - mean[..., None] for v in values]
    variance = sum((v * v).mean(-1) for v in centred) / len(values)
    scale = apply("sqrt", variance + eps)[..., None]
    found = tuple(v / scale for v in centred)
    found = tuple(float(v[0]) for v in found) if alone else found
    return found if len(found) > 1 else found[0]


def spike(v: Any, surrogate: str = "fast_sigmoid", slope: float = 25.0) -> Any:
    """1 where v > 0, else 0; backward the derivative is the surrogate's.

    ``fast_sigmoid``: ``1 / (1 + slope |v|)**2`` (Zenke & Ganguli 2018, "SuperSpike"); ``sigmoid``:
    ``slope s (1 - s)`` with ``s = sigmoid(slope v)``; ``atan``:
    ``slope / 2 / (1 + (pi / 2 slope v)**2)``. See Neftci et al. (2019) and `unrolled.cells.lif`.
    """
    if not isinstance(surrogate, str) or surrogate not in SURROGATES:
        refuse(f"spike: expected one of {SURROGATES}, got {shown(surrogate)}", ValueError)
    slope = number(slope)
    if not slope > 0:
        refuse(f"spike: expected slope > 0, got {slope}", ValueError)
    if isinstance(v, Symbol):
        graph = v._graph
        graph._refuse_conditions("spike", [v._node])
        return Symbol(graph, graph.add("spike", v._node, surrogate, slope))
    v = operand(v)
    hard = where(v > 0, 1.0, 0.0)
    if library((v,)) not in ("torch", "jax"):
        return hard
    # Its value is 0 and its derivative the surrogate's.
    still = stop_gradient(v)
    slopes = {
        "fast_sigmoid": lambda: 1 / (1 + slope * abs(still)) ** 2,
        "atan": lambda: slope / 2 / (1 + (np.pi / 2 * slope * still) ** 2),
        "sigmoid": lambda: slope * sigmoid(slope * still) * sigmoid(-slope * still),
    }
    return stop_gradient(hard) + (v - still) * slopes[surrogate]()
