"""`torch.fx` takes our layers for leaves, as it takes PyTorch's."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from torch_support import BATCH, CELLS, HIDDEN, INPUT, SEQUENCES, STEPS, torch, ut

fx = torch.fx


class Around(torch.nn.Module):
    """A layer and its states among other modules."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.before = torch.nn.Linear(INPUT, INPUT)
        self.layer = layer

    def forward(self, x: Any, state: Any = None) -> Any:
        return self.layer(self.before(x), state)


class Bare(torch.nn.LSTM):
    """A subclass with nothing of its own."""


class Namesake(fx.Tracer):
    """A tracer with a rule of its own, as that of quantisation has."""

    def is_leaf_module(self, m: Any, module_qualified_name: str) -> bool:
        return m.__module__.startswith("torch.nn")


def sample(layer: Any) -> Any:
    rows = (BATCH,) if isinstance(layer, torch.nn.RNNCellBase) else (STEPS, BATCH)
    return torch.randn(*rows, INPUT)


def nodes(graph: Any) -> list[str]:
    return [str(node.target) for node in graph.nodes if node.op == "call_module"]


def first(result: Any) -> Any:
    return result[0] if isinstance(result, tuple) else result


@pytest.mark.parametrize(("name", "more"), [*SEQUENCES, *CELLS])
def test_leaves(name: str, more: dict[str, Any]) -> None:
    model = Around(getattr(ut, name)(INPUT, HIDDEN, **more))
    traced = fx.symbolic_trace(model)
    assert nodes(traced.graph) == ["before", "layer"]
    assert nodes(fx.symbolic_trace(traced).graph) == ["before", "layer"]
    x = sample(model.layer)
    assert torch.equal(first(traced(x)), first(model(x)))
    assert traced.layer is model.layer


@pytest.mark.parametrize("layer", [ut.GRU(INPUT, HIDDEN), ut.LSTMCell(INPUT, HIDDEN)])
def test_tracers_with_a_rule_of_their_own(layer: Any) -> None:
    model = Around(layer)
    graph = Namesake().trace(model)
    assert nodes(graph) == ["before", "layer"]
    x = sample(layer)
    assert torch.equal(first(fx.GraphModule(model, graph)(x)), first(model(x)))


def test_hooks_run_once() -> None:
    model = Around(ut.GRU(INPUT, HIDDEN))
    model.layer.register_forward_hook(lambda _, given, found: found[0] + 1)
    x = sample(model.layer)
    assert torch.equal(fx.symbolic_trace(model)(x), model(x))
    with pytest.raises(fx.proxy.TraceError):
        Namesake().trace(model)


def test_old_weight_norm() -> None:
    """Its hook would put the tracer's proxies in the place of the weights."""
    with pytest.warns(FutureWarning, match="weight_norm"):
        layer = torch.nn.utils.weight_norm(torch.nn.GRU(INPUT, HIDDEN), "weight_hh_l0")
    model = Around(layer)
    ut.accelerate(model)
    x = sample(layer)
    expected = first(model(x))
    assert torch.equal(first(fx.symbolic_trace(model)(x)), expected)
    assert torch.equal(first(model(x)), expected)


def test_subclasses_and_parametrised_layers() -> None:
    bare, parametrised = Bare(INPUT, HIDDEN), ut.GRU(INPUT, HIDDEN)
    torch.nn.utils.parametrizations.orthogonal(parametrised, "weight_hh_l0")
    for layer in (bare, parametrised):
        model = Around(layer)
        ut.accelerate(model)
        traced = fx.symbolic_trace(model)
        assert nodes(traced.graph) == ["before", "layer"]
        x = sample(layer)
        assert torch.equal(first(traced(x)), first(model(x)))


def test_others_are_no_leaves() -> None:
    class Mine(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x + 1

    assert nodes(fx.symbolic_trace(torch.nn.Sequential(Mine())).graph) == []
    with pytest.raises(fx.proxy.TraceError):
        fx.symbolic_trace(ut.LSTM(INPUT, HIDDEN))
    with pytest.raises(fx.proxy.TraceError):
        fx.symbolic_trace(torch.nn.LSTM(INPUT, HIDDEN))


def test_quantisation_goes_around_them() -> None:
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import prepare_fx

    model = Around(ut.GRU(INPUT, HIDDEN)).eval()
    x = sample(model.layer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prepared = prepare_fx(model, get_default_qconfig_mapping("x86"), (x,))
    assert "layer" in nodes(prepared.graph)
    assert torch.equal(first(prepared(x)), first(model(x)))
