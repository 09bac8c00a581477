"""LSTM, GRU, RNN and formulas as functions for JAX: under `jit`, `grad`, `vmap`, on CPU kernels.

Parameters are a dict of arrays with PyTorch's names and shapes, a pytree like any other; the
network is read from their shapes. ``pip install '.[jax]'``.

Under `vmap` a mapped axis of x becomes part of the batch: one call. Where the kernels cannot go
(forward mode, derivatives of derivatives, other devices) the same network runs as a `jax.lax.scan`.

>>> import jax, jax.numpy as jnp
>>> import unrolled.jax as uj
>>> params = uj.init(jax.random.key(0), "LSTM", 3, 8)
>>> x = jnp.ones((20, 4, 3))
>>> y, (h, c) = jax.jit(uj.lstm)(params, x)
>>> y.shape, h.shape
((20, 4, 8), (1, 4, 8))
>>> g = jax.grad(lambda params: jnp.mean(uj.lstm(params, x)[0] ** 2))(params)
>>> g["weight_hh_l0"].shape
(32, 8)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._extras import missing

try:
    import jax
except ImportError as error:
    raise missing(error, "unrolled.jax", "jax", "jax") from error
import jax.numpy as jnp
import numpy as np

from .. import _arguments as arguments
from .._modules import RecurrentNet
from ..cells import Cell
from ..cells._recurrent import Recurrent
from ..cells._recurrent import given as formula
from ..reference._foreign import UnreadableError, taken_over
from ._call import CLASSES, Call, infer, template
from ._compute import tapes
from ._primitives import run

__all__ = ["gru", "init", "lstm", "parameters", "recurrent", "rnn", "set_tape_limit"]


def lstm(
    params: Mapping[str, Any],
    x: Any,
    state: Any = None,
    *,
    lengths: Any = None,
    resets: Any = None,
    batch_first: bool = False,
) -> tuple[Any, tuple[Any, Any]]:
    """Long short-term memory, formulae as for `unrolled.LSTM`.

    Parameters
    ----------
    params : dict of arrays
        `weight_ih_l0` and so on, as `init` and `parameters` give them. What they are says how many
        layers and directions there are, whether biases, a projection, a forget gate.
    x : array (T, B, I), or (B, T, I) with `batch_first`, or (T, I) without a batch
        float32 or float64, as the parameters.
    state : tuple of arrays (h, c), each (L*D, B, H), optional
        L layers, D directions; without a batch no B axis. None means zeros.
    lengths : integers (B,), optional
        Row b ends after ``lengths[b]`` steps. Past its end x is not read and outputs are zero; the
        final state is that at the row's own end.
    resets : bool array (T, B), ordered as x, optional
        The state becomes zeros just before step t.
    batch_first : bool
        Of x, y and resets.

    Returns
    -------
    y : array (T, B, D*H), ordered as x
    state : tuple (h, c)

    Raises
    ------
    TypeError
        For a wrong dtype; nothing is cast but what `jax.numpy.asarray` does.
    ValueError
        For a wrong shape or key, or one of `lengths` out of range. Of lengths that are traced, or
        JAX arrays, the values are known only when the program runs: then it is JAX's own error,
        with the message of ours.
    """
    y, found = _apply("LSTM", params, x, state, lengths, resets, batch_first)
    return y, (found[0], found[1])


def gru(
    params: Mapping[str, Any],
    x: Any,
    state: Any = None,
    *,
    lengths: Any = None,
    resets: Any = None,
    batch_first: bool = False,
    reset_after: bool = True,
) -> tuple[Any, Any]:
    """Gated recurrent unit, formulae as for `unrolled.GRU`.

    Parameters
    ----------
    reset_after : bool
        False is the original form, which multiplies r with h and not with the product.
    others
        As for `lstm`, but the state is the one array h.

    Returns
    -------
    y : array (T, B, D*H), ordered as x
    state : array (L*D, B, H)
    """
    arguments.flag("reset_after", reset_after)
    given = ("GRU", params, x, state, lengths, resets, batch_first)
    y, found = _apply(*given, reset_after=reset_after)
    return y, found[0]


def rnn(
    params: Mapping[str, Any],
    x: Any,
    state: Any = None,
    *,
    lengths: Any = None,
    resets: Any = None,
    batch_first: bool = False,
    nonlinearity: str = "tanh",
) -> tuple[Any, Any]:
    """Simple recurrent network, formula as for `unrolled.RNN`.

    Parameters
    ----------
    nonlinearity : {"tanh", "relu", "sigmoid"}
    others
        As for `lstm`, but the state is the one array h.

    Returns
    -------
    y : array (T, B, D*H), ordered as x
    state : array (L*D, B, H)
    """
    arguments.choice("nonlinearity", nonlinearity, ("tanh", "relu", "sigmoid"))
    given = ("RNN", params, x, state, lengths, resets, batch_first)
    y, found = _apply(*given, nonlinearity=nonlinearity)
    return y, found[0]


def recurrent(
    cell: Cell,
    params: Mapping[str, Any],
    x: Any,
    state: Any = None,
    *,
    lengths: Any = None,
    resets: Any = None,
    batch_first: bool = False,
    **constants: float,
) -> tuple[Any, Any]:
    """A network of any cell that is a formula, as `unrolled.Recurrent`.

    Parameters
    ----------
    cell : unrolled.cells.Cell
        What `unrolled.cell` makes of a function. Under `jit` it belongs to the program, as a
        Python value: close over it, or name it in ``static_argnums``.
    **constants : float
        Values of the cell's constants, instead of their defaults; they belong to the program too.
    others
        As for `lstm`, but the state is one array h for a cell of one state, else a tuple in the
        cell's order.

    Returns
    -------
    y : array (T, B, D*H), ordered as x
    state : as the argument

    Example
    -------
    >>> import jax, jax.numpy as jnp
    >>> import unrolled as ur, unrolled.jax as uj
    >>> cell = ur.cells.peephole_lstm
    >>> params = uj.init(jax.random.key(0), cell, 3, 8)
    >>> y, (h, c) = uj.recurrent(cell, params, jnp.ones((20, 4, 3)))
    >>> y.shape, params["weight_p_l0"].shape
    ((20, 4, 8), (24,))
    """
    text = formula(cell, constants).text
    y, found = _apply("Recurrent", params, x, state, lengths, resets, batch_first, cell=text)
    return y, found[0] if len(found) == 1 else tuple(found)


def init(
    key: Any,
    kind: str | Cell,
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    *,
    forget_bias: float = 0.0,
    dtype: Any = "float32",
    **options: Any,
) -> dict[str, Any]:
    """Parameters to begin with, uniform in +-1/sqrt(H) as PyTorch's.

    Parameters
    ----------
    key : key of `jax.random`
    kind : {"LSTM", "GRU", "RNN"} or unrolled.cells.Cell
    input_size, hidden_size, num_layers : int
    forget_bias : float
        Added to the forget gate's rows of ``bias_ih`` of an LSTM.
    dtype : {"float32", "float64"}
        float64 needs JAX's option ``jax_enable_x64``.
    **options
        The others of the class's constructor that decide about shapes: `bias`, `bidirectional`;
        for an LSTM `proj_size`, `forget_gate`. A cell's constants may stand here too, and change
        nothing: `recurrent` is given their values.

    Returns
    -------
    dict of arrays by PyTorch's names
        What a cell that is a formula gives first values for has these.

    Example
    -------
    >>> import jax
    >>> import unrolled.jax as uj
    >>> params = uj.init(jax.random.key(0), "GRU", 2, 4, bidirectional=True)
    >>> params["weight_hh_l0_reverse"].shape
    (12, 4)
    """
    given: tuple[Any, ...] = (input_size, hidden_size, num_layers)
    shaping = {"bias", "bidirectional"}
    if isinstance(kind, str):
        if kind not in ("LSTM", "GRU", "RNN"):
            raise ValueError(
                "kind: expected one of 'LSTM', 'GRU', 'RNN', or a cell, such as "
                f"unrolled.cells.peephole_lstm, got {kind!r}"
            )
    else:
        cell = formula(kind, {})
        kind, given = "Recurrent", (cell, *given)
        shaping |= cell.constants.keys()
    if kind == "LSTM":
        shaping |= {"proj_size", "forget_gate"}
    if not options.keys() <= shaping:
        raise TypeError(
            f"options: expected some of {sorted(shaping)} for {kind}, "
            f"got {sorted(options.keys() - shaping)}"
        )
    if kind == "LSTM":
        options["forget_bias"] = forget_bias
    elif forget_bias:
        raise ValueError(f"forget_bias: expected 0.0 for {kind}, got {forget_bias}")
    dtype = arguments.float_dtype(dtype)
    net = CLASSES[kind](*given, dtype=dtype, seed=0, **options)
    _fitting_precision("dtype", dtype.name)
    bound = net.hidden_size**-0.5
    found = {}
    for name, shape in net._shapes.items():
        key, drawn = jax.random.split(key)
        found[name] = jax.random.uniform(drawn, shape, dtype.name, -bound, bound)
        if forget_bias and name.startswith("bias_ih"):
            rows = slice(net.hidden_size, 2 * net.hidden_size)
            found[name] = found[name].at[rows].add(forget_bias)
    if isinstance(net, Recurrent):
        # First values are finite; what is drawn may be traced, and stays where there are none.
        first = {name: np.full(a.shape, np.nan, dtype) for name, a in found.items()}
        net.cell.first_values(net.hidden_size, first)
        found = {name: jnp.where(np.isnan(a), found[name], a) for name, a in first.items()}
    return found


def parameters(net: RecurrentNet[Any]) -> dict[str, Any]:
    """The parameters of a network of ours as JAX arrays, copied.

    The way back is ``net.load_state_dict(params)``.

    Example
    -------
    >>> import unrolled as ur, unrolled.jax as uj
    >>> params = uj.parameters(ur.GRU(3, 8, seed=0))
    >>> sorted(params)
    ['bias_hh_l0', 'bias_ih_l0', 'weight_hh_l0', 'weight_ih_l0']
    """
    if not isinstance(net, tuple(CLASSES.values())):
        expected = "an LSTM, GRU, RNN or Recurrent"
        raise TypeError(f"net: expected {expected}, got {arguments.kind(net)}")
    _fitting_precision("net", net.dtype.name)
    return {name: jnp.array(a) for name, a in net.state_dict().items()}


def set_tape_limit(nbytes: int) -> None:
    """Set how much memory recorded runs may hold that wait for their way back: 1 GiB at first.

    Under `grad`, forward keeps a tape outside of JAX's memory. When there are more of them, the
    oldest go and backward computes forward again: slower by about a third, and with the same
    results to the last bit. 0 keeps none.

    Parameters
    ----------
    nbytes : int
    """
    tapes.limit = arguments.integer("nbytes", nbytes, at_least=0)


def _fitting_precision(name: str, dtype: str) -> None:
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise ValueError(
            f"{name}: expected float32 while JAX's option jax_enable_x64 is off, got {dtype}"
        )


def _apply(
    kind: str,
    params: Mapping[str, Any],
    x: Any,
    state: Any,
    lengths: Any,
    resets: Any,
    batch_first: bool,
    **options: Any,
) -> tuple[Any, list[Any]]:
    """y and the state's arrays, in the layout of the arguments."""
    if not isinstance(params, Mapping):
        raise TypeError(f"params: expected a mapping, got {arguments.kind(params)}")
    arguments.flag("batch_first", batch_first)
    given = {name: _array(f"params[{name!r}]", p) for name, p in params.items()}
    config = infer(kind, given, **options)
    about = dict(config)
    x = _array("x", x)
    if str(x.dtype) != about["dtype"]:
        raise TypeError(f"x: expected {about['dtype']} as the parameters, got {x.dtype}")
    if x.ndim not in (2, 3) or x.shape[-1] != about["input_size"]:
        axes = "(B, T, I)" if batch_first else "(T, B, I)"
        raise ValueError(
            f"x: expected shape {axes} or (T, I) with I = {about['input_size']}, got {x.shape}"
        )
    unbatched = x.ndim == 2
    swapped = batch_first and not unbatched
    if unbatched:
        x = x[:, None]
    elif swapped:
        x = jnp.swapaxes(x, 0, 1)
    steps, batch = x.shape[:2]

    operands = [x, *_state(template(kind, config), state, batch, unbatched)]
    if lengths is not None:
        if unbatched:
            raise ValueError("lengths: expected None for x without a batch")
        operands.append(_lengths(lengths, steps, batch))
    if resets is not None:
        resets = _array("resets", resets)
        if resets.dtype != bool:
            raise TypeError(f"resets: expected bool, got {resets.dtype}")
        shape = (steps,) if unbatched else (batch, steps) if swapped else (steps, batch)
        axes = "(T,)" if unbatched else "(B, T)" if swapped else "(T, B)"
        resets = _shaped("resets", resets, axes, shape)
        operands.append(resets.T if swapped else resets.reshape(steps, batch))
    operands += [given[name] for name in template(kind, config)._shapes]

    call = Call(
        kind,
        config,
        lengths is not None,
        resets is not None,
        0,
        (False,) * len(operands),
        (False,) * len(operands),
    )
    y, *final = run(call, operands)
    if unbatched:
        return y[:, 0], [s[:, 0] for s in final]
    return jnp.swapaxes(y, 0, 1) if swapped else y, final


def _lengths(value: Any, steps: int, batch: int) -> Any:
    """Integers (B,), in 32 bits or 64: no value has become another one."""
    if not any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(value)):
        # Known at once; and JAX would cut 64 bits to 32 where its option jax_enable_x64 is off.
        if isinstance(value, np.ndarray) and not np.issubdtype(value.dtype, np.integer):
            raise TypeError(f"lengths: expected integers, got {value.dtype}")
        # T may be a symbol, in a program that is exported for any.
        most = steps if isinstance(steps, int) else np.iinfo(np.int32).max
        return jnp.asarray(arguments.lengths(value, most, batch).astype(np.int32))
    found = _shaped("lengths", _array("lengths", value), "(B,)", (batch,))
    if not jnp.issubdtype(found.dtype, jnp.integer):
        raise TypeError(f"lengths: expected integers, got {found.dtype}")
    return found if found.dtype.itemsize >= 4 else found.astype(jnp.int32)


def _state(net: RecurrentNet[Any], state: Any, batch: int, unbatched: bool) -> list[Any]:
    """The state's arrays, (L*D, B, columns) each."""
    cells, dtype = net.num_layers * net.num_directions, net.dtype.name
    columns = net._sizes.states
    if state is None:
        return [jnp.zeros((cells, batch, n), dtype) for n in columns]
    if len(columns) > 1:
        if not isinstance(state, (tuple, list)) or len(state) != len(columns):
            names = ", ".join(net.cell.states) if isinstance(net, Recurrent) else "h, c"
            count = f" of {len(state)}" if isinstance(state, (tuple, list)) else ""
            got = f"{arguments.kind(state)}{count}"
            raise TypeError(f"state: expected a tuple ({names}), got {got}")
        parts = {f"state[{n}]": part for n, part in enumerate(state)}
    else:
        parts = {"state": state}
    found = []
    for (name, part), n in zip(parts.items(), columns, strict=True):
        part = _array(name, part)
        if str(part.dtype) != dtype:
            raise TypeError(f"{name}: expected {dtype}, got {part.dtype}")
        axes = "(L*D, H)" if unbatched else "(L*D, B, H)"
        part = _shaped(name, part, axes, (cells, n) if unbatched else (cells, batch, n))
        found.append(part[:, None] if unbatched else part)
    return found


def _array(name: str, value: Any) -> Any:
    """As `jax.numpy.asarray`, but nothing that it would drop: a mask, a unit."""
    if type(value) is np.ndarray or isinstance(value, jax.Array):
        return jnp.asarray(value)
    try:
        # Objects with DLPack are read as everywhere here; JAX would lose a tensor's sign bit.
        if isinstance(value, np.ndarray) or hasattr(type(value), "__dlpack__"):
            return jnp.asarray(taken_over(value))
        return jnp.asarray(value)
    except (UnreadableError, TypeError, ValueError) as error:
        raise TypeError(f"{name}: expected an array, got {error}") from None


def _shaped(name: str, a: Any, axes: str, shape: tuple[int, ...]) -> Any:
    if a.shape != shape:
        raise ValueError(f"{name}: expected shape {axes} = {shape}, got {a.shape}")
    return a
