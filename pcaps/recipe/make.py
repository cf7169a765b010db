"""Makes the captures beside this folder, with real MTAs in network namespaces. Debian 12, as root.

python3 pcaps/recipe/make.py --install      what is needed, and then all captures
python3 pcaps/recipe/make.py NAME...        some captures again
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import capture
import lab
import roots
import table
from scenario import Scenario
from scenarios import SCENARIOS

FOLDER = Path(__file__).resolve().parent.parent


def main() -> int:
    options = _arguments()
    if os.geteuid() != 0:
        return _complain("network namespaces need root")
    if options.install:
        roots.install()
    if lacking := roots.missing():
        return _complain(f"not installed: {', '.join(lacking)}; --install does it")
    chosen = [row for row in SCENARIOS if not options.names or row.name in options.names]
    failed = [row.name for row in chosen if not _make(row)]
    return _complain(f"not made: {', '.join(failed)}") if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make the captures again, with real MTAs.")
    parser.add_argument("names", metavar="NAME", nargs="*", help="a capture; all of them without a name")
    parser.add_argument("--install", action="store_true", help="first install the MTAs and tools")
    options = parser.parse_args()
    if unknown := set(options.names) - {row.name for row in SCENARIOS}:
        parser.error(f"no such capture: {', '.join(sorted(unknown))}")
    return options


def _make(scenario: Scenario) -> bool:
    """Replace a capture and its row in the table, unless the new one is not fit to be kept."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{scenario.name}.pcap"
        faults = capture.faults(file) if lab.record(scenario, file) else ["could not be played"]
        if faults:
            print(f"{scenario.name}: {'; '.join(faults)}", file=sys.stderr)
            return False
        (FOLDER / file.name).write_bytes(file.read_bytes())
    row = table.update(FOLDER / "README.md", scenario, FOLDER / file.name)
    print(row)
    return True


def _complain(what: str) -> int:
    print(f"make.py: {what}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
