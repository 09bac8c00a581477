"""What is timed: the table of works, their goals, and the works of the sweeps."""

from __future__ import annotations

from dataclasses import dataclass, field

from .. import cells

# "forward" runs without a tape. "training" is forward and backward: y, and the gradients of
# sum(y * dy) by every parameter and by x. "step" is one call of a stream.
FORWARD, TRAINING, STEP = "forward", "training", "step"
# The name of the contender whose packed sequences, cells and loops over cells are what some works
# are to be measured by.
TORCH = "PyTorch"
JAX = "JAX"
# Our own LSTM and GRU, beside what they are as formulas.
BUILT_IN = "built-in"
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@dataclass(frozen=True)
class Work:
    """One network on one shape.

    `cell` is one of our networks, or in lower case one of `unrolled.cells`: a formula. `goals`
    gives for each mode the ratio to reach: the best peer's time over ours, or, where `against`
    names one, that contender's.
    """

    cell: str
    steps: int
    batch: int
    inputs: int
    units: int
    goals: dict[str, float] = field(default_factory=dict, hash=False, compare=False)
    layers: int = 1
    bidirectional: bool = False
    projection: int = 0
    dtype: str = "float32"
    # Rows of 10 to `steps` steps instead of all of `steps`.
    ragged: bool = False
    # The share of the (t, b) at which an episode begins anew.
    resets: float = 0.0
    stream: bool = False
    # Whose time the goals are ratios to; "" for the best peer's.
    against: str = ""

    @property
    def name(self) -> str:
        """As it stands in the tables: the cell, what is special about it, T, B, I, H."""
        words = ["formula", self.cell] if self.is_formula else [self.cell]
        if self.stream:
            return f"{self.cell} step {self.inputs},{self.units}"
        if self.dtype != "float32":
            words.append(self.dtype)
        if self.layers > 1:
            words.append(f"{self.layers} layers")
        if self.bidirectional:
            words.append("bidirectional")
        if self.ragged:
            words.append("ragged")
        if self.resets:
            words.append(f"resets {self.resets:.0%}")
        size = f"{self.steps},{self.batch},{self.inputs},{self.units}"
        words.append(f"{size}->{self.projection}" if self.projection else size)
        return " ".join(words)

    @property
    def is_formula(self) -> bool:
        """Whether the cell is one of `unrolled.cells`."""
        return self.cell not in GATES

    @property
    def formula(self) -> cells.Cell:
        """It."""
        found: cells.Cell = getattr(cells, self.cell)
        return found

    @property
    def blocks(self) -> tuple[int, int]:
        """The blocks of H rows of ``weight_ih`` and ``weight_hh``."""
        if not self.is_formula:
            return GATES[self.cell], GATES[self.cell]
        maps = self.formula.maps
        return sum(m["x"] for m in maps), sum(m["h"] is not None for m in maps)

    @property
    def modes(self) -> tuple[str, ...]:
        """What is timed of it."""
        return (STEP,) if self.stream else (FORWARD, TRAINING)

    @property
    def directions(self) -> int:
        """1 or 2."""
        return 2 if self.bidirectional else 1

    @property
    def outputs(self) -> int:
        """Columns of what one direction gives."""
        return self.projection or self.units

    def flops(self, mode: str, row_steps: int | None = None) -> int:
        """Floating-point operations of the products: 2 T B G H (I + H), summed over layers.

        G are the blocks of rows of a weight; formulas may have fewer for h than for x.
        With a projection to P columns h has P columns, and 2 T B H P are added. The backward
        pass counts as two forward passes: one product for the gradient by the input of each
        product, one for that by its weights. Activations and sums are not counted.

        `row_steps`, where the rows are of unequal length, replaces T B.
        """
        row_steps = self.steps * self.batch if row_steps is None else row_steps
        of_x, of_h = self.blocks
        total, columns = 0, self.inputs
        for _ in range(self.layers):
            one = self.units * (of_x * columns + of_h * self.outputs)
            one += self.units * self.projection
            total += 2 * row_steps * one * self.directions
            columns = self.outputs * self.directions
        return 3 * total if mode == TRAINING else total


def _goals(forward: float, training: float) -> dict[str, float]:
    return {FORWARD: forward, TRAINING: training}


WORKS = (
    Work("LSTM", 100, 1, 1, 16, _goals(4, 8)),
    Work("LSTM", 100, 1, 32, 32, _goals(2.5, 5)),
    Work("LSTM", 100, 1, 64, 128, _goals(1.7, 1.8)),
    Work("LSTM", 100, 32, 16, 32, _goals(1.45, 2.2)),
    Work("LSTM", 100, 64, 64, 64, _goals(1.2, 1.8)),
    Work("LSTM", 100, 64, 64, 128, _goals(1.12, 2.5)),
    Work("LSTM", 100, 64, 128, 256, _goals(1.04, 1.8)),
    Work("LSTM", 50, 128, 256, 512, _goals(1.0, 1.4)),
    Work("GRU", 100, 1, 1, 16, _goals(4, 5)),
    Work("GRU", 100, 1, 32, 32, _goals(4, 5)),
    Work("RNN", 100, 1, 1, 16, _goals(4, 5)),
    Work("RNN", 100, 1, 32, 32, _goals(4, 5)),
    Work("GRU", 100, 64, 64, 128, _goals(1.2, 2.2)),
    Work("RNN", 100, 64, 64, 128, _goals(1.4, 1.8)),
    Work("LSTM", 50, 32, 64, 64, _goals(2, 2.2), dtype="float64"),
    Work("LSTM", 50, 32, 64, 64, _goals(2, 2.5), projection=32),
    Work(
        "LSTM",
        50,
        32,
        64,
        64,
        _goals(4, 6),
        layers=2,
        bidirectional=True,
        ragged=True,
        against=TORCH,
    ),
    Work("LSTM", 100, 32, 16, 32, _goals(6, 10), resets=0.05, against=TORCH),
    Work("GRU", 100, 32, 16, 32, _goals(6, 10), resets=0.05, against=TORCH),
    Work("LSTM", 1, 1, 16, 16, {STEP: 15}, stream=True, against=TORCH),
    Work("LSTM", 1, 1, 64, 64, {STEP: 15}, stream=True, against=TORCH),
    Work("GRU", 1, 1, 16, 16, {STEP: 15}, stream=True, against=TORCH),
    Work("GRU", 1, 1, 64, 64, {STEP: 15}, stream=True, against=TORCH),
    *(
        Work(cell, *size, _goals(1 / forward, 1 / training), against=BUILT_IN)
        for size, forward, training in (
            ((100, 64, 64, 128), 1.1, 1.15),
            ((100, 32, 16, 32), 1.25, 1.3),
            ((100, 1, 32, 32), 1.8, 1.8),
        )
        for cell in ("lstm", "gru")
    ),
    *(
        Work(cell, *size, goals, against=JAX)
        for size, goals in (
            ((100, 64, 64, 128), _goals(1.5, 1.5)),
            ((100, 1, 32, 32), _goals(2.5, 4)),
        )
        for cell in ("layer_norm_lstm", "peephole_lstm", "slstm", "leaky_rnn")
    ),
)

# What `--quick` takes of them: small, and one of most kinds.
QUICK = tuple(
    work
    for work in WORKS
    if work.name
    in (
        *("LSTM 100,1,1,16", "LSTM 100,32,16,32", "GRU 100,1,32,32", "LSTM step 16,16"),
        "formula peephole_lstm 100,1,32,32",
    )
)


@dataclass(frozen=True)
class Sweep:
    """The works of one plot: a size varies, the rest stays.

    Ours runs at every value, the others (named as in `contenders`) at those in `shared`.
    """

    name: str
    title: str
    mode: str
    works: dict[int, Work]
    shared: frozenset[int]
    others: tuple[str, ...]


def _powers(highest: int) -> list[int]:
    return [2**n for n in range(highest.bit_length()) if 2**n <= highest]


def sweeps() -> list[Sweep]:
    """Cost against T, B and H; GFLOP/s at every kind of H; a streaming step against H."""
    peers = ("PyTorch", "JAX")
    # With the neighbours of whole vectors, where a kernel that counts in vectors would stumble.
    beside = (h + d for h in range(80, 521, 16) for d in (-1, 1))
    # 528 is what those above 512 are compared with.
    dense = sorted({*range(1, 65), *range(68, 521, 4), *beside, 528})
    widths = [1, 4, 16, 32, 64, 128, 256, 520]
    # Between the powers a batch is cut into shards that differ by a row.
    batches = sorted({*_powers(256), 3, 5, 12, 15, 17, 24, 31, 33, 48, 65, 96, 129, 192, 255})
    return [
        Sweep(
            "steps",
            "LSTM, B = 16, I = H = 32",
            TRAINING,
            {t: Work("LSTM", t, 16, 32, 32) for t in _powers(4096)},
            frozenset([1, 16, 256, 4096]),
            peers,
        ),
        Sweep(
            "batch",
            "LSTM, T = 50, I = H = 64",
            TRAINING,
            {b: Work("LSTM", 50, b, 64, 64) for b in batches},
            frozenset([1, 4, 16, 64, 256]),
            peers,
        ),
        Sweep(
            "units",
            "LSTM, T = 50, B = 32, I = H",
            TRAINING,
            {h: Work("LSTM", 50, 32, h, h) for h in widths},
            frozenset([1, 16, 64, 256, 520]),
            peers,
        ),
        Sweep(
            "cliffs",
            "LSTM, T = 10, B = 32, I = H",
            FORWARD,
            {h: Work("LSTM", 10, 32, h, h) for h in dense},
            frozenset([8, 24, 31, 32, 33, 64, 127, 128, 129, 256, 511, 512]),
            ("PyTorch", "ONNX Runtime"),
        ),
        Sweep(
            "training cliffs",
            "LSTM, T = 10, B = 32, I = H",
            TRAINING,
            {h: Work("LSTM", 10, 32, h, h) for h in dense},
            frozenset([8, 32, 128, 512]),
            ("PyTorch",),
        ),
        Sweep(
            "stream",
            "LSTM, one step, B = 1, I = H",
            STEP,
            {h: Work("LSTM", 1, 1, h, h, stream=True) for h in dense},
            frozenset([1, 8, 16, 32, 64, 128, 256, 512]),
            ("PyTorch", "ONNX Runtime"),
        ),
    ]
