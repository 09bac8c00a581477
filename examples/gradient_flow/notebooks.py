"""The scripts as notebooks, run, with what they print and draw.

    python notebooks.py [01_layer_jacobian …] [--check]

A script is the source: ``# %%`` begins a cell of code, ``# %% [markdown]`` one of text (the percent
format, which Jupytext and most editors know too). Writes NAME.ipynb beside each NAME.py. With
--check nothing is written, and the exit code is 1 if a notebook's source is not its script's.

Needs `pip install '.[notebooks]'`; --check needs nothing.
"""

import argparse
import base64
import io
import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS = sorted(HERE.glob("[0-9][0-9]_*.py"))


def cells(script: str) -> list[tuple[str, str]]:
    """Kind ("markdown" or "code") and source of every cell."""
    found = []
    for mark, body in re.findall(r"^# %%(.*)\n((?:(?!# %%).*\n?)*)", script, flags=re.MULTILINE):
        if mark.strip() == "[markdown]":
            text = re.sub(r"^# ?", "", body.strip(), flags=re.MULTILINE)
            found.append(("markdown", text))
        else:
            found.append(("code", body.strip()))
    return found


def stored(notebook: Path) -> list[tuple[str, str]]:
    """The same of a notebook as it lies there."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    return [(cell["cell_type"], "".join(cell["source"])) for cell in content["cells"]]


def shrink(notebook) -> None:
    """The pictures in 128 colours, as `course.save` has them: a third of the bytes."""
    from PIL import Image

    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                drawn = io.BytesIO(base64.b64decode(output.data["image/png"]))
                image = Image.open(drawn).convert("RGB").quantize(128, dither=Image.Dither.NONE)
                small = io.BytesIO()
                image.save(small, "png", optimize=True)
                output.data["image/png"] = base64.b64encode(small.getvalue()).decode()


def write(script: Path) -> None:
    """Make the notebook and run it where the script lies."""
    try:
        import nbclient
        import nbformat
    except ImportError as error:
        raise ImportError(f"{error}; pip install '.[notebooks]'") from error

    make = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    notebook = nbformat.v4.new_notebook()
    for number, (kind, source) in enumerate(cells(script.read_text(encoding="utf-8"))):
        # A name that stays: a notebook made again differs only where something has changed.
        notebook.cells.append(make[kind](source, id=f"cell-{number}"))
    notebook.metadata.kernelspec = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    client = nbclient.NotebookClient(
        notebook, timeout=None, record_timing=False, resources={"metadata": {"path": str(HERE)}}
    )
    client.execute()
    shrink(notebook)
    notebook.metadata.pop("language_info", None)  # the kernel's version, which is nobody's concern
    nbformat.write(notebook, script.with_suffix(".ipynb"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="of scripts, without .py (all)")
    parser.add_argument("--check", action="store_true", help="write nothing, say what differs")
    options = parser.parse_args()
    scripts = [HERE / f"{name}.py" for name in options.names] or SCRIPTS
    differing = 0
    for script in scripts:
        notebook = script.with_suffix(".ipynb")
        if not options.check:
            print(notebook.name, flush=True)
            write(script)
        elif not notebook.exists() or stored(notebook) != cells(script.read_text(encoding="utf-8")):
            print(f"{notebook.name}: its source is not that of {script.name}")
            differing = 1
    return differing


if __name__ == "__main__":
    sys.exit(main())
