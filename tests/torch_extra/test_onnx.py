"""`torch.onnx.export` by both exporters: ONNX Runtime then computes what our layers compute."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

import numpy as np
import pytest
from tolerances import TOLERANCES
from torch_support import BATCH, CELLS, HIDDEN, INPUT, SEQUENCES, STEPS, torch, ut

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install '.[onnx]'")
pytest.importorskip("onnxscript", reason="PyTorch's exporter needs onnxscript")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

NODES = {"LSTM": "LSTM", "GRU": "GRU", "RNN": "RNN"}
STACKED = {"num_layers": 2, "bidirectional": True}
FREE = torch.export.Dim.DYNAMIC
# How the default exporter rounds and ours does are two things; these are float32 of size one.
NEAR = TOLERANCES["peer.float32"]


def exported(model: Any, arguments: tuple[Any, ...], **options: Any) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(model, arguments, file, **options)
    return file.getvalue()


def flat(value: Any) -> list[Any]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [] if value is None else [tensor for part in value for tensor in flat(part)]


def check(file: bytes, model: Any, *arguments: Any) -> None:
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    given = {n: t.numpy() for n, t in zip(names, flat(arguments), strict=True)}
    with torch.no_grad():
        expected = flat(model(*arguments))
    found = session.run(None, given)
    assert len(found) == len(expected)
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert a.shape == tuple(b.shape), f"output {i}"
        np.testing.assert_allclose(a, b.numpy(), rtol=0, atol=NEAR, err_msg=f"output {i}")


def kinds(file: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(file).graph.node]


def states(name: str, options: dict[str, Any], batch: int | None = BATCH) -> Any:
    cells = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    rows = () if batch is None else (batch,)
    h = torch.randn(cells, *rows, options.get("proj_size") or HIDDEN)
    return (h, torch.randn(cells, *rows, HIDDEN)) if name == "LSTM" else h


@pytest.mark.parametrize(
    "options", [{}, {**STACKED, "dropout": 0.5}, {"bias": False, "batch_first": True}]
)
@pytest.mark.parametrize(("name", "more"), SEQUENCES)
def test_the_default_exporter(name: str, more: dict[str, Any], options: dict[str, Any]) -> None:
    options = {**more, **options}
    model = getattr(ut, name)(INPUT, HIDDEN, **options).eval()
    x = torch.randn(STEPS, BATCH, INPUT)
    given = states(name, options, STEPS if options.get("batch_first") else BATCH)
    file = exported(model, (x, given))
    check(file, model, x, given)
    if "proj_size" not in options:
        assert kinds(file).count(NODES[name]) == options.get("num_layers", 1)


@pytest.mark.parametrize(("name", "more"), SEQUENCES)
def test_sizes_that_stay_free(name: str, more: dict[str, Any]) -> None:
    options = {**more, **STACKED}
    model = getattr(ut, name)(INPUT, HIDDEN, **options).eval()
    x = torch.randn(STEPS, BATCH, INPUT)
    file = exported(model, (x,), dynamic_shapes=({0: FREE, 1: FREE},))
    check(file, model, x)
    check(file, model, torch.randn(STEPS + 4, BATCH + 1, INPUT))
    assert NODES[name] in kinds(file)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(("name", "more"), [SEQUENCES[1], SEQUENCES[2], SEQUENCES[4]])
def test_without_a_batch(name: str, more: dict[str, Any], given: bool) -> None:
    model = getattr(ut, name)(INPUT, HIDDEN, **more).eval()
    arguments = (torch.randn(STEPS, INPUT), *([states(name, more, None)] if given else []))
    check(exported(model, arguments), model, *arguments)


@pytest.mark.parametrize("options", [{}, {**STACKED, "bias": False, "batch_first": True}])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(("name", "more"), [s for s in SEQUENCES if "proj_size" not in s[1]])
def test_the_torchscript_exporter(
    name: str, more: dict[str, Any], given: bool, options: dict[str, Any]
) -> None:
    options = {**more, **options}
    model = getattr(ut, name)(INPUT, HIDDEN, **options).eval()
    x = torch.randn(STEPS, BATCH, INPUT)
    batch = STEPS if options.get("batch_first") else BATCH
    arguments = (x, *([states(name, options, batch)] if given else []))
    free = {"input_names": ["x"], "dynamic_axes": {"x": {0: "a", 1: "b"}}}
    file = exported(model, arguments, dynamo=False, **({} if given else free))
    check(file, model, *arguments)
    if not given:
        check(file, model, torch.randn(STEPS + 2, BATCH + 1, INPUT))
    assert NODES[name] in kinds(file)


def test_the_torchscript_exporter_refuses_what_it_refuses() -> None:
    with pytest.raises(torch.onnx.errors.SymbolicValueError, match="projections"):
        exported(ut.LSTM(3, 4, proj_size=2), (torch.zeros(5, 2, 3),), dynamo=False)


class Decoder(torch.nn.Module):
    def __init__(self, cell: Any) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Any, state: Any = None) -> Any:
        for step in x.unbind(0):
            state = self.cell(step, state)
        return state


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize(("name", "more"), CELLS)
def test_cells(name: str, more: dict[str, Any], dynamo: bool) -> None:
    cell = getattr(ut, name)(INPUT, HIDDEN, **more).requires_grad_(False)
    h = torch.randn(BATCH, HIDDEN)
    given = (h, torch.randn(BATCH, HIDDEN)) if name == "LSTMCell" else h
    for model, *arguments in (
        (cell, torch.randn(INPUT)),
        (Decoder(cell), torch.randn(3, BATCH, INPUT), given),
    ):
        file = exported(model, tuple(arguments), dynamo=dynamo)
        check(file, model, *arguments)
        assert not {"LSTM", "GRU", "RNN"} & set(kinds(file))


@pytest.mark.parametrize("strict", [False, True])
def test_a_program_exported_before(strict: bool) -> None:
    layer = ut.LSTM(INPUT, HIDDEN, **STACKED).requires_grad_(False)
    x = torch.randn(STEPS, BATCH, INPUT)
    program = torch.export.export(layer, (x,), strict=strict)
    assert "unrolled.recurrent" in str(program.graph)
    check(exported(program, ()), layer, x)


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = torch.nn.LSTM(INPUT, HIDDEN, batch_first=True)
        self.out = torch.nn.Linear(HIDDEN, 2)

    def forward(self, x: Any) -> Any:
        return self.out(self.rnn(x)[0][:, -1])


@pytest.mark.parametrize("dynamo", [False, True])
def test_an_accelerated_model(dynamo: bool) -> None:
    model = Model().eval()
    ut.accelerate(model)
    x = torch.randn(BATCH, STEPS, INPUT)
    file = exported(model, (x,), dynamo=dynamo)
    check(file, model, x)
    assert kinds(file).count("LSTM") == 1


class Packed(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = ut.GRU(INPUT, HIDDEN)

    def forward(self, x: Any, lengths: Any) -> Any:
        rnn = torch.nn.utils.rnn
        y, h = self.rnn(rnn.pack_padded_sequence(x, lengths))
        return rnn.pad_packed_sequence(y)[0], h


def test_packed_sequences() -> None:
    """By the exporter that can: PyTorch's default one takes none apart."""
    model, x = Packed().eval(), torch.randn(STEPS, BATCH, INPUT)
    file = exported(model, (x, torch.tensor([STEPS, 4, 2])), dynamo=False)
    check(file, model, x, torch.tensor([STEPS, STEPS, 1]))


class Episodes(torch.nn.Module):
    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Any, resets: Any) -> Any:
        return self.layer(x, resets=resets)


@pytest.mark.parametrize("how", ["trace", "torchscript", "default"])
@pytest.mark.parametrize("layer", [ut.LSTM(INPUT, HIDDEN, **STACKED), ut.GRU(INPUT, HIDDEN)])
def test_resets_are_an_input_of_the_graph(layer: Any, how: str) -> None:
    """Not those of the example, which a graph would repeat for every other input."""
    model = Episodes(layer).eval().requires_grad_(False)
    x, resets = torch.randn(STEPS, BATCH, INPUT), torch.zeros(STEPS, BATCH, dtype=torch.bool)
    resets[3, 1] = True
    others = torch.rand(STEPS, BATCH) < 0.4
    others[0, 0] = True
    if how != "trace":
        check(exported(model, (x, resets), dynamo=how == "default"), model, x, others)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(model, (x, resets))
    for a, b in zip(flat(traced(x, others)), flat(model(x, others)), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=NEAR)
    with pytest.raises(RuntimeError, match="Expected 9 elements"):
        traced(x.repeat(2, 1, 1), others.repeat(2, 1))


def test_resets_need_a_number_of_steps() -> None:
    x = torch.randn(STEPS, BATCH, INPUT)
    given = (x, torch.zeros(STEPS, BATCH, dtype=torch.bool))
    with pytest.raises(
        torch.onnx.errors.OnnxExporterError, match="resets: expected a fixed number"
    ):
        exported(Episodes(ut.GRU(INPUT, HIDDEN)), given, dynamic_shapes=({0: FREE}, {0: FREE}))


def test_the_operator_with_lengths_and_resets() -> None:
    """What no layer exports today, in the hands of whoever calls the operator."""
    from unrolled.torch import _ops

    lengths = torch.tensor([STEPS, 4, 2])
    for more, resets in (({"proj_size": 3}, False), ({}, False), ({}, True)):
        layer = ut.LSTM(INPUT, HIDDEN, **STACKED, **more).requires_grad_(False)

        class Operator(torch.nn.Module):
            def forward(self, x: Any, h: Any, c: Any, lengths: Any, marks: Any, layer=layer) -> Any:
                kind, weights = layer._kind(), layer._weights()
                given = (x, [h, c], weights, lengths, marks)
                y, states, _ = _ops.recurrent(*given, *kind, False)
                return y, *states

        h, c = states("LSTM", {**STACKED, **more})
        marks = torch.rand(STEPS, BATCH) < 0.4 if resets else None
        given = (torch.randn(STEPS, BATCH, INPUT), h, c, lengths, marks)
        model = Operator()
        program = torch.export.export(model, given)
        check(exported(program, ()), model, *given)
