"""Where `diagnose` ranks the rule that really broke a mail, by what it is told and where the capture was taken."""

import io
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rows import Row
from smtpinspect import cli

# What diagnose is given: the files of a run by vantage.
VANTAGES: dict[str, tuple[str, ...]] = {
    "sender": ("{folder}/client.pcap",),
    "receiver": ("{folder}/server.pcap",),
    "both": ("--outside", "{folder}/client.pcap", "--inside", "{folder}/server.pcap"),
}
# Rules that the server's octets trip: where the box drops or rewrites those, the sender's side never sees them.
BY_SERVER = frozenset({
    "stormshield.smtp-217.reply", "stormshield.smtp-219.reply", "stormshield.smtp-223", "mailguard.invalid-recipients",
    "mailguard.banner-masked", "mailguard.banner-multiline-broken", "mailguard.starttls-blocked",
    "mailguard.ehlo-param-masked",
})  # fmt: skip
FINE = ("accepted", "encrypted")
FIRST, THREE = 0, 2
SHARE = 0.95  # of the runs, in which the true rule must be first
ENDINGS = ("teardown", "on_match", "smtp_responses")  # settings that tell how a flow ends


@dataclass(frozen=True)
class Rank:
    """`place` of the true rule, from 0 (None: it is not among the causes); `causes` as (place, cause, confidence)."""

    row: Row
    vantage: str
    told: bool  # diagnose was told the firewall with its settings
    place: int | None
    outcome: str = ""
    ended: str = ""  # what it says of the break
    causes: list[tuple[int, str, str]] = field(default_factory=list)
    relax: list[str] = field(default_factory=list)
    error: str = ""


def ranks(rows: Sequence[Row], build: Path) -> list[Rank]:
    """Every run from every vantage, told and not told which firewall it is."""
    asked = [(row, vantage, told, build) for row in rows for vantage in VANTAGES for told in (False, True)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(_rank, asked, chunksize=8))


def _rank(asked: tuple[Row, str, bool, Path]) -> Rank:
    row, vantage, told, build = asked
    files = [word.format(folder=build / row.name) for word in VANTAGES[vantage]]
    try:
        mail = failed(diagnose(files, row.box[1] if told else None))
    except (RuntimeError, ValueError) as error:
        return Rank(row, vantage, told, None, error=str(error))
    if mail is None:
        return Rank(row, vantage, told, None, error="no mail that failed")
    causes = [(cause["rank"], cause["cause"], cause["confidence"]) for cause in mail["causes"]]
    place = next((place for place, cause, _ in causes if family(cause) == family(row.fires)), None)
    ended = f"{mail['break']['kind']} by {mail['break']['by']}"
    return Rank(row, vantage, told, place, mail["outcome"], ended, causes, mail["relax"])


def diagnose(files: Sequence[str], spec: str | None) -> dict[str, Any]:
    """The record of `smtpinspect diagnose --format json`. Raises RuntimeError when it fails."""
    said = io.StringIO()
    words = ["diagnose", *files, "--format", "json", *([] if spec is None else ["-i", spec])]
    with redirect_stdout(said):
        status = cli.main(words)
    if status:
        raise RuntimeError(f"{' '.join(words)}: status {status}")
    result: dict[str, Any] = json.loads(said.getvalue())
    return result


def failed(record: dict[str, Any]) -> dict[str, Any] | None:
    """The mail that is to be explained: the first that did not arrive and is no bounce."""
    mails = [mail for mail in record["mails"] if mail["outcome"] not in FINE and mail["mail_from"] != ""]
    return next((mail for mail in mails if mail["causes"]), next(iter(mails), None))


def family(rule: str) -> str:
    """`stormshield.smtp-217` of `stormshield.smtp-217.header`."""
    return ".".join(rule.split(".")[:2])


def text(found: Sequence[Rank]) -> str:
    """Tables: by what was told and vantage, by rule, by sender; what is not as it should be; relaxed sets by size."""
    groups: tuple[tuple[str, Callable[[Rank], str]], ...] = (
        ("the box", lambda each: "as shipped" if shipped(each.row) else "with settings of its own"),
        ("deciding octets of", lambda each: "the server" if each.row.fires in BY_SERVER else "the client"),
        ("rule", lambda each: each.row.fires),
        ("sender", lambda each: each.row.client),
        ("in all", lambda each: "runs"),
    )
    head = "Where diagnose ranks the true rule: first alone, first, in the first three, of all (-i: told the firewall)"
    return "\n\n".join([head, *(_by(found, title, key) for title, key in groups), *wrong(found)])


def wrong(found: Iterable[Rank]) -> list[str]:
    """What is not as it should be, for a capture of the sender's side and a firewall that is known, or as shipped."""
    at_sender = [each for each in found if each.vantage == "sender"]
    known = [each for each in at_sender if each.told]
    as_shipped = [each for each in at_sender if not each.told and shipped(each.row)]
    return [*_wrong("with -i", known), *_wrong("without -i, as shipped", as_shipped)]


def _wrong(what: str, judged: Sequence[Rank]) -> Iterator[str]:
    for each in judged:
        if each.place is None or each.place > THREE:
            named = each.causes[:4] or each.error
            yield f"{each.row.name}, {what}: {each.row.fires} is not among the first three: {named}"
    first = sum(each.place == FIRST for each in judged)
    if first < SHARE * len(judged):
        yield f"{what}: the true rule is first in {first} of {len(judged)} only"


def shipped(row: Row) -> bool:
    """Has the box no settings but those of how a flow ends? Else nobody who is not told can know its rule."""
    return all(word.partition("=")[0] in ENDINGS for word in row.box[1].split(",")[1:])


def sets(found: Iterable[Rank]) -> dict[str, list[str]]:
    """The rules to relax by run, as diagnose has found them on the sender's side or, else, on the receiver's."""
    made: dict[str, list[str]] = {}
    for vantage in VANTAGES:
        for each in found:
            if each.told and each.vantage == vantage and each.relax and each.place == FIRST:
                made.setdefault(each.row.name, each.relax)
    return made


def _by(found: Iterable[Rank], title: str, key: Callable[[Rank], str]) -> str:
    columns = [(vantage, told) for told in (True, False) for vantage in VANTAGES]
    cells: defaultdict[str, defaultdict[tuple[str, bool], list[Rank]]] = defaultdict(lambda: defaultdict(list))
    for each in found:
        cells[key(each)][each.vantage, each.told].append(each)
    lines = [[title, *(f"{vantage}{', -i' if told else ''}" for vantage, told in columns)]]
    for name, row in sorted(cells.items()):
        lines.append([name, *(_cell(row[column]) for column in columns)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join([first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]) for first, *rest in lines)


def _cell(found: list[Rank]) -> str:
    places = [each.place for each in found if each.place is not None]
    alone = sum(each.place == FIRST and [p for p, _, _ in each.causes].count(FIRST) == 1 for each in found)
    return f"{alone} {sum(p == FIRST for p in places)} {sum(p <= THREE for p in places)} / {len(found)}"
