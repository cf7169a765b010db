"""Signs of a box, per path: what one connection between two addresses shows holds for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from smtpinspect.diagnose.model import Case, Fingerprint, Path, Sign
from smtpinspect.diagnose.paths import signs
from smtpinspect.grammar import limits


def of(cases: Sequence[Case]) -> None:
    """Fill `fingerprints` of every case, from those of which there is a script or an account."""
    found: dict[Path, list[Fingerprint]] = {}
    offered: dict[str, dict[Path, tuple[set[str], Case]]] = {}
    seen: set[int] = set()
    for case in cases:
        if case.flow.flow_id in seen:
            continue
        mine = list(of_connection(case))
        if case.script is not None or case.account is not None:
            seen.add(case.flow.flow_id)
            found.setdefault(case.path, []).extend(mine)
        if case.script is not None and case.script.keywords:
            words = {line.split()[0].upper() for line in case.script.keywords if line.split()}
            offered.setdefault(case.path[1], {}).setdefault(case.path, (words, case))
    for server in offered.values():
        for path, sign in _removed(server):
            found.setdefault(path, []).append(sign)
    merged = {path: together(each) for path, each in found.items()}
    for case in cases:
        case.fingerprints = together([*merged.get(case.path, ()), *case.fingerprints])


def of_connection(case: Case) -> Iterable[Fingerprint]:
    """The signs in one connection."""
    if case.script is not None:
        yield from signs.of_dialogue(case.script, case.account)
        yield from signs.of_replies(case.script, case.account)
    if case.account is not None:
        yield from signs.of_packets(case.account)


def together(found: Iterable[Fingerprint]) -> tuple[Fingerprint, ...]:
    """One of each kind: what all its signs leave of the generations; where that is nothing, those of any."""
    made: dict[tuple[str, str, str], Fingerprint] = {}
    for each in found:
        key = each.product, each.what, each.text
        before = made.get(key)
        if before is None:
            made[key] = each
            continue
        both = tuple(name for name in before.profiles if name in each.profiles)
        either = tuple(dict.fromkeys([*before.profiles, *each.profiles]))
        kept: tuple[Sign, ...] = tuple(dict.fromkeys([*before.signs, *each.signs]))[:limits.PATH_SIGNS]
        made[key] = before._replace(profiles=both or either, signs=kept)
    return tuple(made.values())


def _removed(server: dict[Path, tuple[set[str], Case]]) -> Iterable[tuple[Path, Fingerprint]]:
    """STARTTLS that one server offers to others, and not on this path."""
    if not any("STARTTLS" in words for words, _ in server.values()):
        return
    for path, (words, case) in server.items():
        hello = case.script.hello if case.script else None
        if "STARTTLS" in words or hello is None or hello.reply is None or hello.verb != "EHLO":
            continue
        sign = signs.sign(case.account, False, hello.reply.at, "the reply to EHLO has no STARTTLS")
        text = "this server offers STARTTLS to others, and not on this path"
        yield path, Fingerprint("", "starttls-removed", text, (), (sign,))
