"""How far back gradients reach in the gallery's cells, and what the document says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "cells.md"


def test_the_documents_table() -> None:
    _, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(
        "<!-- reach: by ur.flow.reach() -->"
    )
    table, _, _ = rest.partition("<!-- end of reach -->")
    said = {}
    for line in table.strip().splitlines()[2:]:
        name, *numbers = (part.strip(" `") for part in line.strip("|").split("|"))
        said[name] = [float(number) for number in numbers]
    found = ur.flow.reach()
    assert sorted(said) == sorted(found.names)
    for n, name in enumerate(found.names):
        states, parameters, kept, time, share = said[name]
        assert (states, parameters) == (found.states[n], found.parameters[n])
        assert kept == found.kept[n], name
        # As a machine measured it: `unrolled cells`.
        assert 0.1 < time < 10, name
        # Two digits are written.
        assert found.by_lag[n, 100] == pytest.approx(share, rel=0.06), name
    shares = [share for *_, share in said.values()]
    assert shares == sorted(shares, reverse=True)


def test_what_theory_says() -> None:
    """A leak's direct path, u to the power of the lag, a forget gate that is a constant."""

    @ur.cell
    def forgets(x: Any, h: Any, *, f: float = 0.9) -> Any:
        return f * h + x.a

    found = ur.flow.reach({"forgets": forgets, "ind": ur.cells.ind_rnn}, 60, seed=1)
    assert np.allclose(found.by_lag[0] / found.by_lag[0, 0], 0.9 ** np.arange(61), rtol=0.6)
    whole = ur.flow.reach([forgets], 200)
    rate = (whole.by_lag[0, 200] / whole.by_lag[0, 50]) ** (1 / 150)
    assert rate == pytest.approx(0.9, rel=0.01)


def test_it_is_said_and_drawn() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install '.[flow]'")
    found = ur.flow.reach([ur.cells.rnn, ur.cells.co_rnn, ur.cells.lstm], 30, hidden_size=8)
    lines = str(found).splitlines()
    assert lines[0].split() == ["cell", "states", "parameters", "kept", "lag", "30"]
    assert [line.split()[0] for line in lines[1:]] == ["rnn", "co_rnn", "lstm"]
    ax = ur.flow.plot_reach(found)
    drawn = [label.get_text() for label in ax.get_yticklabels()]
    assert drawn[-1] == "co_rnn"
    assert ax.get_xscale() == "log" and "lag 30" in ax.get_xlabel()


def test_one_cell_and_cells_of_one_name() -> None:
    leaky = ur.cells.leaky_rnn
    slow = leaky.with_constants(alpha=0.01)
    assert ur.flow.reach(leaky, 3).names == ("leaky_rnn",)
    found = ur.flow.reach({"0.1": leaky, "0.01": slow}, 30)
    assert found.names == ("0.1", "0.01") and found.by_lag[0, 30] < found.by_lag[1, 30]
    with pytest.raises(ValueError, match="two cells named 'leaky_rnn'; use a dict"):
        ur.flow.reach([ur.cells.gru, leaky, slow])


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="got the name 'lstm'"):
        ur.flow.reach(["lstm"])
    with pytest.raises(ValueError, match="cells: expected at least one"):
        ur.flow.reach([])
    with pytest.raises(TypeError, match="cell: expected what ur.cell makes"):
        ur.flow.reach([3])
    with pytest.raises(ValueError, match="lag: expected"):
        ur.flow.reach([ur.cells.rnn], -1)
    with pytest.raises(TypeError, match="reach: expected a Reach"):
        ur.flow.plot_reach(3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"cells": 3}, TypeError, "cells: expected a sequence of cells or a mapping, got int"),
        ({"cells": "lstm"}, ValueError, "cell: expected what ur.cell makes"),
        ({"cells": range(2**60)}, TypeError, "cell: expected what ur.cell makes"),
        ({"cells": [ur.cells.rnn] * 2}, ValueError, "cells: expected a name for each"),
        ({"cells": {1: ur.cells.rnn}}, TypeError, "cells: expected names as keys, got int"),
        ({"cells": []}, ValueError, "cells: expected at least one, got none"),
        ({"seed": np.broadcast_to(0, 2**40)}, TypeError, "seed: expected an integer, got ndarray"),
        ({"seed": -1}, ValueError, "seed: expected an integer >= 0, got -1"),
        ({"input_size": 0}, ValueError, "input_size: expected an integer >= 1, got 0"),
        ({"input_size": 1.5}, TypeError, "input_size: expected an integer, got float"),
        ({"hidden_size": 0}, ValueError, "hidden_size: expected an integer >= 1, got 0"),
        ({"lag": 2**64}, ValueError, "lag: expected an integer <= "),
    ],
)
def test_what_does_not_fit_is_refused_before_the_work(
    arguments: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{message}"):
        ur.flow.reach(**arguments)
    if "seed" in arguments:
        with pytest.raises(error, match=f"^{message}"):
            ur.cells.check(ur.cells.rnn, **arguments)
