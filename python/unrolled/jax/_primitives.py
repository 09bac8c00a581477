"""The primitives that JAX traces, and how each is transformed.

`run` is what the public functions bind. Its derivative is `record`, which also gives a token of the
tape, and `linear`, the derivative applied to tangents; JAX transposes that to `backward`. Kernels
stand behind `run`, `record` and `backward` on a CPU. Everything else (`linear` itself, which is
forward mode; derivatives of derivatives; other devices) is the plain network, transformed by JAX.

Why primitives and not `jax.custom_vjp`: under ``grad`` of a loss over ``vmap``, custom_vjp would
map the way back too, that is, run it once for every example to add the gradients up afterwards.
A primitive sees ``vmap`` before the derivative, so that the mapped axis becomes part of the batch
and forward and backward are one call each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from ..cells._layer import layer
from ..reference import _jax as plain
from . import _compute, _ffi
from ._call import Call, template

TOKEN = 4  # uint32 numbers


def run(call: Call, operands: Sequence[Any]) -> tuple[Any, ...]:
    """y and the final state."""
    for operand in operands:
        # Where JAX follows which values differ between devices, a derivative by what they share has
        # to be summed over them, which it would leave to us.
        if jax.typeof(operand).manual_axis_type.varying:
            raise NotImplementedError(
                "unrolled.jax: expected jax.shard_map(..., check_vma=False), got check_vma=True"
            )
    return tuple(run_p.bind(*operands, call=call))


# The plain network, with the operands of the primitives.


def _plain_run(call: Call, *operands: Any) -> tuple[Any, ...]:
    config = dict(call.config)
    step = plain.cell(call.kind, config) if call.kind in plain.KINDS else _formula(call)
    names = list(template(call.kind, call.config)._shapes)

    def one(*operands: Any) -> tuple[Any, ...]:
        x, state, lengths, resets, parameters = call.parts(operands)
        by_name = dict(zip(names, parameters, strict=True))
        return plain.run(step, config, x, state, lengths, resets, by_name)

    return tuple(_over_members(call, one)(*operands))


def _formula(call: Call) -> plain.Cell:
    cell = template(call.kind, call.config).cell  # type: ignore[attr-defined]

    def step(projected: Any, state: tuple[Any, ...], parameters: Mapping[str, Any]) -> Any:
        return layer(cell, parameters)[1](projected, state)

    return step


def _over_members(call: Call, one: Callable[..., Any]) -> Callable[..., Any]:
    if not call.members:
        return one
    axes = tuple(0 if mapped else None for mapped in call.mapped)
    mapped: Callable[..., Any] = jax.vmap(one, in_axes=axes, axis_size=call.members)
    return mapped


def _plain_record(call: Call, *operands: Any) -> tuple[Any, ...]:
    # No tape: the token is never looked up where this runs.
    return (*_plain_run(call, *operands), jnp.zeros(TOKEN, jnp.uint32))


def _of_wanted(call: Call, operands: tuple[Any, ...]) -> tuple[Callable[..., Any], list[Any]]:
    """The network of one member as a function of the wanted operands alone, and those."""
    wanted = call.wanted_operands()
    alone = replace(call, members=0, mapped=(False,) * call.primals)

    def function(*values: Any) -> tuple[Any, ...]:
        every = list(operands)
        for n, value in zip(wanted, values, strict=True):
            every[n] = value
        return _plain_run(alone, *every)

    return function, [operands[n] for n in wanted]


def _plain_linear(call: Call, token: Any, *operands: Any) -> tuple[Any, ...]:
    def one(*operands: Any) -> tuple[Any, ...]:
        function, at = _of_wanted(call, operands[: call.primals])
        return tuple(jax.jvp(function, tuple(at), tuple(operands[call.primals :]))[1])

    return tuple(_over_members(call, one)(*operands))


def _plain_backward(call: Call, token: Any, *operands: Any) -> tuple[Any, ...]:
    def one(*operands: Any) -> tuple[Any, ...]:
        function, at = _of_wanted(call, operands[: call.primals])
        return tuple(jax.vjp(function, *at)[1](tuple(operands[call.primals :])))

    return tuple(_over_members(call, one)(*operands))


# Shapes.


def _outputs(call: Call, x: Any, *state: Any) -> list[jax.core.ShapedArray]:
    """y and the final state."""
    lead = (call.members,) if call.members else ()
    config = dict(call.config)
    columns = call.columns[0]
    *_, steps, batch, _ = x.shape
    y = (*lead, steps, batch, (1 + config["bidirectional"]) * columns)
    shapes = [y, *((*lead, *s.shape[-3:]) for s in state)]
    return [jax.core.ShapedArray(shape, x.dtype) for shape in shapes]


def _run_shapes(*operands: Any, call: Call) -> list[jax.core.ShapedArray]:
    return _outputs(call, *operands[: 1 + call.states])


def _record_shapes(*operands: Any, call: Call) -> list[jax.core.ShapedArray]:
    token = jax.core.ShapedArray((TOKEN,), jnp.uint32)
    return [*_run_shapes(*operands, call=call), token]


def _linear_shapes(token: Any, *operands: Any, call: Call) -> list[jax.core.ShapedArray]:
    return _run_shapes(*operands, call=call)


def _backward_shapes(token: Any, *operands: Any, call: Call) -> list[jax.core.ShapedArray]:
    lead = (call.members,) if call.members else ()
    found = []
    for n in call.wanted_operands():
        shape = operands[n].shape[1:] if call.mapped[n] else operands[n].shape
        found.append(jax.core.ShapedArray((*lead, *shape), operands[n].dtype))
    return found


# Derivatives.


def _run_jvp(primals: Any, tangents: Any, *, call: Call) -> tuple[list[Any], list[Any]]:
    outs, found = _record_jvp(primals, tangents, call=call)
    return outs[:-1], found[:-1]


def _record_jvp(primals: Any, tangents: Any, *, call: Call) -> tuple[list[Any], list[Any]]:
    wanted = tuple(
        call.differentiable(n) and not isinstance(t, ad.Zero) for n, t in enumerate(tangents)
    )
    call = replace(call, wanted=wanted)
    outs = record_p.bind(*primals, call=call)
    numbers = call.wanted_operands()
    if not numbers:
        return outs, [_no_tangent(out) for out in outs]
    mapped = (*call.mapped, *(call.mapped[n] for n in numbers))
    moving = [tangents[n] for n in numbers]
    found = linear_p.bind(outs[-1], *primals, *moving, call=replace(call, mapped=mapped))
    return outs, [*found, _no_tangent(outs[-1])]


def _no_tangent(primal: Any) -> Any:
    return ad.Zero(jax.typeof(primal).to_tangent_aval())


def _linear_transpose(cotangents: Any, token: Any, *operands: Any, call: Call) -> list[Any]:
    primals, tangents = operands[: call.primals], operands[call.primals :]
    dy = [ad.instantiate_zeros(c) for c in cotangents]
    mapped = (*call.mapped[: call.primals], *((call.members > 0,) * len(dy)))
    found = backward_p.bind(token, *primals, *dy, call=replace(call, mapped=mapped))
    # A tangent that members share has the sum of their derivatives.
    shared = [call.members > 0 and not mapped for mapped in call.mapped[call.primals :]]
    found = [jnp.sum(f, axis=0) if s else f for f, s in zip(found, shared, strict=True)]
    back = [f if ad.is_undefined_primal(t) else None for f, t in zip(found, tangents, strict=True)]
    return [None, *(None for _ in primals), *back]


def _by_plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """The derivative of what is a derivative already: JAX's own, of the plain network."""

    def jvp(primals: Any, tangents: Any, *, call: Call) -> Any:
        moving = [n for n, t in enumerate(tangents) if not isinstance(t, ad.Zero)]

        def of_moving(*values: Any) -> Any:
            every = list(primals)
            for n, value in zip(moving, values, strict=True):
                every[n] = value
            return function(call, *every)

        return jax.jvp(of_moving, [primals[n] for n in moving], [tangents[n] for n in moving])

    return jvp


# vmap.


def _batch(args: Any, dims: Any, *, call: Call, primitive: Any) -> tuple[Any, Any]:
    size = next(a.shape[d] for a, d in zip(args, dims, strict=True) if d is not None)
    if size == 0:
        return _of_nobody(args, dims, call, primitive)
    # With a token in front for `backward`.
    ahead = len(args) - len(call.mapped)
    parameters = range(ahead + call.first_parameter, ahead + call.primals)
    apart = any(dims[n] is not None for n in parameters) or any(
        call.wanted[call.first_parameter : call.primals]
    )
    if apart or primitive is linear_p or any(d is not None for d in dims[:ahead]):
        return _side_by_side(args, dims, size, call, primitive, ahead)
    return _into_the_batch(args, dims, size, call, primitive, ahead)


def _of_nobody(args: Any, dims: Any, call: Call, primitive: Any) -> tuple[Any, Any]:
    """What a mapped axis of size 0 gives: nothing to compute, and results of size 0."""
    single = [
        jax.ShapeDtypeStruct(a.shape if d is None else a.shape[:d] + a.shape[d + 1 :], a.dtype)
        for a, d in zip(args, dims, strict=True)
    ]
    shapes = jax.eval_shape(partial(primitive.bind, call=call), *single)
    return [jnp.zeros((0, *s.shape), s.dtype) for s in shapes], [0] * len(shapes)


def _side_by_side(
    args: Any, dims: Any, size: int, call: Call, primitive: Any, ahead: int
) -> tuple[Any, Any]:
    """Each value of the mapped axis a member: for parameters, or their derivatives, that differ."""
    operands, mapped = [], []
    for a, d, was_mapped in zip(args[ahead:], dims[ahead:], call.mapped, strict=True):
        if d is not None:
            a = jnp.moveaxis(a, d, 0)
        if was_mapped and d is None:
            a = jnp.broadcast_to(a, (size, *a.shape))
        if not was_mapped and d is not None and call.members:
            a = jnp.broadcast_to(a[:, None], (size, call.members, *a.shape[1:]))
        if (was_mapped or d is not None) and call.members:
            a = a.reshape(size * call.members, *a.shape[2:])
        operands.append(a)
        mapped.append(was_mapped or d is not None)
    together = replace(call, members=size * max(call.members, 1), mapped=tuple(mapped))
    # A mapped token has lost which tape is whose: one of zeros has none, and they are made again.
    tokens = [
        a if d is None else jnp.zeros(TOKEN, jnp.uint32)
        for a, d in zip(args[:ahead], dims[:ahead], strict=True)
    ]
    outs = primitive.bind(*tokens, *operands, call=together)
    return _unmapped(
        outs, primitive, lambda a: a.reshape(size, -1, *a.shape[1:]) if call.members else a, 0
    )


def _into_the_batch(
    args: Any, dims: Any, size: int, call: Call, primitive: Any, ahead: int
) -> tuple[Any, Any]:
    """The mapped axis beside the batch's: one call with a batch so many times as large."""
    operands: list[Any] = []
    for n, (a, d, mapped) in enumerate(zip(args[ahead:], dims[ahead:], call.mapped, strict=True)):
        if call.first_parameter <= n < call.primals:
            operands.append(a)
            continue
        axis = (call.batch_axis(n) if n < call.primals else 1) + mapped
        a = jnp.moveaxis(a, d, axis) if d is not None else jnp.expand_dims(a, axis)
        shape = (*a.shape[:axis], size, *a.shape[axis + 1 :])
        a = jnp.broadcast_to(a, shape)
        operands.append(a.reshape(*shape[:axis], size * shape[axis + 1], *shape[axis + 2 :]))
    outs = primitive.bind(*args[:ahead], *operands, call=call)
    axis = 1 + (call.members > 0)
    return _unmapped(
        outs,
        primitive,
        lambda a: a.reshape(*a.shape[:axis], size, a.shape[axis] // size, *a.shape[axis + 1 :]),
        axis,
    )


def _unmapped(
    outs: Sequence[Any], primitive: Any, unfold: Callable[[Any], Any], axis: int
) -> tuple[list[Any], list[int | None]]:
    """The results with their mapped axis, and which it is; a token is for all of them."""
    tokens = 1 if primitive is record_p else 0
    arrays = outs[: len(outs) - tokens]
    return [*map(unfold, arrays), *outs[len(arrays) :]], [axis] * len(arrays) + [None] * tokens


# The primitives themselves.


def _primitive(
    name: str,
    shapes: Callable[..., Any],
    plain_version: Callable[..., Any],
    jvp: Callable[..., Any],
    compute: _ffi.Compute | None,
) -> Any:
    primitive = Primitive(f"unrolled_{name}")
    primitive.multiple_results = True
    primitive.def_abstract_eval(shapes)
    compiled = jax.jit(primitive.bind, static_argnames="call")

    def outside_of_jit(*operands: Any, call: Call) -> Any:
        # A small program, compiled once. `jax.disable_jit` would lead back here for ever.
        with jax.disable_jit(False):
            return compiled(*operands, call=call)

    primitive.def_impl(outside_of_jit)
    ad.primitive_jvps[primitive] = jvp
    batching.primitive_batchers[primitive] = partial(_batch, primitive=primitive)

    def anywhere(*operands: Any, call: Call) -> Any:
        return plain_version(call, *operands)

    mlir.register_lowering(primitive, mlir.lower_fun(anywhere, multiple_results=True))
    if compute is not None:
        lower = jax.ffi.ffi_lowering(f"unrolled_{name}")

        def here(ctx: Any, *operands: Any, call: Call) -> Any:
            return lower(ctx, *operands, call=call.text())

        _ffi.register(f"unrolled_{name}", compute)
        mlir.register_lowering(primitive, here, platform="cpu")
    return primitive


run_p = _primitive("run", _run_shapes, _plain_run, _run_jvp, _compute.run)
record_p = _primitive("record", _record_shapes, _plain_record, _record_jvp, _compute.record)
linear_p = _primitive("linear", _linear_shapes, _plain_linear, _by_plain(_plain_linear), None)
backward_p = _primitive(
    "backward", _backward_shapes, _plain_backward, _by_plain(_plain_backward), _compute.backward
)
ad.primitive_transposes[linear_p] = _linear_transpose
