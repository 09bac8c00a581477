"""The program of a child process: `python -m unrolled._bench.child OPTIONS RESULT`.

Libraries read once, when they are loaded, how many threads they may have. So each number of
threads has its own process, which `command` starts with the CPUs and the environment it needs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from .._write import replace
from .parts.session import session as parts
from .session import session


def main(arguments: list[str]) -> int:
    """The arguments are JSON, and where to leave the part of the record, which is JSON too."""
    given, result = json.loads(arguments[0]), Path(arguments[1])

    def keep(part: dict[str, Any]) -> None:
        # In one move, so that it is whole even if this process is ended.
        replace(result, json.dumps(part).encode())

    options = given["options"]
    if options["parts"]:
        keep(parts(options, keep=keep))
    else:
        keep(session(options, given["threads"], sweeping=given["sweeping"], keep=keep))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
