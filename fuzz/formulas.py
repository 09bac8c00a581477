"""Descriptions of cells and files that hold them, for `fuzz/readers.py`: valid ones, their parts,
changes that leave a formula nearly one, and what is done with a cell that was read."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import unrolled as ur
from unrolled.cells._description import ARITY, SURROGATES

Parts = dict[str, bytes]
# A part of this name is a description.
CELL = "cell.json"
SMALL = ("rnn", "gru_original", "slstm", "layer_norm_gru", "rg_lru", "lif")
NUMBERS = (0.0, -0.0, 1.0, -1.5, 2.0**53, 1e38, 1e300, -1e300, 5e-324, 1e-40)


def cells() -> Parts:
    """The gallery's descriptions."""
    return {
        name: cell.text.encode()
        for name, cell in vars(ur.cells).items()
        if isinstance(cell, ur.cells.Cell)
    }


def cell_apart(data: bytes) -> Parts:
    """A description is one part."""
    return {CELL: data}


def cell_together(parts: Parts) -> bytes:
    """As `cell_apart`."""
    return parts[CELL]


def saved() -> Parts:
    """Files of `unrolled.save` that hold a formula."""
    found = {}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "file"
        for name in SMALL:
            net = ur.Recurrent(getattr(ur.cells, name), 1, 2, num_layers=2, seed=0)
            ur.save(net if name != "slstm" else ur.Sequential(net, initial_state=True), path)
            found[name] = path.read_bytes()
    return found


class _Other:
    """Pickled as a cell of any text is."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __reduce__(self) -> tuple[Any, ...]:
        return ur.cells.from_description, (self.text,)


def unpickled(path: Path) -> Any:
    """A pickled network in which only the cell's description is another one.

    Whose pickle has other bytes may run anything.
    """
    net = ur.Recurrent(ur.cells.gru, 1, 2, num_layers=2, bidirectional=True, seed=0)
    vars(net)["cell"] = _Other(path.read_bytes().decode("utf-8", "replace"))
    return pickle.loads(pickle.dumps(net))


def _holders(about: Any) -> list[dict[str, Any]]:
    """The configurations in the metadata that have a cell."""
    config = about["config"]
    inner = [layer["config"] for layer in config.get("layers", ())]
    return [each for each in (config, *inner) if "cell" in each]


def saved_apart(data: bytes) -> Parts:
    """A safetensors file: the header, what our metadata says, the description, the numbers."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    about = json.loads(header["__metadata__"].pop("unrolled"))
    (holder,) = _holders(about)
    return {
        CELL: json.dumps(holder.pop("cell")).encode(),
        "about.json": json.dumps(about).encode(),
        "header.json": json.dumps(header).encode(),
        "data": data[end:],
    }


def saved_together(parts: Parts) -> bytes:
    """The file of such parts, as far as these are still JSON."""
    about, header = json.loads(parts["about.json"]), json.loads(parts["header.json"])
    cell = parts[CELL].decode("utf-8", "replace")
    with contextlib.suppress(ValueError):
        cell = json.loads(cell)
    holders = _holders(about) if isinstance(about, dict) else []
    for holder in holders or [about["config"]]:
        holder["cell"] = cell
    header["__metadata__"]["unrolled"] = json.dumps(about)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + parts["data"]


def changed(data: bytes, dice: random.Random) -> bytes:
    """A description with a change or several that most often leave it one."""
    formula = json.loads(data)
    for _ in range(dice.choice((1, 1, 2, 8))):
        dice.choice((_node, _node, _more, _output, _state, _map, _number))(formula, dice)
    return json.dumps(formula).encode()


def _new(nodes: list[Any], dice: random.Random) -> list[Any]:
    """Another operation on nodes there are, most often late ones."""
    count = len(nodes)
    late = range(max(0, count - 4), count) if dice.random() < 0.7 else range(count)
    op = dice.choice((*ARITY, "spike", "normalise", "number"))
    if op == "number":
        return [op, dice.choice(NUMBERS)]
    if op == "spike":
        return [op, dice.choice(late), dice.choice(SURROGATES), dice.choice((1e-300, 2.0, 1e300))]
    if op == "normalise":
        of = [dice.choice(late) for _ in range(dice.choice((1, 2, 5)))]
        return [op, of, dice.choice((1e-5, 5e-324, 1e300)), dice.randrange(len(of))]
    return [op, *(dice.choice(late) for _ in range(ARITY[op]))]


def _node(formula: Any, dice: random.Random) -> None:
    """Another in the place of one that is no slot's."""
    nodes = formula["nodes"]
    at = dice.randrange(1, len(nodes))
    if nodes[at][0] != "slot":
        nodes[at] = _new(nodes[:at], dice)


def _more(formula: Any, dice: random.Random) -> None:
    """More behind the last, of which the last is a new state."""
    for _ in range(dice.choice((1, 1, 10, 100, 1000))):
        formula["nodes"].append(_new(formula["nodes"], dice))
    at = dice.randrange(len(formula["outputs"]))
    formula["outputs"][at] = len(formula["nodes"]) - 1


def _output(formula: Any, dice: random.Random) -> None:
    at = dice.randrange(len(formula["outputs"]))
    formula["outputs"][at] = dice.randrange(len(formula["nodes"]) + dice.choice((0, 0, 1)))


def _state(formula: Any, dice: random.Random) -> None:
    formula["states"].append(f"s{len(formula['states'])}")
    formula["nodes"].append(["state", len(formula["states"]) - 1])
    formula["outputs"].append(dice.randrange(len(formula["nodes"])))


def _map(formula: Any, dice: random.Random) -> None:
    """Another map, of x, of h or of a value."""
    h = dice.choice((None, "state", dice.randrange(len(formula["nodes"]))))
    name = f"m{len(formula['maps'])}"
    formula["maps"].append({"name": name, "x": h is None or dice.random() < 0.5, "h": h})
    formula["nodes"].append(["slot", len(formula["maps"]) - 1])


def _number(formula: Any, dice: random.Random) -> None:
    """Another value of what has one."""
    places = [(entry, "init") for entry in formula["parameters"]]
    places += [(entry, "value") for entry in formula["constants"]]
    places += [(formula["bias"], name) for name in formula["bias"]]
    places += [(node, 1) for node in formula["nodes"] if node[0] == "number"]
    if places:
        where, key = dice.choice(places)
        where[key] = dice.choice(NUMBERS)


def used(what: Any) -> None:
    """Forward and back, compiled and in plain NumPy, and everything that a cell is turned into."""
    cells = [what] if isinstance(what, ur.cells.Cell) else []
    for layer in getattr(what, "layers", [what]):
        if isinstance(layer, ur.Recurrent):
            cells.append(layer.cell)
    repr(what)
    for cell in cells:
        assert pickle.loads(pickle.dumps(cell)) == cell
        with contextlib.redirect_stdout(io.StringIO()):
            ur.cells.explain(cell)
        try:
            net = ur.Recurrent(cell, 2, 3, seed=0)
        except ValueError as error:
            assert "expected first values that float32 holds" in str(error), str(error)
            return
        x = np.ones((3, 2, 2), np.float32)
        y, state, tape = net.record(x)
        tape.backward(np.ones_like(y), truncate=1)
        with tempfile.TemporaryDirectory() as directory:
            try:
                net.to_rust(Path(directory) / "cell.rs")
            except ValueError as error:
                assert "expected" in str(error), str(error)
        with np.errstate(all="ignore"):
            plain = ur.reference.Recurrent(cell, 2, 3, dtype="float64", seed=0)
            z, _ = plain(x.astype(np.float64))
        assert z.shape == y.shape
