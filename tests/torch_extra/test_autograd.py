"""Derivatives of every kind, and what autograd does with a tape on the way."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from torch_support import SEQUENCES, close, pair, torch, ut
from unrolled.torch import _run

# Small, since these differentiate numerically.
STEPS, BATCH, INPUT, HIDDEN = 4, 2, 3, 4


def arguments(name: str, layers: int = 1, directions: int = 1, state: int = HIDDEN) -> Any:
    def leaf(*shape: int) -> Any:
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    h = leaf(layers * directions, BATCH, state)
    return leaf(STEPS, BATCH, INPUT), h, leaf(layers * directions, BATCH, HIDDEN)


def as_function(module: Any, name: str) -> Any:
    """With the weights as arguments, as gradcheck wants it."""
    names = [n for n, _ in module.named_parameters()]

    def run(x: Any, h: Any, c: Any, *weights: Any) -> Any:
        hx = (h, c) if name.startswith("LSTM") else h
        return torch.func.functional_call(module, dict(zip(names, weights, strict=True)), (x, hx))

    return run


def leaves(module: Any) -> Any:
    return [p.detach().clone().requires_grad_() for p in module.parameters()]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("name", "more"), SEQUENCES)
def test_gradcheck(name: str, more: dict[str, Any], bidirectional: bool) -> None:
    options = {k: v - 1 if k == "proj_size" else v for k, v in more.items()}
    net = getattr(ut, name)(INPUT, HIDDEN, 2, bidirectional=bidirectional, **options).double()
    x, h, c = arguments(name, 2, 2 if bidirectional else 1, options.get("proj_size", HIDDEN))
    if name != "LSTM":
        c.requires_grad_(False)
    run = as_function(net, name)

    def flat(*given: Any) -> Any:
        y, state = run(*given)
        return (y, *state) if name == "LSTM" else (y, state)

    weights = leaves(net)
    assert torch.autograd.gradcheck(flat, (x, h, c, *weights))
    assert torch.autograd.gradgradcheck(flat, (x, h, c, *weights), fast_mode=True)


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_second_derivatives(name: str, resets: bool) -> None:
    """The gradient's square as loss, where h0 and the weights owe something to x as well."""
    ours, theirs = pair(name, torch.float64)
    marks = torch.zeros(4, 3, dtype=torch.bool)
    marks[2, 1] = True
    x = torch.randn(4, 3, 5, dtype=torch.float64)
    found = []
    for module in (ours, theirs):
        leaf = x.clone().requires_grad_()
        h = leaf.mean((0, 2))[None, :, None].expand(1, 3, 7) * 2
        hx = (h, h.square()) if name == "LSTM" else h
        more = {}
        if module is ours and resets:
            more = {"resets": marks}
        if module is theirs and resets:
            y = ours._by_torch(leaf, hx, marks)[0]
            parameters = [leaf, *ours.parameters()]
        else:
            y = module(leaf, hx, **more)[0]
            parameters = [leaf, *module.parameters()]
        first = torch.autograd.grad(y.square().sum(), parameters, create_graph=True)
        loss = sum(g.square().sum() for g in first)
        found.append([*first, *torch.autograd.grad(loss, parameters)])
    for i, (a, b) in enumerate(zip(*found, strict=True)):
        close(a, b, "reference.gradient.float64", f"derivative {i}")


def test_float32_has_second_derivatives() -> None:
    net = ut.LSTM(INPUT, HIDDEN)
    x = torch.randn(STEPS, BATCH, INPUT, requires_grad=True)
    (g,) = torch.autograd.grad(net(x)[0].sum(), x, create_graph=True)
    (gg,) = torch.autograd.grad(g.square().sum(), x)
    assert gg.abs().sum() > 0


# PyTorch's own import for it scripts something.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_forward_mode() -> None:
    ours, theirs = pair("LSTM", torch.float64)
    x, v = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    with torch.autograd.forward_ad.dual_level():
        assert "forward-mode" in ut.explain(ours, x)
        dual = ours(torch.autograd.forward_ad.make_dual(x, v))[0]
        tangent = torch.autograd.forward_ad.unpack_dual(dual).tangent
    _, expected = torch.func.jvp(lambda x: theirs(x)[0], (x,), (v,))
    close(tangent, expected, "reference.gradient.float64", "tangent")
    # PyTorch's own kernel for float32 cannot.
    ours.float()
    _, again = torch.func.jvp(lambda x: ours(x)[0], (x.float(),), (v.float(),))
    close(again, expected, "reference.gradient.float32", "tangent")


def test_functorch() -> None:
    ours, theirs = pair("GRU", torch.float64)
    x = torch.randn(4, 3, 5, dtype=torch.float64)
    found = []
    for module in (ours, theirs):
        weights = dict(module.named_parameters())

        def loss(weights: Any, x: Any, module: Any = module) -> Any:
            return torch.func.functional_call(module, weights, (x,))[0].square().sum()

        by_weight, by_x = torch.func.grad(loss, argnums=(0, 1))(weights, x)
        found.append([*by_weight.values(), by_x])
    for a, b in zip(*found, strict=True):
        close(a, b, "reference.gradient.float64", "gradient")


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN", "LSTMCell"])
def test_vmap_is_refused_as_pytorch_refuses_it(name: str) -> None:
    ours, theirs = pair(name, torch.float64)
    x = torch.randn(6, 4, 3, 5, dtype=torch.float64)
    x = x[:, 0] if name == "LSTMCell" else x
    with pytest.raises(RuntimeError) as expected:
        torch.func.vmap(theirs)(x)
    with pytest.raises(RuntimeError) as found:
        torch.func.vmap(ours)(x)
    assert str(found.value) == str(expected.value)


def test_vmap_over_the_way_back() -> None:
    ours, theirs = pair("RNN", torch.float64)
    found = []
    for module in (ours, theirs):
        x = torch.randn(2, 2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        x.requires_grad_()
        y = module(x)[0]
        basis = torch.eye(y.numel(), dtype=torch.float64).view(-1, *y.shape)
        found.append(torch.autograd.grad(y, x, basis, is_grads_batched=True)[0])
    close(found[0], found[1], "reference.gradient.float64", "jacobian")


def test_a_tape_goes_with_what_autograd_saved() -> None:
    layer = ut.LSTM(INPUT, HIDDEN)
    tapes: list[Any] = []
    record = _run._reserve

    def watched(net: Any, tape: Any) -> Any:
        reserve = record(net, tape)
        tapes.append(weakref.ref(reserve.untyped_storage()))
        return reserve

    _run._reserve = watched
    try:
        y = layer(torch.randn(STEPS, BATCH, INPUT))[0]
        gc.collect()
        assert tapes[0]() is not None
        y.sum().backward(retain_graph=True)
        assert tapes[0]() is not None
        y.sum().backward()
        gc.collect()
        assert tapes[0]() is None
        with pytest.raises(RuntimeError, match="second time"):
            y.sum().backward()
    finally:
        _run._reserve = record


def test_retained_graphs_go_back_again() -> None:
    net = ut.LSTM(INPUT, HIDDEN)
    y = net(torch.randn(STEPS, BATCH, INPUT))[0]
    y.sum().backward(retain_graph=True)
    once = net.weight_hh_l0.grad.clone()
    y.sum().backward()
    assert torch.equal(net.weight_hh_l0.grad, 2 * once)


def test_saved_tensors_may_be_moved_away() -> None:
    """A copy of the reserve has no tape; the run is repeated."""
    net = ut.GRU(INPUT, HIDDEN)
    x = torch.randn(STEPS, BATCH, INPUT, requires_grad=True)
    (expected,) = torch.autograd.grad(net(x)[0].square().sum(), x)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        y = net(x)[0]
    (found,) = torch.autograd.grad(y.square().sum(), x)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing(reentrant: bool) -> None:
    net = ut.LSTM(INPUT, HIDDEN, 2)
    x = torch.randn(STEPS, BATCH, INPUT, requires_grad=True)
    net(x)[0].square().sum().backward()
    expected = [t.grad.clone() for t in (x, *net.parameters())]
    for t in (x, *net.parameters()):
        t.grad = None
    run = torch.utils.checkpoint.checkpoint
    run(lambda x: net(x)[0], x, use_reentrant=reentrant).square().sum().backward()
    for t, e in zip((x, *net.parameters()), expected, strict=True):
        assert torch.equal(t.grad, e)


def test_weights_changed_before_the_way_back_are_an_error_as_in_pytorch() -> None:
    for module in (ut.LSTM(INPUT, HIDDEN), torch.nn.LSTM(INPUT, HIDDEN)):
        y = module(torch.randn(STEPS, BATCH, INPUT))[0]
        with torch.no_grad():
            module.weight_hh_l0.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()


def test_two_sets_of_weights_in_one_graph() -> None:
    """Each run goes back with the weights it was made with."""
    ours, theirs = pair("GRU", torch.float64)
    x = torch.randn(4, 3, 5, dtype=torch.float64)
    found = []
    for module in (ours, theirs):
        name = "weight_hh_l0"
        one = {name: module.weight_hh_l0.detach().clone().requires_grad_()}
        two = {name: (3 * module.weight_hh_l0.detach()).requires_grad_()}
        ys = [torch.func.functional_call(module, w, (x,))[0] for w in (one, two)]
        loss = ys[0].square().sum() + 2 * ys[1].square().sum()
        found.append(torch.autograd.grad(loss, [one[name], two[name]]))
    for a, b in zip(*found, strict=True):
        close(a, b, "reference.gradient.float64", "gradient")


def test_outputs_may_be_written_to() -> None:
    ours, theirs = pair("LSTM", torch.float64)
    x = torch.randn(4, 3, 5, dtype=torch.float64)
    for state in (0, 1):
        found = []
        for module in (ours, theirs):
            y, (h, c) = module(x)
            out = (y, h)[state]
            out.mul_(2)
            loss = y.sum() + (h * c).sum()
            found.append(torch.autograd.grad(loss, list(module.parameters())))
        for a, b in zip(*found, strict=True):
            close(a, b, "reference.gradient.float64", "gradient")


def test_anomaly_mode() -> None:
    net = ut.RNN(INPUT, HIDDEN)
    with pytest.warns(UserWarning, match="Anomaly"), torch.autograd.detect_anomaly():
        net(torch.randn(STEPS, BATCH, INPUT))[0].sum().backward()
    assert net.weight_hh_l0.grad is not None
