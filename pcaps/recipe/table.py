"""The table in the README: one row a capture, in the order of the scenarios."""

from pathlib import Path

import capture
import roots
from scenario import Scenario
from scenarios import SCENARIOS

HEAD = """\
| capture | shows | client | server | how it was made | packets | octets |
|---|---|---|---|---|--:|--:|
"""
NAMES = {"postfix": "Postfix", "exim4-daemon-light": "Exim", "opensmtpd": "OpenSMTPD", "swaks": "swaks"}


def update(readme: Path, scenario: Scenario, file: Path) -> str:
    """Put a new capture's row in the place of its old one; the row."""
    before, _, rest = readme.read_text().partition(HEAD)
    lines = rest.splitlines(keepends=True)
    count = next((number for number, line in enumerate(lines) if not line.startswith("|")), len(lines))
    rows = {line.split("|")[1].strip(): line for line in lines[:count]}
    rows[f"`{file.name}`"] = _row(scenario, file)
    order = [f"`{row.name}.pcap`" for row in SCENARIOS]
    ordered = "".join(rows[name] for name in order if name in rows)
    readme.write_text(before + HEAD + ordered + "".join(lines[count:]))
    return rows[f"`{file.name}`"].rstrip()


def _row(scenario: Scenario, file: Path) -> str:
    client = _program(scenario.client.PACKAGE) if scenario.client is not None else "typed"
    cells = (
        f"`{file.name}`",
        scenario.shows,
        client,
        _program(scenario.server.PACKAGE),
        scenario.made,
        f"{capture.packets(file):,}",
        f"{file.stat().st_size:,}",
    )
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |\n"


def _program(package: str) -> str:
    return f"{NAMES[package]} {roots.version(package)}"
