"""Cells of the gallery against numbers that other packages' implementations of them gave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from tolerances import assert_close

CASES = {
    case["cell"]: case
    for case in json.loads(
        (Path(__file__).parent / "golden" / "gallery.json").read_text(encoding="utf-8")
    )
}
KINDS = {"unrolled": ur.Recurrent, "unrolled.reference": ur.reference.Recurrent}


def blocks(cell: Any) -> list[tuple[str, str]]:
    """Each block's name in the file, and the parameter it is a part of, in the blocks' order."""
    of_x = [f"x.{entry['name']}" for entry in cell.maps if entry["x"]]
    of_h = [f"h.{entry['name']}" for entry in cell.maps if entry["h"] is not None]
    found = [(name, "weight_ih_l0") for name in of_x] + [(name, "weight_hh_l0") for name in of_h]
    found += [(f"{name}.b", "bias_ih_l0") for name in of_x]
    found += [(f"{name}.b", "bias_hh_l0") for name in of_h]
    return found + [(f"p.{name}", "weight_p_l0") for name in cell.parameters]


def split(cell: Any, parameters: dict[str, Any]) -> dict[str, Any]:
    """The blocks of all parameters, by their names in the file."""
    named = blocks(cell)
    found = {}
    for whole in parameters:
        names = [name for name, of in named if of == whole]
        found |= dict(zip(names, np.split(parameters[whole], len(names)), strict=True))
    return found


def test_the_set_is_complete() -> None:
    assert len(CASES) == 13
    assert len({case["package"].split()[0] for case in CASES.values()}) == 6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, dtype: str, kind: str) -> None:
    cell, count = getattr(ur.cells, name), CASES[name]["states"]
    inputs = {key: np.array(value, dtype) for key, value in CASES[name]["inputs"].items()}
    expected = {key: np.array(value) for key, value in CASES[name]["expected"].items()}
    assert len(cell.states) == count

    net = KINDS[kind](cell, inputs["x"].shape[-1], inputs["dy"].shape[-1], dtype=dtype)
    whole: dict[str, list[Any]] = {}
    for block, of in blocks(cell):
        whole.setdefault(of, []).append(inputs[block])
    net.load_state_dict({of: np.concatenate(parts) for of, parts in whole.items()})

    def one_or_all(values: list[Any]) -> Any:
        return tuple(values) if count > 1 else values[0]

    begun = [inputs[f"state {n}"][None] for n in range(count)]
    d_after = [inputs[f"d_after {n}"][None] for n in range(count)]
    y, state, tape = net.record(inputs["x"], one_or_all(begun))
    g = tape.backward(inputs["dy"], one_or_all(d_after))

    after, d_begun = ((s,) if count == 1 else s for s in (state, g.state))
    found = {"y": y, "d x": g.input}
    found |= {f"after {n}": s[0] for n, s in enumerate(after)}
    found |= {f"d state {n}": s[0] for n, s in enumerate(d_begun)}
    found |= {f"d {block}": a for block, a in split(cell, g.parameters).items()}
    assert {"y", "d x", "d state 0", f"after {count - 1}"} <= expected.keys() <= found.keys()
    for key, value in expected.items():
        kind_of = "gradient" if key.startswith("d ") else "output"
        assert_close(found[key], value, f"reference.{kind_of}.{dtype}", key)
