"""The page itself: HTML with nothing to fetch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from .._words import number, percent
from .figures import Figure
from .findings import Finding, findings
from .measure import Numbers, Study

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1c2024; --soft: #5a6370;
  --line: #d9dee4; --panel: #f5f7f9; --blue: #0072b2; --vermilion: #d55e00; --green: #009e73;
  --purple: #b0558a; --amber: #b07800; --sky: #56b4e9; --grey: #7f7f7f; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181c; --ink: #e6e9ec; --soft: #a2abb5;
  --line: #363d45; --panel: #1d2126; --blue: #5ab0ea; --vermilion: #ff8a3d; --green: #35c79b;
  --purple: #e39bc4; --amber: #e9b04a; --sky: #3f86b5; --grey: #98a0a8; } }
@media print { :root { color-scheme: light; --paper: #ffffff; --ink: #000000; --soft: #444444;
  --line: #bbbbbb; --panel: #ffffff; --blue: #0072b2; --vermilion: #d55e00; --green: #009e73;
  --purple: #b0558a; --amber: #b07800; --sky: #56b4e9; --grey: #7f7f7f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 2rem 1rem 3rem; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .6rem; padding-top: .8rem;
  border-top: 1px solid var(--line); }
p { margin: .4rem 0; max-width: 48rem; }
.about, figcaption, .basis, caption { color: var(--soft); font-size: .87rem; }
code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .93em; }
.findings { list-style: none; margin: .4rem 0 1rem; padding: 0; max-width: 52rem; }
.findings li { background: var(--panel); border-left: 4px solid var(--blue); padding: .6rem .9rem;
  margin: 0 0 .6rem; }
.basis { display: block; margin-top: .15rem; font-variant-numeric: tabular-nums; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr));
  gap: 1.4rem 1.8rem; margin-top: 1rem; }
figure { margin: 0; break-inside: avoid; min-width: 0; }
figure svg { display: block; width: 100%; height: auto; max-width: 40rem; }
figcaption { margin-top: .2rem; }
@media (min-width: 60rem) { .beside { display: grid; column-gap: 2.5rem;
  grid-template-columns: minmax(20rem, 1fr) auto; } }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .93rem; }
caption { text-align: left; padding-bottom: .4rem; }
th, td { text-align: left; padding: .28rem 1.2rem .28rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; font-weight: 400; overflow-wrap: normal; }
thead th { font-weight: 600; }
td { white-space: nowrap; }
nav a { color: var(--blue); margin-right: 1rem; }
.findings, .wide, h2 { break-inside: avoid; }
h2 { break-after: avoid; }
"""


# Attribute of `Numbers`: what a sentence's footing calls it, its row of the table, how it is said.
Row = tuple[str, Callable[[Numbers], str], Callable[[Any], str]]
ROWS: dict[str, Row] = {
    "steps": ("steps", lambda _: "steps looked at", str),
    "gradient": ("‖∂L/∂W‖", lambda n: f"norm of the gradient of {n.weight}", number),
    "span": ("span", lambda _: "steps without a reset, at most", str),
    "far": ("far share", lambda n: f"share of all lags' norms beyond lag {n.steps // 2}", percent),
    "reach": ("reach", lambda _: "lags beyond change the gradient by 1 % at most", str),
    "exponent": ("λ₁", lambda _: "largest Lyapunov exponent, per step: mean of rows", number),
    "exponent_low": ("least λ₁", lambda _: "— least of rows", number),
    "exponent_high": ("greatest λ₁", lambda _: "— greatest of rows", number),
    "lag": ("lag", lambda _: "furthest lag of the Jacobians below", str),
    "transition": ("‖∂s/∂s‖", lambda _: "‖∂s(t)/∂s(t − lag)‖₂ at that lag: mean", number),
    "transition_low": ("least ‖∂s/∂s‖", lambda _: "— least of rows", number),
    "transition_high": ("greatest ‖∂s/∂s‖", lambda _: "— greatest of rows", number),
    "peak": ("largest ‖∂s/∂s‖", lambda _: "— the mean's largest up to that lag", number),
    "peak_lag": ("its lag", lambda _: "— and its lag", str),
    "radius": ("ρ(W)", lambda _: "spectral radius ρ of weight_hh", number),
    "norm": ("‖W‖₂", lambda _: "‖weight_hh‖₂", number),
    "bound": ("γ‖W‖₂", lambda _: "γ‖weight_hh‖₂, γ the activation's steepest slope", number),
    "low": ("low", lambda n: _gate_label(n, "low"), percent),
    "high": ("high", lambda n: _gate_label(n, "high"), percent),
    "mean": ("mean", lambda n: _gate_label(n, "mean"), number),
    "shut": ("i < 0.1", lambda _: "input gates below 0.1", percent),
    "memory": ("memory", lambda _: "direct path along the cell below 1/e at lag (median)", number),
    "ratio_low": (
        "least |full / direct|",
        lambda _: "|full / direct| along the cell (median): least",
        number,
    ),
    "ratio_low_lag": ("its lag", lambda _: "— at lag", str),
    "ratio_high": ("greatest |full / direct|", lambda _: "— greatest", number),
    "ratio_high_lag": ("its lag", lambda _: "— at lag", str),
    "ratio_lags": ("lags", lambda _: "— of lags up to", str),
}
GATES = {
    "LSTM": "forget gates",
    "GRU": "update gates",
    "RNN": "|h| of the units",
    "formula": "|h| of the units",
}


def _gate_label(n: Numbers, kind: str) -> str:
    what = GATES[n.cell]
    if kind == "mean":
        return f"{what}, mean"
    if kind == "low" and n.nonlinearity == "relu":
        return "units exactly 0"
    return f"{what} {'below 0.1' if kind == 'low' else 'above 0.9'}"


def shown(n: Numbers) -> dict[str, str]:
    """The numbers there are, as the page writes them."""
    values = {key: getattr(n, key) for key in ROWS}
    return {key: ROWS[key][2](value) for key, value in values.items() if value is not None}


def document(
    title: str,
    about: Sequence[str],
    study: Study,
    net: Any,
    figures: Sequence[Sequence[Figure]],
) -> str:
    """The whole document."""
    sections = []
    single = len(study.layers) == 1
    for place, (results, drawn) in enumerate(zip(study.layers, figures, strict=True)):
        name = results.name(net) or "pictures"
        head = f'<h2 id="s{place}">{escape(name.capitalize())}</h2>'
        said = "" if single else _findings(findings(results.numbers), results.numbers)
        grid = "".join(
            f"<figure>{figure.svg}<figcaption>{escape(figure.caption)}</figcaption></figure>"
            for figure in drawn
        )
        sections.append(f'<section>{head}{said}<div class="figures">{grid}</div></section>')
    if single:
        first = study.layers[0]
        said = _findings(findings(first.numbers), first.numbers)
    else:
        links = "".join(
            f'<a href="#s{place}">{escape(results.name(net))}</a>'
            for place, results in enumerate(study.layers)
        )
        said = f'{_summary(study, net)}<nav aria-label="layers">{links}</nav>'
    lines = "".join(f'<p class="about">{escape(line)}</p>' for line in about)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # Nothing else to ask a server for.
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f'<h1>{escape(title)}</h1>{lines}<div class="{"beside" if single else "above"}">'
        f"<section><h2>In short</h2>{said}</section>"
        f"<section><h2>Numbers</h2>{_table(study, net)}</section></div>"
        f"{''.join(sections)}</main></body></html>\n"
    )


def _summary(study: Study, net: Any) -> str:
    """The first sentence of each layer, under its name."""
    items = []
    for results in study.layers:
        first = findings(results.numbers, 1)
        if first:
            items.append(_item(first[0], results.numbers, f"{results.name(net)}: ".capitalize()))
    return f'<ul class="findings">{"".join(items)}</ul>'


def _findings(found: Sequence[Finding], n: Numbers) -> str:
    return f'<ul class="findings">{"".join(_item(each, n, "") for each in found)}</ul>'


def _item(finding: Finding, n: Numbers, name: str) -> str:
    values = shown(n)
    basis = ", ".join(
        f"{_short(key, n)} = {values[key]}" for key in finding.numbers if key in values
    )
    return (
        f"<li><strong>{escape(name)}</strong>{escape(finding.text)}"
        f'<span class="basis">from {escape(basis)}</span></li>'
    )


def _short(key: str, n: Numbers) -> str:
    return ROWS[key][1](n) if key in ("low", "high", "mean") else ROWS[key][0]


def _table(study: Study, net: Any) -> str:
    columns = [shown(results.numbers) for results in study.layers]
    names = [results.name(net) for results in study.layers]
    head = ""
    if any(names):
        cells = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
        head = f"<thead><tr><td></td>{cells}</tr></thead>"
    rows = []
    for key, (_, label, _) in ROWS.items():
        if any(key in column for column in columns):
            cells = "".join(f"<td>{escape(column.get(key, ''))}</td>" for column in columns)
            words = escape(label(study.layers[0].numbers))
            rows.append(f'<tr data-key="{key}"><th scope="row">{words}</th>{cells}</tr>')
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="numbers"><table>'
        f"{head}<tbody>{''.join(rows)}</tbody></table></div>"
    )


def describe(net: Any, shape: tuple[int, ...], study: Study) -> list[str]:
    """Of what the page is, and of how much of it."""
    steps, batch = shape[:2]
    rows = f"{batch} row{'s' if batch != 1 else ''}"
    sampled = "; ".join(study.sampled)
    return [
        f"{net!r}, {net.num_parameters:,} parameters, on {rows} of up to {steps:,} steps.",
        f"Looked at: {sampled}." if sampled else "All of it was looked at.",
    ]
