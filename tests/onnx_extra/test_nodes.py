"""LSTM, GRU and RNN nodes: the official tests, and every pair of attributes against ONNX Runtime.

What ONNX Runtime 1.2x does with what the standard leaves open, or not at all:

- ``layout=1`` and float64 it refuses. A case with either is held against its answer in layout 0
  and float32, whose inputs are the same numbers; float64 also against the plain loop, at float64's
  tolerance.
- ``clip`` bounds the sums that enter the gates' activations, and not the cell state that enters h.
  It must be positive.
- ``input_forget=1`` makes the forget gate ``1 - i``; its own rows and peephole do not count.
- ``activation_alpha`` and ``activation_beta`` are consumed in the order of the functions by those
  that take such a constant. A value that is missing is 0 there for Affine, ScaledTanh and
  ThresholdedRelu; here the first two are refused, and the last is 1, as the standard says
  ("default values are the same as of corresponding ONNX operators").
- A row of length 0 has zeros for its final states, not its initial ones.

ONNX's own ReferenceEvaluator is no judge of these: of an LSTM or GRU it ignores clip, activations,
input_forget and sequence_lens.
"""

from __future__ import annotations

import itertools
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install '.[onnx]'")
import unrolled.onnx  # noqa: E402
from onnx.backend.test.loader import load_model_tests  # noqa: E402
from onnx_nodes import HIDDEN, Case, by_loop, by_onnxruntime, time_first  # noqa: E402
from tolerances import assert_close, relative_error  # noqa: E402

RECURRENT = ("test_lstm_", "test_gru_", "test_rnn_", "test_simple_rnn_")


def official() -> list[Any]:
    with warnings.catch_warnings():
        # NumPy, about what the other node tests compute.
        warnings.simplefilter("ignore")
        return [t for t in load_model_tests(kind="node") if t.name.startswith(RECURRENT)]


OFFICIAL = official()


def test_there_are_official_tests() -> None:
    assert len(OFFICIAL) >= 18
    assert {name for t in OFFICIAL for name in RECURRENT if t.name.startswith(name)} == {*RECURRENT}


@pytest.mark.parametrize("test", OFFICIAL, ids=lambda test: test.name)
def test_official(test: Any) -> None:
    backend = unrolled.onnx.Backend
    assert backend.is_compatible(test.model)
    node = test.model.graph.node[0]
    version = test.model.opset_import[0].version
    for inputs, expected in test.data_sets:
        answers = (
            backend.prepare(test.model, "CPU").run(inputs),
            backend.run_model(test.model, inputs),
            backend.run_node(node, inputs, opset_version=version),
        )
        for found in answers:
            assert len(found) == len(expected)
            for a, e in zip(found, expected, strict=True):
                assert (a.dtype, a.shape) == (e.dtype, e.shape)
                np.testing.assert_allclose(a, e, rtol=test.rtol, atol=test.atol)


# --- Pairs

FACTORS: dict[str, tuple[Any, ...]] = {
    "direction": ("forward", "reverse", "bidirectional"),
    "layout": (0, 1),
    "initial": ("", "h"),
    "lengths": ("", "some", "none"),
    "bias": (False, True),
    "dtype": ("float32", "float64"),
    "clip": (None, 0.5),
    "opset": (7, 14, 22),
}
# Gates have bounded functions: a cell that multiplies what is unbounded with itself for five steps
# would measure nothing but how rounding grows.
OWN: dict[str, dict[str, tuple[Any, ...]]] = {
    "LSTM": {
        "initial": ("", "h", "c", "hc"),
        "activations": (
            "",
            "Sigmoid Softsign Softplus",
            "HardSigmoid ScaledTanh Affine",
            "Softsign LeakyRelu Elu",
            "Tanh ThresholdedRelu Relu",
        ),
        "peepholes": (False, True),
        "input_forget": (0, 1),
    },
    "GRU": {
        "activations": (
            "",
            "HardSigmoid Relu",
            "Sigmoid ThresholdedRelu",
            "ScaledTanh LeakyRelu",
            "Softsign Elu",
            "Tanh Affine",
            "Sigmoid Softplus",
        ),
        "linear_before_reset": (0, 1),
    },
    "RNN": {
        "activations": (
            "",
            "Relu",
            "Sigmoid",
            "Affine",
            "LeakyRelu",
            "ThresholdedRelu",
            "ScaledTanh",
            "HardSigmoid",
            "Elu",
            "Softsign",
            "Softplus",
        )
    },
}


def possible(values: dict[str, Any]) -> bool:
    """``layout`` came with version 14 of the operators."""
    return not (values.get("layout") == 1 and values.get("opset") == 7)


def pairs(values: dict[str, Any]) -> set[tuple[tuple[str, Any], tuple[str, Any]]]:
    return set(itertools.combinations(sorted(values.items(), key=lambda item: item[0]), 2))


def covering(op: str) -> list[Case]:
    """Cases in which every possible pair of values occurs, few of them.

    Greedy: start from a pair not yet seen, then give every other factor the value that adds most.
    """
    factors = FACTORS | OWN[op]
    wanted = [
        dict(pair)
        for a, b in itertools.combinations(sorted(factors), 2)
        for pair in itertools.product(
            ((a, value) for value in factors[a]), ((b, value) for value in factors[b])
        )
        if possible(dict(pair))
    ]
    missing = set().union(*(pairs(pair) for pair in wanted))
    cases = []
    for pair in wanted:
        if not pairs(pair) & missing:
            continue
        values = dict(pair)
        for name in (each for each in factors if each not in pair):
            options = [v for v in factors[name] if possible(values | {name: v})]
            values[name] = max(options, key=lambda v: len(pairs(values | {name: v}) & missing))
        missing -= pairs(values)
        cases.append(Case(op, **values))
    assert not missing
    return cases


CASES = [case for op in OWN for case in covering(op)]


def name(case: Case) -> str:
    default = Case(case.op)
    said = {key: value for key, value in vars(case).items() if value != getattr(default, key)}
    return "-".join([case.op, *(f"{key}={value}" for key, value in said.items() if key != "op")])


def ours(case: Case, constants: tuple[str, ...] = ()) -> list[np.ndarray]:
    """In layout 0."""
    inputs = {key: a for key, a in case.inputs().items() if key not in constants}
    found = unrolled.onnx.Model(case.model(constants))(inputs)
    return time_first(case, list(found.values()))


@pytest.mark.parametrize("case", CASES, ids=name)
def test_pairs(case: Case) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    found = ours(case)
    kinds = ("Y", "Y_h", "Y_c")
    for label, a, e, plain in zip(kinds, found, by_onnxruntime(case), by_loop(case), strict=False):
        assert a.dtype == case.dtype
        assert_close(a, e, "peer.float32", f"{label}, ONNX Runtime")
        assert_close(a, plain, f"reference.output.{case.dtype}", f"{label}, the plain loop")
    # Whether weights come with the model or with each call is all the same.
    held = tuple(key for key in ("W", "R", "B", "P") if key in case.arrays())
    assert all(a.tobytes() == b.tobytes() for a, b in zip(ours(case, held), found, strict=True))


@pytest.mark.parametrize("case", CASES, ids=name)
def test_what_is_asked_for_matters(case: Case) -> None:
    """Each attribute and input of a case, taken away: other outputs. The layout, the version and
    the dtype say how, not what: the same."""
    found = ours(case)
    default = Case(case.op)
    for key in FACTORS | OWN[case.op]:
        if getattr(case, key) == getattr(default, key):
            continue
        other = ours(replace(case, **{key: getattr(default, key)}))
        if key in ("layout", "opset", "dtype"):
            assert relative_error(found[0], other[0]) < 1e-5
        else:
            differs = [
                a.shape != b.shape or relative_error(a, b) > 1e-3
                for a, b in zip(found, other, strict=True)
            ]
            assert any(differs), f"{key} does not matter"


def test_every_function_occurs() -> None:
    from unrolled.reference._onnx_functions import FORMULAS

    for op in ("LSTM", "GRU", "RNN"):
        seen = {fn for case in CASES if case.op == op for fns in case.functions for fn, _ in fns}
        assert seen == {*FORMULAS}, op
    assert HIDDEN > 1


def test_where_onnxruntime_differs() -> None:
    """What the text above says of it, so that a new version that mends it is noticed."""
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")

    def run(**attributes: Any) -> np.ndarray:
        model = Case("RNN").model()
        del model.graph.node[0].attribute[:]
        for key, value in {"hidden_size": HIDDEN, **attributes}.items():
            model.graph.node[0].attribute.append(onnx.helper.make_attribute(key, value))
        options = runtime.SessionOptions()
        options.log_severity_level = 4
        session = runtime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return np.asarray(session.run(None, Case("RNN").inputs())[0])

    thresholded = run(activations=["ThresholdedRelu"])
    assert np.array_equal(thresholded, run(activations=["Relu"]))
    assert not np.array_equal(
        thresholded, run(activations=["ThresholdedRelu"], activation_alpha=[1.0])
    )
    for function in ("Affine", "ScaledTanh"):
        assert not run(activations=[function]).any()
    with pytest.raises(Exception, match="layout == 1"):
        run(layout=1)


def test_what_constants_default_to() -> None:
    """As the operators of the same names."""
    for function, default in (
        ("LeakyRelu", {"alpha": 0.01}),
        ("ThresholdedRelu", {"alpha": 1.0}),
        ("HardSigmoid", {"alpha": 0.2, "beta": 0.5}),
        ("Elu", {"alpha": 1.0}),
    ):
        bare = {"hidden_size": HIDDEN, "activations": [function]}
        full = bare | {f"activation_{key}": [value] for key, value in default.items()}
        found = []
        for attributes in (bare, full):
            names = ["X", "W", "R"]
            node = onnx.helper.make_node("RNN", names, ["Y"], **attributes)
            inputs = Case("RNN").inputs()
            inputs["X"] *= 4
            found.append(unrolled.onnx.run_node(node, [inputs[n] for n in names])[0])
        assert found[0].any() and np.array_equal(*found)
