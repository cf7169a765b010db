"""From actions to what is done to the octets and to the two ends: tables, no packets."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from smtpinspect._core.views import Alert
from smtpinspect._core.watcher import COMMANDS, GREETING, REPLIES
from smtpinspect.actions import ALARM, DETACH, DROP, DROP_FLOW, PASS, RESET, Action, Strength
from smtpinspect.facts import COMMAND, KEYWORD, PATH
from smtpinspect.facts import GREETING as GREETING_FACT
from smtpinspect.inspectors.base import Inspector, Rule
from smtpinspect.inspectors.mailguard import masks

_PLAIN: Final = {each.strength.word: each for each in (PASS, ALARM, DETACH, DROP, DROP_FLOW, RESET)}


class Ending(NamedTuple):
    """How the connection ends: what each side is sent ("rst", "fin", or nothing), and what the client is told
    before. `taken`: the box takes what the client still sends, as a server would that has answered early."""

    client: str = ""
    server: str = ""
    reply: bytes = b""
    taken: bool = False


class Deed(NamedTuple):
    """What an alert leads to; exactly one field is set, or none."""

    alert: Alert
    rewrite: Callable[[bytes], bytes] | None = None  # of the unit (a line, the greeting) that begins at the evidence
    reply: bytes = b""  # the line is withheld, and this is the answer to it
    lost: bool = False  # this segment and its repetitions
    ending: Ending | None = None


def action_of(alert: Alert) -> Action:
    """The action of the alert's row, or the one that the row's method chose instead."""
    action: Action = alert.row.action
    if alert.action == action.strength.word:
        return action
    return _PLAIN.get(alert.action, PASS)


def deed(alert: Alert) -> Deed:
    """What becomes of the flow by this alert alone."""
    return _deed(alert, action_of(alert))


def deed_of(row: Rule) -> Deed:
    """What an alert of this row leads to, as a rule; its `alert` is not to be asked."""
    return _deed(cast(Alert, None), row.action)


def _deed(alert: Alert, action: Action) -> Deed:
    return _DEEDS[action.strength](alert, action.params, action.how)


def chosen(alerts: Sequence[Alert], inspector: Inspector) -> list[Deed]:
    """The deeds of one packet, in their order, up to the first that ends everything.

    Of a product that raises one alarm per segment (its `one_alarm`) the first row that fired counts.
    """
    found = [deed(alert) for alert in alerts if alert.row.kind != "seen"]
    if inspector.one_alarm and found:
        order = {id(row): i for i, row in enumerate(inspector.table())}
        found = [min(found, key=lambda each: (order.get(id(each.alert.row), 0), each.alert.offset))]
    found = [each for each in found if each[1:] != Deed(each.alert)[1:]]
    found.sort(key=lambda each: (each.ending is not None, each.lost, each.alert.offset))
    return found


def acts(alert: Alert) -> bool:
    """Does it do anything to the flow?"""
    return alert.row.kind != "seen" and action_of(alert).strength > Strength.DETACH


def units(rows: Sequence[Rule]) -> int:
    """What must not go on before it is whole: watcher.COMMANDS, GREETING, REPLIES."""
    out = 0
    for row in rows:
        if row.kind != "seen" and row.action.strength in (Strength.REWRITE, Strength.ANSWER, Strength.DROP):
            out |= _UNITS.get(row.when.kind.name, 0)
    return out


_UNITS: Final = {
    COMMAND.name: COMMANDS,
    PATH.name: COMMANDS,
    GREETING_FACT.name: GREETING,
    KEYWORD.name: REPLIES,
}


# --- rewriting ------------------------------------------------------------------------------------------


def _mask_banner(alert: Alert, params: Mapping[str, object]) -> Callable[[bytes], bytes]:
    mask, keep = str(params.get("mask", "keep20")), bool(params.get("keep_sep", True))
    return lambda greeting: masks.banner(greeting, mask, keep_sep=keep)


def _space(alert: Alert, params: Mapping[str, object]) -> Callable[[bytes], bytes]:
    wanted = params.get("octets", b"|")
    assert isinstance(wanted, bytes)
    return lambda line: masks.space(line, _places(line, wanted))


REWRITES: Final[Mapping[str, Callable[[Alert, Mapping[str, object]], Callable[[bytes], bytes]]]] = {
    "mask-banner": _mask_banner,
    "xxxx-verb": lambda alert, params: masks.xxxx_verb,
    "xxxx-all": lambda alert, params: masks.xxxx_all,
    # one letter in a segment of its own is no command: each segment of the line becomes X
    "xxxx-segment": lambda alert, params: masks.xxxx_all,
    "noop": lambda alert, params: masks.noop,
    "space": _space,
    # the letter at its end depends on the keywords before it: `numbered` tells it
    "mask-keyword": lambda alert, params: lambda line: masks.keyword_line(line, 0),
}

_PATH: Final = re.compile(rb'[^:]*:[ \t]*(<?)((?:"(?:\\.|[^"\\])*"|[^ \t>"]|"(?!.*"))*)(>?)')


def numbered(line: bytes, masked: int) -> bytes:
    """An EHLO line as the `masked`th, from 0, that is masked in this reply."""
    return masks.keyword_line(line, masked)


def _places(line: bytes, wanted: bytes) -> list[int]:
    """Where in a MAIL or RCPT line such octets stand; of brackets those that do not delimit the path."""
    found = _PATH.match(line)
    if not found:
        return []
    own = {found.start(1) if found[1] else -1, found.start(3) if found[1] and found[3] else -1}
    end = len(line) if wanted == b"<>" or not found[3] else found.end()
    return [i for i in range(found.start(1), end) if line[i] in wanted and i not in own]


# --- what each strength does ----------------------------------------------------------------------------


def _nothing(alert: Alert, params: Mapping[str, object], how: str) -> Deed:
    return Deed(alert)


def _rewrite(alert: Alert, params: Mapping[str, object], how: str) -> Deed:
    made = REWRITES.get(how)
    return Deed(alert, rewrite=made(alert, params) if made else None)


def _answer(alert: Alert, params: Mapping[str, object], how: str) -> Deed:
    reply = params.get("reply", b"")
    assert isinstance(reply, bytes)
    reply = reply if reply.endswith(b"\n") else reply + b"\r\n"
    if "client" in params or "server" in params:
        return Deed(alert, ending=_ending(params)._replace(reply=reply, taken=params.get("client") == "fin"))
    return Deed(alert, reply=reply)


def _drop(alert: Alert, params: Mapping[str, object], how: str) -> Deed:
    return Deed(alert, lost=True)


def _end(alert: Alert, params: Mapping[str, object], how: str) -> Deed:
    return Deed(alert, ending=_ending(params))


def _ending(params: Mapping[str, Any]) -> Ending:
    """`client` and `server` are True for an RST, or its name, or that of a FIN."""
    told = [params.get(side, False) for side in ("client", "server")]
    client, server = ("rst" if word is True else str(word or "") for word in told)
    return Ending(client, server)


_DEEDS: Final[Mapping[Strength, Callable[[Alert, Mapping[str, object], str], Deed]]] = {
    Strength.PASS: _nothing,
    Strength.ALARM: _nothing,
    Strength.DETACH: _nothing,
    Strength.REWRITE: _rewrite,
    Strength.ANSWER: _answer,
    Strength.DROP: _drop,
    Strength.DROP_FLOW: _end,
    Strength.RESET: _end,
}
