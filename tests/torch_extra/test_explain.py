"""`explain` of a model runs it once and says of every layer who computed."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from torch_support import BATCH, HIDDEN, INPUT, STEPS, torch, ut
from unrolled.torch import _path

nn = torch.nn


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = ut.LSTM(INPUT, HIDDEN)
        self.norm = nn.BatchNorm1d(HIDDEN)
        self.drop = nn.Dropout(0.5)
        self.cell = ut.GRUCell(HIDDEN, HIDDEN)
        self.theirs = nn.GRU(HIDDEN, HIDDEN)
        self.spare = ut.RNN(HIDDEN, HIDDEN)
        self.calls = 0

    def forward(self, x: Any, *, half: bool = False) -> Any:
        self.calls += 1
        y = self.norm(self.rnn(x)[0].transpose(1, 2)).transpose(1, 2)
        y = self.theirs(self.drop(y))[0]
        state = None
        for step in y:
            state = self.cell(step, state)
        if half:
            with torch.autocast("cpu", torch.bfloat16):
                self.cell(y[0])
        return state


def test_a_model() -> None:
    model, x = Model(), torch.randn(STEPS, BATCH, INPUT)
    before = {name: b.clone() for name, b in model.named_buffers()}
    random = torch.get_rng_state()
    kernels, tape, *rest = ut.explain(model, x).splitlines()[0].split(", ")
    assert kernels.startswith("rnn: unrolled: ")
    assert (tape, rest) == ("with a tape for the way back", [])
    assert model.calls == 1
    assert torch.equal(torch.get_rng_state(), random)
    for name, b in model.named_buffers():
        assert torch.equal(b, before[name]), name
    lines = ut.explain(model, x, half=True).splitlines()
    assert [line.split(": ", 2)[:2] for line in lines] == [
        ["rnn", "unrolled"],
        ["cell", "unrolled"],
        ["cell", "PyTorch"],
        ["theirs", "PyTorch"],
        ["spare", "not called"],
    ]
    assert lines[2] == "cell: PyTorch: autocast is on for the CPU"
    assert lines[3] == "theirs: PyTorch: GRU is not one of ours; see unrolled.torch.accelerate"
    with torch.no_grad():
        assert ut.explain(model, x).splitlines()[0].endswith("keeping nothing")


def test_its_buffers_count_no_writes_in_eval_mode() -> None:
    """A graph that is waiting for its backward has kept them."""
    model, x = Model().eval(), torch.randn(STEPS, BATCH, INPUT)
    loss = model(x).sum()
    ut.explain(model, x)
    loss.backward()


def test_layers_take_forwards_names() -> None:
    layer, x = ut.LSTM(INPUT, HIDDEN), torch.randn(STEPS, BATCH, INPUT)
    h = torch.zeros(1, BATCH, HIDDEN)
    text = ut.explain(layer, x)
    assert text.startswith("unrolled: ")
    assert ut.explain(layer, input=x, hx=(h, h)) == text
    assert ut.explain(layer, x=x) == text
    assert ut.explain(layer, x, hx=h) == "PyTorch: the states are not a pair"
    assert ut.explain(layer, x, resets=torch.zeros(STEPS, BATCH, dtype=torch.bool)) == text
    assert ut.explain(ut.GRUCell(INPUT, HIDDEN), input=x[0]).startswith("unrolled: ")
    with pytest.raises(TypeError, match="missing a required argument: 'input'"):
        ut.explain(layer)
    with pytest.raises(TypeError, match="unexpected keyword argument 'h0'"):
        ut.explain(layer, x, h0=h)


def test_nothing_recurrent() -> None:
    assert ut.explain(nn.Linear(2, 3)) == "PyTorch: there is nothing recurrent in Linear"


def test_an_error_of_the_model_passes_and_nobody_watches_after() -> None:
    with pytest.raises(RuntimeError):
        ut.explain(Model(), torch.randn(STEPS, BATCH, INPUT + 1))
    assert _path.watcher is None


def test_other_threads_are_not_watched() -> None:
    model, x = Model(), torch.randn(STEPS, BATCH, INPUT)

    def elsewhere(*_: Any) -> None:
        thread = threading.Thread(target=model.spare, args=(torch.randn(3, HIDDEN),))
        thread.start()
        thread.join()

    model.norm.register_forward_hook(elsewhere)
    assert ut.explain(model, x).splitlines()[-1] == "spare: not called"
