"""The whole course, part after part.

    python run_all.py [--quick] [--output DIRECTORY]

--quick trains next to nothing and draws only with --output: it shows that everything runs.
"""

import subprocess
import sys
import time
from pathlib import Path

from tqdm import tqdm

SCRIPTS = sorted(Path(__file__).resolve().parent.glob("[0-9][0-9]_*.py"))

began = time.perf_counter()
for script in tqdm(SCRIPTS, desc="course", unit="part", disable=None):
    tqdm.write(f"\n== {script.stem} ==")
    sys.stdout.flush()
    # A process each: every part stands alone. Its output and its bar go straight to the terminal.
    done = subprocess.run([sys.executable, str(script), *sys.argv[1:]], check=False)
    if done.returncode:
        sys.exit(f"{script.name} ended with exit code {done.returncode}")
print(f"\nThe whole course took {time.perf_counter() - began:.0f} s.")
