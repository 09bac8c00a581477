"""`unrolled.torch.Recurrent`: any cell that is a formula, as a module of PyTorch."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from tolerances import assert_close
from torch_support import torch, ut
from unrolled.cells import sigmoid, tanh
from unrolled.torch._formula import replay
from unrolled.torch._layers import Call

pack_sequence = torch.nn.utils.rnn.pack_sequence
pad_packed_sequence = torch.nn.utils.rnn.pad_packed_sequence

CELLS = [
    ur.cells.leaky_rnn,
    ur.cells.peephole_lstm,
    ur.cells.slstm,
    ur.cells.layer_norm_lstm,
    ur.cells.min_gru,
    ur.cells.gru_original,
    ur.cells.lif,
]
NAMES = [cell.name for cell in CELLS]


def made(cell: Any = ur.cells.peephole_lstm, *sizes: int, **options: Any) -> Any:
    torch.manual_seed(1)
    options.setdefault("dtype", torch.float64)
    net = ut.Recurrent(cell, *(sizes or (3, 5)), **options)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn_like(p), alpha=0.3)
    return net


def values(*shape: int, **options: Any) -> Any:
    return torch.randn(shape, dtype=torch.float64, **options)


def states_of(net: Any, batch: int) -> Any:
    cells = net.num_layers * (1 + net.bidirectional)
    found = {name: values(cells, batch, net.hidden_size) for name in net.cell.states}
    if "n" in found:  # sLSTM divides by it
        found["n"] = found["n"].abs() + 1
    return tuple(s.requires_grad_() for s in found.values())


def single(states: tuple[Any, ...]) -> Any:
    return states if len(states) > 1 else states[0]


def several(states: Any) -> tuple[Any, ...]:
    return states if isinstance(states, tuple) else (states,)


def plain(net: Any) -> Any:
    config = {
        "num_layers": net.num_layers,
        "bidirectional": net.bidirectional,
        "bias": net.bias,
        "dtype": str(net._weights()[0].dtype).removeprefix("torch."),
    }
    ours = ur.Recurrent(net.cell, net.input_size, net.hidden_size, **config)
    ours.load_state_dict({name: p.numpy() for name, p in net.state_dict().items()})
    return ours


@pytest.mark.parametrize("cell", CELLS, ids=NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_as_ours_to_the_last_bit(cell: Any, dtype: Any) -> None:
    net = made(cell, num_layers=2, bidirectional=True, dtype=dtype)
    x = values(7, 4, 3).to(dtype).requires_grad_()
    hx = tuple(s.detach().to(dtype).requires_grad_() for s in states_of(net, 4))
    resets = torch.rand(7, 4) < 0.2
    y, states = net(x, single(hx), resets)
    dy = torch.randn_like(y)
    d_states = [torch.randn_like(s) for s in several(states)]
    torch.autograd.backward([y, *several(states)], [dy, *d_states])

    ours = plain(net)
    given = single(tuple(s.detach().numpy() for s in hx))
    expected, final, tape = ours.record(x.detach().numpy(), given, resets=resets.numpy())
    g = tape.backward(dy.numpy(), single(tuple(d.numpy() for d in d_states)))
    assert np.array_equal(y.detach().numpy(), expected)
    for state, right in zip(several(states), several(final), strict=True):
        assert np.array_equal(state.detach().numpy(), right)
    assert np.array_equal(x.grad.numpy(), g.input)
    for state, right in zip(hx, several(g.state), strict=True):
        assert np.array_equal(state.grad.numpy(), right)
    for name, p in net.named_parameters():
        assert np.array_equal(p.grad.numpy(), g.parameters[name]), name


@pytest.mark.parametrize("cell", CELLS, ids=NAMES)
def test_as_the_function_under_autograd(cell: Any) -> None:
    """The replay is differentiated by PyTorch, not by us."""
    net = made(cell, num_layers=2, bidirectional=True)
    x, hx = values(6, 4, 3, requires_grad=True), states_of(net, 4)
    lengths, resets = torch.tensor([6, 2, 5, 1]), torch.rand(6, 4) < 0.2
    inputs = [x, *hx, *net.parameters()]
    dy, weights = torch.randn(6, 4, 10, dtype=torch.float64), net._weights()
    found = []
    for run in (
        lambda: net._stack(0, net._kind(), Call(x, hx, lengths, resets), weights),
        lambda: replay(net._kind(), x, hx, weights, lengths, resets),
    ):
        y, states = run()
        loss = (y * dy).sum() + sum((s**2).sum() for s in states)
        found.append([y, *states, *torch.autograd.grad(loss, inputs, retain_graph=True)])
    for name, got, right in zip(map(str, range(99)), *found, strict=False):
        got, right = got.detach().numpy(), right.detach().numpy()
        assert_close(got, right, "reference.gradient.float64", name)


@pytest.mark.parametrize("cell", CELLS[:-1], ids=NAMES[:-1])
def test_derivatives_of_derivatives(cell: Any) -> None:
    net = made(cell, 2, 3)
    names = list(net._names)

    def run(x: Any, *weights: Any) -> Any:
        named = dict(zip(names, weights, strict=True))
        return torch.func.functional_call(net, named, (x,))[0]

    x = values(3, 2, 2, requires_grad=True)
    weights = [p.detach().clone().requires_grad_() for p in net.parameters()]
    assert torch.autograd.gradcheck(run, (x, *weights))
    assert torch.autograd.gradgradcheck(run, (x, *weights))


def test_derivatives_of_derivatives_of_a_whole_call() -> None:
    net = made(ur.cells.slstm, 2, 2, num_layers=2, bidirectional=True)
    states = tuple(s.detach()[:, :2] for s in states_of(net, 3))
    marks = pack_sequence([torch.tensor([False, False, True]), torch.tensor([False, True])])

    def run(a: Any, b: Any, *states: Any) -> Any:
        y, final = net(pack_sequence([a, b]), states, marks)
        return y.data, *final

    leaves = (values(3, 2), values(2, 2), *states)
    leaves = tuple(t.requires_grad_() for t in leaves)
    assert torch.autograd.gradcheck(run, leaves, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(run, leaves, fast_mode=True)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_transforms() -> None:
    net = made()
    x = values(4, 2, 3)

    def f(x: Any) -> Any:
        return net(x)[0]

    tangent = torch.randn_like(x)
    forward = torch.func.jvp(f, (x,), (tangent,))[1]
    step = 1e-6
    quotient = (f(x + step * tangent) - f(x - step * tangent)) / (2 * step)
    assert torch.allclose(forward, quotient, rtol=1e-6, atol=1e-8)
    many = values(3, 4, 2, 3)
    mapped = torch.func.vmap(f)(many)
    assert torch.allclose(mapped, torch.stack([f(x) for x in many]))


def test_packed_sequences() -> None:
    net = made(num_layers=2, bidirectional=True)
    rows = [values(n, 3) for n in (3, 5, 1)]
    output, states = net(pack_sequence(rows, enforce_sorted=False))
    y, lengths = pad_packed_sequence(output)
    assert lengths.tolist() == [3, 5, 1]
    for b, row in enumerate(rows):
        alone, own = net(row)
        assert torch.equal(y[: len(row), b], alone)
        for state, right in zip(states, own, strict=True):
            assert torch.equal(state[:, b], right)
    marks = [torch.zeros(len(row), dtype=torch.bool) for row in rows]
    marks[1][2] = True
    with_resets, _ = net(
        pack_sequence(rows, enforce_sorted=False),
        resets=pack_sequence(marks, enforce_sorted=False),
    )
    assert not torch.equal(with_resets.data, output.data)


def test_layouts() -> None:
    net, other = made(), made(batch_first=True)
    x = values(6, 2, 3)
    resets = torch.rand(6, 2) < 0.3
    y, states = net(x, resets=resets)
    turned, same = other(x.transpose(0, 1), resets=resets.T)
    assert torch.equal(turned.transpose(0, 1), y)
    zeros = torch.zeros(1, 5, dtype=torch.float64)
    alone, own = net(x[:, 0], (zeros, zeros), resets[:, 0])
    assert torch.equal(alone, y[:, 0])
    for state, again, one in zip(states, same, own, strict=True):
        assert torch.equal(state, again)
        assert torch.equal(state[:, 0], one)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("cell", [ur.cells.leaky_rnn, ur.cells.slstm], ids=lambda c: c.name)
def test_compile_and_export(cell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where it is set, PyTorch's compiler is stricter. A graph of its cache would not be compiled.
    monkeypatch.setenv("CI", "1")
    net = made(cell, num_layers=2)
    x = values(5, 2, 3, requires_grad=True)
    y = net(x)[0]
    y.sum().backward()
    grads = [x.grad, *(p.grad for p in net.parameters())]
    x.grad = None
    net.zero_grad(set_to_none=True)
    with torch._inductor.config.patch(fx_graph_cache=False):
        compiled = torch.compile(net, fullgraph=True)(x)[0]
    compiled.sum().backward()
    assert torch.equal(compiled, y)
    for got, right in zip([x.grad, *(p.grad for p in net.parameters())], grads, strict=True):
        assert torch.equal(got, right)
    program = torch.export.export(net, (x.detach(),))
    assert torch.equal(program.module()(x.detach())[0], y)
    kind, weights = net._kind(), [p.detach() for p in net._weights()]
    arguments = (x.detach(), [], weights, None, None, *kind, True)
    operator = torch.ops.unrolled.recurrent.default
    torch.library.opcheck(operator, arguments, test_utils="test_faketensor")


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_compile_what_the_kernels_cannot_do() -> None:
    """PyTorch computes the steps and draws for dropout within one graph; a packed sequence breaks
    it.
    """
    net = made(ur.cells.slstm, num_layers=2, bidirectional=True, dtype=torch.bfloat16)
    x, resets = values(4, 2, 3).bfloat16().requires_grad_(), torch.rand(4, 2) < 0.3
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    found = []
    for run in (net, compiled):
        y, states = run(x, resets=resets)
        found.append([y, *states, *torch.autograd.grad(y.sum(), [x, *net.parameters()])])
    for got, right in zip(*found, strict=True):
        assert torch.equal(got, right)
    net, x = made(num_layers=2, dropout=0.5), values(4, 2, 3)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    assert not torch.equal(compiled(x)[0], compiled(x)[0])
    assert torch.equal(compiled.eval()(x)[0], net.eval()(x)[0])
    rows = pack_sequence([values(3, 3), values(2, 3)])
    assert torch.equal(torch.compile(net, backend="aot_eager")(rows)[0].data, net(rows)[0].data)


class _OwnRule(torch.fx.Tracer):
    def is_leaf_module(self, m: Any, module_qualified_name: str) -> bool:
        return m.__module__.startswith("torch.nn")


@pytest.mark.parametrize("tracer", [torch.fx.Tracer, _OwnRule])
def test_leaf_of_fx(tracer: Any) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 3).double(), made())
    graph = tracer().trace(model)
    assert [node.target for node in graph.nodes if node.op == "call_module"] == ["0", "1"]
    x = values(4, 2, 3)
    assert torch.equal(torch.fx.GraphModule(model, graph)(x)[0], model(x)[0])


@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore:.*LeafSpec.*:FutureWarning",
    "ignore::torch.jit.TracerWarning",
)
@pytest.mark.parametrize("cell", [ur.cells.gru_original, ur.cells.lif], ids=lambda c: c.name)
def test_onnx(dynamo: bool, cell: Any) -> None:
    pytest.importorskip("onnxscript", reason="PyTorch's exporter needs onnxscript")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    net = made(cell, bidirectional=True, dtype=torch.float32).eval()
    x, file = values(4, 2, 3).float(), io.BytesIO()
    if dynamo:
        torch.onnx.export(net, (x,), dynamo=True).save(file)
    else:
        torch.onnx.export(net, (x,), file, dynamo=False)
    session = runtime.InferenceSession(file.getvalue())
    found = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    y, states = net(x)
    for got, right in zip(found, (y, *several(states)), strict=True):
        assert_close(got, right.detach().numpy(), "reference.output.float32", "result")


def test_dropout_is_pytorchs() -> None:
    net = made(num_layers=3, dropout=0.5)
    x = values(6, 4, 3)
    torch.manual_seed(3)
    y, states = net(x)
    torch.manual_seed(3)
    weights, parts = net._weights(), []
    below = x
    for n in range(3):
        own = net._kind().layer()
        below, final = replay(own, below, None, weights[n * 5 : n * 5 + 5], None, None)
        parts.append(torch.stack(final))
        if n < 2:
            below = torch.nn.functional.dropout(below, 0.5)
    entry, stacked = "reference.output.float64", torch.cat(parts, 1)
    assert_close(y.detach().numpy(), below.detach().numpy(), entry, "y")
    assert_close(torch.stack(states).detach().numpy(), stacked.detach().numpy(), entry, "states")
    assert not torch.equal(net.eval()(x)[0], y)


def test_parameters_go_either_way_and_begin_as_the_cell_says() -> None:
    @ur.cell(p={"u": 0.5}, x={"f": 2.0})
    def own(x: Any, h: Any, *, p: Any, alpha: float = 0.1) -> Any:
        return (1 - alpha) * h + alpha * sigmoid(x.f + h.f) * tanh(x.g + p.u * h)

    net = ut.Recurrent(own, 3, 4, alpha=0.25)
    assert net.weight_p_l0.tolist() == [0.5] * 4
    assert net.bias_ih_l0[:4].tolist() == [2.0] * 4
    assert net.weight_ih_l0.abs().max() <= 0.5
    assert net.cell.constants == {"alpha": 0.25}
    ours = ur.Recurrent(own, 3, 4, alpha=0.25, seed=2)
    net.load_state_dict({name: torch.from_numpy(a) for name, a in ours.state_dict().items()})
    x = np.ones((5, 2, 3), np.float32)
    assert np.array_equal(net(torch.from_numpy(x))[0].detach().numpy(), ours(x)[0])


def test_copies() -> None:
    net = made()
    x = values(4, 2, 3)
    y = net(x)[0]
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), loaded):
        assert torch.equal(other(x)[0], y)
        with torch.no_grad():
            other.weight_p_l0 += 1
        assert not torch.equal(other(x)[0], y)
    assert torch.equal(net(x)[0], y)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_what_the_kernels_cannot_do() -> None:
    net = made(dtype=torch.bfloat16)
    y, _ = net(torch.ones(3, 2, 3, dtype=torch.bfloat16))
    y.sum().backward()
    assert y.dtype is torch.bfloat16 and net.weight_hh_l0.grad is not None
    meta = ut.Recurrent(ur.cells.lem, 3, 5, device="meta")
    assert meta(torch.empty(4, 2, 3, device="meta"))[0].shape == (4, 2, 5)
    said = ut.explain(net, torch.ones(3, 2, 3, dtype=torch.bfloat16))
    assert said == "PyTorch: x is torch.bfloat16; the kernels know float32 and float64"
    assert ut.explain(made(), values(3, 2, 3)).startswith("unrolled: ")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert made(dtype=torch.float32)(torch.ones(3, 2, 3))[0].shape == (3, 2, 5)
    with pytest.raises(TypeError, match="cannot compile a formula"):
        torch.jit.script(made())


def test_autocast_carries_states_in_the_weights_precision() -> None:
    """As PyTorch's layers, it takes what a layer before it gives, states too, and its own."""

    @ur.cell
    def counting(x: Any, h: Any, n: Any) -> Any:
        return tanh(x.a + h.a) / (1 + n), n + 1

    for bias in (True, False):
        net = made(counting, num_layers=2, bias=bias, dtype=torch.float32)
        below = torch.nn.Linear(3, 3)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            x = below(torch.ones(300, 2, 3))
            assert x.dtype is torch.bfloat16
            with torch.no_grad():
                _, (_, count) = net(x)
            # In bfloat16 one and 256 are 256.
            assert count.dtype is torch.float32 and (count == 300).all()
            _, states = net(x[:3])
            y, _ = net(x[:3], states)
            low = tuple(s.bfloat16() for s in states)
            y = y + net(x[:3], low)[0]
        y.float().sum().backward()
        assert net.weight_hh_l0.grad.dtype is torch.float32
        with pytest.raises(TypeError, match="expected torch.float32 as the parameters"):
            net(torch.ones(3, 2, 3), low)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_numbers_too_large_for_the_precision(dtype: Any) -> None:
    """They are infinities there, as in arrays."""

    @ur.cell
    def bounded(x: Any, h: Any) -> Any:
        high = ur.cells.minimum(tanh(x.a + h.a), 1e300)
        return ur.cells.where(high > 2, -1e300, ur.cells.clip(high, -1e5, 1e5))

    @ur.cell
    def usual(x: Any, h: Any) -> Any:
        return tanh(x.a + h.a)

    net, right = made(bounded, dtype=dtype), made(usual, dtype=dtype)
    right.load_state_dict(net.state_dict())
    x = values(3, 2, 3).to(dtype)
    got, expected = (n._kind() for n in (net, right))
    y, _ = replay(got, x, None, net._weights(), None, None)
    assert torch.equal(y, replay(expected, x, None, net._weights(), None, None)[0])


def test_accelerate_leaves_it_alone() -> None:
    summary = ut.accelerate(torch.nn.Sequential(made()))
    assert not summary.replaced and not summary.left


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda net: net([1.0]), TypeError, "input: expected a tensor or PackedSequence"),
        (lambda net: net(values(4, 2, 7)), ValueError, r"\(T, B, I\) or \(T, I\) with I = 3"),
        (lambda net: net(values(4)), ValueError, "input: expected shape"),
        (lambda net: net(values(0, 2, 3)), ValueError, "at least one step"),
        (lambda net: net(values(4, 2, 3).float()), TypeError, "expected torch.float64"),
        (lambda net: net(values(4, 2, 3), values(1, 2, 5)), TypeError, r"a tuple \(h, c\)"),
        (
            lambda net: net(values(4, 2, 3), (values(1, 2, 5), values(1, 3, 5))),
            ValueError,
            r"hx: c: expected shape \(L\*D, B, H\) = \(1, 2, 5\), got \(1, 3, 5\)",
        ),
        (
            lambda net: net(values(4, 2, 3), (values(1, 2, 5), values(1, 2, 5).float())),
            TypeError,
            "hx: c: expected torch.float64",
        ),
        (lambda net: net(values(4, 2, 3), resets=torch.zeros(4, 2)), TypeError, "a bool tensor"),
        (
            lambda net: net(values(4, 2, 3), resets=torch.zeros(2, 4, dtype=torch.bool)),
            ValueError,
            r"\(T, B\) = \(4, 2\), got \(2, 4\)",
        ),
    ],
)
def test_mistakes(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call(made())


def test_its_text_is_the_constructors_arguments() -> None:
    net = ut.Recurrent(ur.cells.leaky_rnn, 3, 4, bidirectional=True, alpha=0.25)
    assert repr(net) == "Recurrent(leaky_rnn, 3, 4, bidirectional=True, alpha=0.25)"


def test_mistakes_of_the_constructor() -> None:
    with pytest.raises(TypeError, match="cell: expected what ur.cell makes"):
        ut.Recurrent(3, 3, 4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="hidden_size: expected"):
        ut.Recurrent(ur.cells.rnn, 3, 0)
    with pytest.raises(ValueError, match="constants: expected names among"):
        ut.Recurrent(ur.cells.leaky_rnn, 3, 4, beta=1.0)
    with pytest.raises(TypeError, match="seed: expected torch.manual_seed"):
        ut.Recurrent(ur.cells.leaky_rnn, 3, 4, seed=1)
