"""`unrolled bench --parts`: where the time of a call goes, beside what the machine could do.

A record of it is JSON::

    format      1
    date        of the run, UTC
    machine     cpu, cores (those this process may use), system
    versions    Python's, NumPy's, ours, and those of whose products are the yardstick
    missing     of those that are not installed, the error of the import
    options     as given
    failure     why the process ended early, or null
    entries     a list: work, mode, isa, peak (GFLOP/s), whole (seconds a call: median, q1, q3,
                repeats), parts (by name, seconds a call, medians; with the cost of the laps
                themselves, which whole is without), products (operations of those parts that are
                products)
    packing     a list: work, isa, seconds for bringing changed weights into the kernels' order
    yardstick   a list: work, product, sizes (m, k, n of (m, k) · (k, n)), flops, peak, contenders
                (by name: status "timed" with seconds a call less those of a call for 1 × 1, or
                "short" where that leaves less than the call itself takes)

Each part is that of one thread and one layer. All but `yardstick` is measured at every level of
instructions that the machine has; its libraries use the best there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..._machine import ISAS, available_isas
from ..record import circumstances, plain_versions
from ..session import chosen as chosen_works
from ..works import TRAINING, Work

# Products first: what they take beyond the limit is then seen, and so is what comes on top.
ORDER = (
    *("W_ih x", "W_hh h", "d_h", "d_x", "dW", "whole steps"),
    *("activations", "d_gates", "copies", "packing", "rest"),
)


def levels() -> tuple[str, ...]:
    """Those to measure: what this machine has beyond plain code, if it has more."""
    there = available_isas()
    return tuple(isa for isa in there if isa != ISAS[0]) or there


def chosen(options: Mapping[str, Any]) -> list[Work]:
    """Of the works the options ask for, those of one plain layer over whole sequences."""
    return [work for work in chosen_works(options) if _is_plain(work)]


def _is_plain(work: Work) -> bool:
    special = work.stream or work.is_formula or work.ragged or work.resets or work.projection
    return not special and work.layers == work.directions == 1


def products(work: Work, mode: str) -> dict[str, int]:
    """The floating-point operations of each part that is a product."""
    of_x, of_h = work.blocks
    row_steps = 2 * work.steps * work.batch * work.units
    x, h = row_steps * of_x * work.inputs, row_steps * of_h * work.units
    forward = {"W_ih x": x, "W_hh h": h}
    return {**forward, "d_h": h, "d_x": x, "dW": x + h} if mode == TRAINING else forward


def share(entry: Mapping[str, Any], product: str) -> float | None:
    """The part of the peak at which a product goes; None if it is not by itself.

    Where whole steps of a single short row are one part, products are within them.
    """
    seconds, flops = entry["parts"][product], entry["products"][product]
    return flops / seconds / 1e9 / entry["peak"] if seconds else None


def limit(entry: Mapping[str, Any]) -> float:
    """Seconds that the products would take at the peak."""
    return float(sum(entry["products"].values()) / entry["peak"] / 1e9)


def assemble(
    options: Mapping[str, Any], part: Mapping[str, Any], failure: str | None
) -> dict[str, Any]:
    """The record of what a process measured."""
    return {
        **circumstances(),
        "versions": plain_versions() | part["versions"],
        "missing": part["missing"],
        "options": dict(options),
        "failure": failure,
        **{name: part[name] for name in ("entries", "packing", "yardstick")},
    }
