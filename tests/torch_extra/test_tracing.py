"""The operators under what traces: torch.compile, torch.export, dispatch modes, opcheck."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from torch_support import BATCH, CELLS, HIDDEN, INPUT, SEQUENCES, STEPS, close, pair, torch, ut
from unrolled.torch import _ops, _run

# Dynamo's guards and AOTAutograd's graphs are what is in question, not Inductor's C++.
BACKEND = "aot_eager"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def call(name: str, more: dict[str, Any], *, states: bool, grad: bool) -> tuple[Any, ...]:
    """Arguments for the operator."""
    net = getattr(ut, name)(INPUT, HIDDEN, 2, bidirectional=True, dtype=torch.float64, **more)
    kind = net._kind()
    x = torch.randn(STEPS, BATCH, INPUT, dtype=torch.float64, requires_grad=grad)
    columns = (more.get("proj_size", HIDDEN), HIDDEN)[: kind.traits.states] if states else ()
    given = [
        torch.randn(4, BATCH, size, dtype=torch.float64, requires_grad=grad) for size in columns
    ]
    weights = [p.detach().requires_grad_(grad) for p in net._weights()]
    lengths = torch.tensor([STEPS, 4, 2])
    resets = torch.zeros(STEPS, BATCH, dtype=torch.bool)
    resets[3, 1] = True
    return x, given, weights, lengths, resets, *kind, grad


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize(("name", "more"), SEQUENCES)
def test_opcheck(name: str, more: dict[str, Any], grad: bool) -> None:
    found = torch.library.opcheck(_ops.recurrent, call(name, more, states=grad, grad=grad))
    assert set(found.values()) == {"SUCCESS"}
    assert len(found) == 4


@pytest.mark.parametrize(("name", "more"), SEQUENCES)
def test_opcheck_of_the_way_back(name: str, more: dict[str, Any]) -> None:
    given = call(name, more, states=False, grad=False)
    y, states, reserve = _ops.recurrent(*given[:-1], True)
    arguments = (y, states, reserve, *given[:-1])
    found = torch.library.opcheck(_ops.recurrent_backward, arguments)
    assert set(found.values()) == {"SUCCESS"}


def test_gradcheck_of_the_operator() -> None:
    net = ut.LSTM(2, 3, bidirectional=True, dtype=torch.float64)
    x, h, c = (
        torch.randn(*shape, dtype=torch.float64, requires_grad=True)
        for shape in ((3, 2, 2), (2, 2, 3), (2, 2, 3))
    )
    resets = torch.zeros(3, 2, dtype=torch.bool)
    resets[1, 1] = True

    def run(x: Any, h: Any, c: Any, *weights: Any) -> Any:
        given = (list(weights), torch.tensor([3, 2]), resets)
        y, states, _ = _ops.recurrent(x, [h, c], *given, *net._kind(), True)
        return y, *states

    leaves = (x, h, c, *(p.detach().requires_grad_() for p in net._weights()))
    assert torch.autograd.gradcheck(run, leaves)
    assert torch.autograd.gradgradcheck(run, leaves, fast_mode=True)


@pytest.mark.parametrize("states", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("name", "more"), SEQUENCES)
def test_compile(name: str, more: dict[str, Any], batch_first: bool, states: bool) -> None:
    ours, theirs = pair(name, torch.float64, num_layers=2, batch_first=batch_first, **more)
    compiled = torch.compile(ours, fullgraph=True, backend=BACKEND)
    hx = None
    if states:
        batch = STEPS if batch_first else BATCH
        h = torch.randn(2, batch, more.get("proj_size", HIDDEN), dtype=torch.float64)
        hx = (h, torch.randn(2, batch, HIDDEN).double()) if name == "LSTM" else h
    for _ in range(2):
        found = []
        x = torch.randn(STEPS, BATCH, INPUT, dtype=torch.float64)
        for module, run in ((ours, compiled), (theirs, theirs)):
            leaf = x.clone().requires_grad_()
            y, state = run(leaf, hx)
            loss = y.square().sum() + sum(s.sum() for s in state)
            found.append([y, *torch.autograd.grad(loss, [leaf, *module.parameters()])])
        for i, (a, b) in enumerate(zip(*found, strict=True)):
            close(a, b, "reference.gradient.float64", f"result {i}")
        with torch.no_grad():
            ours.weight_hh_l0.mul_(1.1)
            theirs.weight_hh_l0.mul_(1.1)


def test_a_compiled_graph_keeps_its_tape(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way back must find the tape of its own forward, not run again."""
    net = torch.compile(ut.LSTM(INPUT, HIDDEN), fullgraph=True, backend=BACKEND)
    x = torch.randn(STEPS, BATCH, INPUT)
    net(x)[0].sum().backward()
    runs = []
    record = _run.record
    monkeypatch.setattr(_run, "record", lambda *a: (runs.append(1), record(*a))[1])
    net(x)[0].sum().backward()
    assert runs == [1]
    with torch.no_grad():
        net(x)
    assert runs == [1]


@pytest.mark.parametrize(("name", "more"), CELLS)
def test_compile_cells_in_a_loop(name: str, more: dict[str, Any]) -> None:
    ours, theirs = pair(name, torch.float64, **more)

    def run(cell: Any, x: Any) -> Any:
        state = None
        for step in x:
            state = cell(step, state)
        return state[0] if isinstance(state, tuple) else state

    compiled = torch.compile(run, fullgraph=True, backend=BACKEND)
    x = torch.randn(3, BATCH, INPUT, dtype=torch.float64)
    found = []
    for module, function in ((ours, compiled), (theirs, run)):
        y = function(module, x)
        found.append([y, *torch.autograd.grad(y.sum(), list(module.parameters()))])
    for a, b in zip(*found, strict=True):
        close(a, b, "reference.gradient.float64", "result")


def test_compile_with_resets_and_dropout() -> None:
    ours, _ = pair("GRU", torch.float64, num_layers=2, dropout=0.5)
    resets = torch.zeros(STEPS, BATCH, dtype=torch.bool)
    resets[4] = True
    x = torch.randn(STEPS, BATCH, INPUT, dtype=torch.float64)
    compiled = torch.compile(ours, fullgraph=True, backend=BACKEND)
    ours.eval()
    close(compiled(x, resets=resets)[0], ours(x, resets=resets)[0], "reference.output.float64", "y")
    ours.train()
    y = compiled(x, resets=resets)[0]
    assert not torch.equal(y, compiled(x, resets=resets)[0])


def test_compile_a_model_around_it() -> None:
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = torch.nn.LSTM(INPUT, HIDDEN, batch_first=True)
            self.out = torch.nn.Linear(HIDDEN, 2)

        def forward(self, x: Any) -> Any:
            return self.out(self.rnn(x)[0][:, -1])

    model = Model()
    x = torch.randn(BATCH, STEPS, INPUT)
    expected = model(x)
    ut.accelerate(model)
    compiled = torch.compile(model, fullgraph=True, backend=BACKEND, dynamic=True)
    close(compiled(x), expected, "reference.output.float32", "y")
    x = torch.randn(BATCH + 2, STEPS + 5, INPUT)
    close(compiled(x), model(x), "reference.output.float32", "other sizes")


def test_dynamo_still_turns_theirs_away() -> None:
    """Only our classes are let in."""
    torch.compile(ut.LSTM(2, 3), fullgraph=True, backend=BACKEND)(torch.zeros(3, 1, 2))
    with pytest.raises(torch._dynamo.exc.Unsupported, match="RNN, GRU, or LSTM"):
        torch.compile(torch.nn.LSTM(2, 3), fullgraph=True, backend=BACKEND)(torch.zeros(3, 1, 2))


def test_dynamo_imported_after_us() -> None:
    code = (
        "import sys, torch, unrolled.torch as ut\n"
        "assert 'torch._dynamo' not in sys.modules\n"
        "net = torch.compile(ut.GRU(2, 3), fullgraph=True, backend='aot_eager')\n"
        "print(net(torch.zeros(3, 1, 2))[0].shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "torch.Size([3, 1, 3])", done.stderr


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(("name", "more"), SEQUENCES)
def test_export(name: str, more: dict[str, Any], strict: bool) -> None:
    ours, theirs = pair(name, torch.float64, num_layers=2, bidirectional=True, **more)
    x = torch.randn(STEPS, BATCH, INPUT, dtype=torch.float64)
    sizes = {0: torch.export.Dim("steps"), 1: torch.export.Dim("batch")}
    program = torch.export.export(ours.eval(), (x,), dynamic_shapes={"input": sizes}, strict=strict)
    assert "unrolled.recurrent" in str(program.graph)
    again = torch.randn(STEPS + 3, BATCH + 1, INPUT, dtype=torch.float64)
    y, _ = program.module()(again)
    close(y, theirs(again)[0], "reference.output.float64", "y")


def test_dispatch_modes_see_the_operator() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils._python_dispatch import TorchDispatchMode

    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    ours, theirs = pair("LSTM", torch.float64)
    x = torch.randn(STEPS, BATCH, INPUT, dtype=torch.float64)
    with Watch():
        assert "as an operator" in ut.explain(ours, x)
        y, _ = ours(x)
    assert "unrolled.recurrent.default" in seen
    close(y, theirs(x)[0], "reference.output.float64", "y")
    with FakeTensorMode():
        fake = ut.LSTM(INPUT, HIDDEN, proj_size=2)
        y, (h, c) = fake(torch.zeros(STEPS, BATCH, INPUT))
    assert (y.shape, h.shape, c.shape) == ((STEPS, BATCH, 2), (1, BATCH, 2), (1, BATCH, HIDDEN))


def test_packed_sequences_under_compile() -> None:
    """The graph breaks there, as for any recurrent layer of PyTorch; the results hold."""
    ours, theirs = pair("GRU", torch.float64)
    rnn = torch.nn.utils.rnn
    x = torch.randn(STEPS, BATCH, INPUT, dtype=torch.float64)
    packed = rnn.pack_padded_sequence(x, torch.tensor([9, 5, 2]))
    compiled = torch.compile(ours, backend=BACKEND)
    close(compiled(packed)[0].data, theirs(packed)[0].data, "reference.output.float64", "y")
