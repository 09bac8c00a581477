"""Which layers change their class, what the summary says of the others, and the way back."""

from __future__ import annotations

import abc
import copy
import io
import pickle
import subprocess
import sys
import warnings
from typing import Any, Generic, TypeVar

import pytest
from tolerances import TOLERANCES
from torch_support import BATCH, HIDDEN, INPUT, STEPS, torch, ut

nn = torch.nn
prune = pytest.importorskip("torch.nn.utils.prune")
parametrise = torch.nn.utils.parametrizations
T = TypeVar("T")
NEAR = {"rtol": 0, "atol": TOLERANCES["peer.float32"]}


def first(result: Any) -> Any:
    return result[0] if isinstance(result, tuple) else result


def sample(layer: Any) -> Any:
    rows = (BATCH,) if isinstance(layer, nn.RNNCellBase) else (STEPS, BATCH)
    return torch.randn(*rows, layer.input_size)


class Bare(nn.LSTM):
    """As Neural Amp Modeler has it: a name, and nothing else."""


class Deep(Bare):
    def __init__(self, size: int, **more: Any) -> None:
        super().__init__(size, HIDDEN, **more)
        self.scale = 3.0

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.weight_hh_l0.data.zero_()


class Scaled(nn.GRU):
    def forward(self, x: Any, hx: Any = None, *, scale: float = 2.0) -> Any:
        y, h = super().forward(x * scale, hx)
        return y + 1, h


class Base(abc.ABC, nn.RNNBase):
    """As pytorch-forecasting has it: a mixin over the mother of PyTorch's layers."""

    @abc.abstractmethod
    def begin(self, batch: int) -> Any: ...

    def forward(self, x: Any, hx: Any = None, lengths: Any = None) -> Any:
        if lengths is not None:
            x = nn.utils.rnn.pack_padded_sequence(x, lengths, self.batch_first, False)
        return super().forward(x, self.begin(len(lengths)) if hx is None else hx)


class Forecast(Base, nn.GRU):
    def begin(self, batch: int) -> Any:
        return torch.zeros(1, batch, self.hidden_size)


class Typed(nn.RNN, Generic[T]):
    pass


class OwnCell(nn.LSTMCell):
    def forward(self, x: Any, hx: Any = None) -> Any:
        return super(OwnCell, self).forward(x, hx)  # noqa: UP008 - the old way of saying it


class Bypass(nn.LSTM):
    def forward(self, x: Any) -> Any:
        return nn.LSTM.forward(self, x)


class Other(nn.LSTM):
    def forward(self, x: Any) -> Any:
        return x


class Under(Other):
    def forward(self, x: Any) -> Any:
        return super().forward(x)


class Lenient(nn.LSTM):
    def check_forward_args(self, *_: Any) -> None:
        pass


class Registered(nn.LSTM):
    known: list[type] = []  # noqa: RUF012

    def __init_subclass__(cls) -> None:
        Registered.known.append(cls)


class Shelf(Registered):
    pass


class Clash(nn.LSTM):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._kind = "mine"


class OwnRecurrence(nn.RNNBase):
    def forward(self, x: Any) -> Any:
        return x


class LiGRULayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w, self.u = nn.Linear(INPUT, HIDDEN), nn.Linear(HIDDEN, HIDDEN)


class LiGRU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([LiGRULayer()])


class RNNTagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(INPUT, HIDDEN)


SUBCLASSES = [
    lambda: Bare(INPUT, HIDDEN),
    lambda: Deep(INPUT, num_layers=2),
    lambda: Scaled(INPUT, HIDDEN),
    lambda: Typed(INPUT, HIDDEN),
    lambda: OwnCell(INPUT, HIDDEN),
]


@pytest.mark.parametrize("make", SUBCLASSES)
def test_subclasses(make: Any) -> None:
    layer = make()
    kind, attributes = type(layer), set(vars(layer))
    x = sample(layer)
    expected = first(layer(x))
    assert list(ut.accelerate(layer).replaced) == [""]
    assert isinstance(layer, kind)
    assert isinstance(layer, (ut.LSTM, ut.GRU, ut.RNN, ut.LSTMCell))
    assert (type(layer).__name__, type(layer).__module__) == (kind.__name__, kind.__module__)
    with torch.no_grad():
        assert ut.explain(layer, x).startswith("unrolled: ")
    torch.testing.assert_close(first(layer(x)), expected, **NEAR)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    copies = [copy.deepcopy(layer), copy.copy(layer), torch.load(file, weights_only=False)]
    copies += [pickle.loads(pickle.dumps(layer, protocol)) for protocol in (0, 2, 5)]
    for other in copies:
        assert type(other) is type(layer)
        assert torch.equal(first(other(x)), first(layer(x)))
    assert list(ut.restore(layer).replaced) == [""]
    assert type(layer) is kind
    assert set(vars(layer)) == attributes
    assert torch.equal(first(layer(x)), expected)


def test_a_forecaster() -> None:
    layer = Forecast(INPUT, HIDDEN, batch_first=True)
    x, lengths = torch.randn(BATCH, STEPS, INPUT), torch.tensor([4, 9, 2])
    expected = layer(x, lengths=lengths)
    assert str(ut.accelerate(layer)).splitlines() == [
        "accelerated 1 recurrent layer",
        "  (the model): Forecast(5, 7, batch_first=True), by what its own forward hands on",
    ]
    assert ut.explain(layer, x, lengths=lengths).startswith("unrolled: ")
    found = layer(x, lengths=lengths)
    torch.testing.assert_close(found[0].data, expected[0].data, **NEAR)
    torch.testing.assert_close(found[1], expected[1], **NEAR)


def test_a_subclass_compiles() -> None:
    layer = Scaled(INPUT, HIDDEN)
    ut.accelerate(layer)
    x = sample(layer)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x)[0], layer(x)[0], **NEAR)


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (Bypass(2, 3), "Bypass has a forward of its own that does not call super().forward"),
        (Other(2, 3), "Other has a forward of its own that does not call super().forward"),
        (Under(2, 3), "Other has a forward of its own that does not call super().forward"),
        (Lenient(2, 3), "Lenient has a check_forward_args of its own, which our kernels"),
        (Shelf(2, 3), "Registered has an __init_subclass__, and we would make a subclass of it"),
        (Clash(2, 3), "Clash has a _kind of its own, and so do our classes"),
        (OwnRecurrence("GRU", 2, 3), "OwnRecurrence has a recurrence of its own"),
        (LiGRULayer(), "LiGRULayer is by its name recurrent, but not made of torch.nn's"),
    ],
)
def test_what_is_left_alone(layer: Any, why: str) -> None:
    kind = type(layer)
    summary = ut.accelerate(nn.Sequential(layer))
    assert not summary.replaced
    assert summary.left["0"].startswith(why)
    assert "  0: left alone, " in str(summary)
    assert type(layer) is kind
    assert ut.explain(layer, torch.zeros(5, 2, 2)).startswith("PyTorch: " + why)
    assert Registered.known == [Shelf]


def test_what_only_looks_recurrent() -> None:
    assert list(ut.accelerate(LiGRU()).left) == ["layers.0"]
    assert not ut.accelerate(RNNTagger()).left
    assert not ut.accelerate(nn.Sequential(nn.Linear(2, 3))).left


def test_compiled_and_quantised_layers() -> None:
    x = torch.randn(STEPS, BATCH, INPUT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(nn.LSTM(INPUT, HIDDEN))
        traced = torch.jit.trace(RNNTagger().rnn, x)
        model = nn.Sequential(nn.LSTM(INPUT, HIDDEN))
        quantised = torch.ao.quantization.quantize_dynamic(model, {nn.LSTM})
    assert ut.accelerate(nn.ModuleList([scripted, traced, quantised])).left == {
        "0": "LSTM is compiled by torch.jit; accelerate before",
        "1": "GRU is compiled by torch.jit; accelerate before",
        "2.0": "LSTM is quantised, and has kernels of its own",
    }


def test_twice() -> None:
    model = nn.Sequential(nn.LSTM(2, 3), Bare(3, 3))
    ut.accelerate(model)
    kinds = [type(layer) for layer in model]
    summary = ut.accelerate(model)
    assert not summary.replaced
    assert not summary.left
    assert summary.already == {"0": "LSTM(2, 3)", "1": "Bare(3, 3)"}
    assert str(summary) == (
        "accelerated 0 recurrent layers\n"
        "  0: LSTM(2, 3), ours already\n"
        "  1: Bare(3, 3), ours already"
    )
    assert [type(layer) for layer in model] == kinds


def test_the_summary_claims_what_explain_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # of conftest
    for layer, note in [
        (nn.GRU(2, 3), ""),
        (nn.GRU(2, 3).bfloat16(), ", by PyTorch as long as its weights are torch.bfloat16"),
        (nn.GRU(2, 3, device="meta"), ", by PyTorch as long as its weights are on device meta"),
    ]:
        summary = ut.accelerate(layer)
        assert summary.replaced[""] == repr(layer) + note
        x = torch.zeros(4, 2).to(next(layer.parameters()))
        assert ut.explain(layer, x).startswith("PyTorch" if note else "unrolled")
    wide, x = nn.GRU(200, 200), torch.zeros(4, 1, 200)
    assert ut.accelerate(wide).replaced[""] == "GRU(200, 200), in calls of 4 or more steps"
    assert ut.explain(wide, x).startswith("unrolled: ")
    assert ut.explain(wide, x[:3]).startswith("PyTorch: ")
    for cell, note in (
        (nn.RNNCell(300, 1200), ", by PyTorch, which is quicker"),
        (nn.LSTMCell(2, 3), ", by PyTorch, which is quicker"),
        (nn.GRUCell(300, 600), ", by PyTorch, which is quicker"),
    ):
        assert ut.accelerate(cell).replaced[""] == repr(cell) + note
        x = torch.zeros(32, cell.input_size)
        assert ut.explain(cell, x).startswith("PyTorch: ")
        with torch.no_grad():
            assert ut.explain(cell, x[:31]).startswith("PyTorch: ")
            assert ut.explain(cell, x).startswith(
                "unrolled: " if "inference" in note else "PyTorch"
            )


def wrap(layer: Any, how: str) -> Any:
    """The weights of a layer in the ways in which PyTorch makes them something else."""
    name = "weight_hh" if isinstance(layer, nn.RNNCellBase) else "weight_hh_l0"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        {
            "orthogonal": lambda: parametrise.orthogonal(layer, name),
            "weight_norm": lambda: parametrise.weight_norm(layer, name),
            "spectral_norm": lambda: parametrise.spectral_norm(layer, name),
            "old weight_norm": lambda: nn.utils.weight_norm(layer, name),
            "prune": lambda: prune.l1_unstructured(layer, name, 0.5),
        }[how]()
    return name


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize(
    "how", ["orthogonal", "weight_norm", "spectral_norm", "old weight_norm", "prune"]
)
@pytest.mark.parametrize("make", [lambda: nn.GRU(INPUT, HIDDEN), *SUBCLASSES[:1], *SUBCLASSES[4:]])
def test_wrapped_weights(make: Any, how: str, before: bool) -> None:
    """Accelerated before and after, and restored in either case."""
    torch.manual_seed(3)
    layer = make()
    kind = type(layer)
    layer.eval()
    if before:
        ut.accelerate(layer)
    name = wrap(layer, how)
    x = sample(layer)
    with torch.no_grad():
        if not before:
            assert list(ut.accelerate(layer).replaced) == [""]
        assert ut.explain(layer, x).startswith("unrolled: ")
        found = first(layer(x))
        if how not in ("old weight_norm",):
            assert torch.equal(first(copy.deepcopy(layer)(x)), found)
        assert list(ut.restore(layer).replaced) == [""]
        assert not isinstance(layer, (ut.GRU, ut.LSTM, ut.LSTMCell))
        assert isinstance(layer, kind)
        torch.testing.assert_close(first(layer(x)), found, **NEAR)
        ut.accelerate(layer)
        torch.testing.assert_close(first(layer(x)), found, **NEAR)
    if how in ("orthogonal", "weight_norm", "spectral_norm"):
        nn.utils.parametrize.remove_parametrizations(layer, name)
        torch.testing.assert_close(first(layer(x)), found, **NEAR)
        ut.restore(layer)
        assert type(layer) is kind


def test_a_copy_keeps_its_class() -> None:
    """A parametrised copy shares its class with the original, which another may restore."""
    layer = nn.GRU(INPUT, HIDDEN)
    ut.accelerate(layer)
    parametrise.orthogonal(layer, "weight_hh_l0")
    other = copy.deepcopy(layer)
    ut.restore(layer)
    assert isinstance(other, ut.GRU)
    assert not isinstance(layer, ut.GRU)


def test_wrappers_and_shared_modules() -> None:
    shared = nn.LSTM(INPUT, INPUT)
    model = nn.DataParallel(
        nn.Sequential(nn.ModuleDict({"a": shared, "b": nn.ModuleList([shared])}), nn.Identity())
    )
    calls: list[int] = []
    shared.register_forward_pre_hook(lambda *_: calls.append(1))
    assert list(ut.accelerate(model).replaced) == ["module.0.a"]
    assert type(model.module[0]["b"][0]) is ut.LSTM
    shared(torch.randn(STEPS, BATCH, INPUT))
    assert calls == [1]
    assert list(ut.restore(model).replaced) == ["module.0.a"]
    assert type(shared) is nn.LSTM


def test_sharded_layers(tmp_path: Any) -> None:
    """FSDP2 makes a class for each module, with its own among the bases."""
    fsdp = pytest.importorskip("torch.distributed.fsdp")
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        layer = nn.GRU(INPUT, HIDDEN)
        mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
        fsdp.fully_shard(layer, mesh=mesh)
        assert list(ut.accelerate(layer).replaced) == [""]
        assert isinstance(layer, ut.GRU)
        assert isinstance(layer, fsdp.FSDPModule)
        assert list(ut.restore(layer).replaced) == [""]
        assert not isinstance(layer, ut.GRU)
        assert isinstance(layer, fsdp.FSDPModule)
        y = layer(torch.randn(STEPS, BATCH, INPUT))[0]
        assert y.shape == (STEPS, BATCH, HIDDEN)
    finally:
        torch.distributed.destroy_process_group()


def test_subclasses_of_ours_stay() -> None:
    class Mine(ut.LSTM):
        def forward(self, *given: Any, **more: Any) -> Any:
            return super().forward(*given, **more)

    layer = Mine(2, 3)
    assert ut.accelerate(layer).already[""].startswith("Mine(2, 3)")
    why = "test_subclasses_of_ours_stay.<locals>.Mine is a class of its own, made of ours"
    assert ut.restore(layer).left == {"": why}
    assert type(layer) is Mine


@pytest.mark.parametrize("layer", [ut.LSTM(2, 3), ut.GRUCell(2, 3)])
def test_scripting_names_the_cure(layer: Any) -> None:
    model = nn.Sequential(layer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(TypeError, match=r"unrolled.torch.restore\(model\) before"):
            torch.jit.script(model)
        assert model[0] is layer
        ut.restore(model)
        torch.jit.script(model)


def test_restored_before_saving_it_loads_without_us() -> None:
    """A model saved whole names its classes, so it is restored for those who have only PyTorch."""
    code = (
        "import io, sys, torch\nsys.modules['unrolled'] = None\n"
        "m = torch.load(io.BytesIO(sys.stdin.buffer.read()), weights_only=False)\n"
        "print(type(m[0]).__module__)"
    )
    model = nn.Sequential(nn.LSTM(2, 3))
    for step, expected in ((ut.accelerate, b""), (ut.restore, b"torch.nn.modules.rnn\n")):
        step(model)
        file = io.BytesIO()
        torch.save(model, file)
        done = subprocess.run(
            [sys.executable, "-c", code], input=file.getvalue(), capture_output=True
        )
        assert done.stdout == expected
