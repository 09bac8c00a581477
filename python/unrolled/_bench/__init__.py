"""`unrolled bench`: the same works by this package and by others, in turns.

`works` says what is timed and what ratios are the goals, `contenders` who takes part and what each
is given, `measure` how one is timed, `session` and `child` run all of it at one number of threads,
`command` starts those processes, and `record`, `table` and `plots` say what came of it.
"""

from .command import main

__all__ = ["main"]
