"""The laboratory: real mail servers with this project's firewall between them, predictions against reality.

    run.py [--full] [--only PATTERN] [--jobs N] [--judge] [--install]

Evidence goes to build/lab/RUN/, the report to standard output, build/lab/report.txt and report.json.
Exit status: 0 everything as predicted, 1 not everything, 2 wrong usage, 3 it cannot run here (what is missing is told).
"""

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "pcaps" / "recipe"), str(ROOT)]

if __name__ == "__main__":
    sys.exit(importlib.import_module("driver").main())
