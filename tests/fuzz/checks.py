"""What must hold of every capture, whatever its octets are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from functools import cache
from io import BytesIO
from typing import Any

import smtpinspect
from asking import Asking
from smtpinspect.grammar import limits

# One engine per line: old and new products, every rule that depends on a setting, and none at all.
PROFILES: tuple[tuple[str, ...], ...] = (
    ("mailguard:pix-4.0", "stormshield"),
    ("mailguard:asa-8", "stormshield:high,mode=advertised"),
    ("mailguard:pix-6,rcpt_count=1", "mailguard:asa-9-tls", "stormshield:low"),
    (
        "sonicwall,extended_packers=on,block_multiple_compress_files=on",
        "sonicwall,on_match=drop,inside=198.51.100.0/24,exclusions=2001:db8::/32",
    ),
    (),
)
MOST_OCTETS = 64  # of an alert's evidence
# The time that a run took is another each time.
UNSTEADY = ("seconds",)


class Broken(AssertionError):
    """Something that must hold does not."""


@cache
def engine(profile: tuple[str, ...]) -> Any:
    return smtpinspect.Engine([*profile, Asking()] if profile else [])


def must(fact: object, *said: object) -> None:
    if not fact:
        raise Broken(" ".join(map(str, said)))


def objects(source: bytes, profile: tuple[str, ...]) -> tuple[list[Any], Any, str | None]:
    """Records, stats and the capture's fault as Python has them."""
    records: list[Any] = []
    fault = None
    try:
        records.extend(engine(profile).run(BytesIO(source)))
    except smtpinspect.CaptureError as error:
        fault = str(error)
    must(records and records[-1].record == "stats", "no stats at the end")
    return records[:-1], records[-1], fault


def lines(source: bytes, profile: tuple[str, ...]) -> tuple[list[dict[str, Any]], str | None]:
    """The EVE records; each must be JSON, the last one stats."""
    out = BytesIO()
    fault = None
    try:
        engine(profile).write_eve(BytesIO(source), out)
    except smtpinspect.CaptureError as error:
        fault = str(error)
    text = out.getvalue()
    must(text.endswith(b"\n"), "the last line is not ended")
    made = [json.loads(line.decode("utf-8")) for line in text.splitlines()]
    must(made[-1]["event_type"] == "stats", "the last line is no stats")
    for name in UNSTEADY:
        made[-1]["smtpinspect"].pop(name)
    return made, fault


def bare(path: str) -> str:
    """An address without the brackets that EVE writes."""
    must(path[:1] == "<" and path[-1:] == ">", "no brackets", path)
    return path[1:-1]


def spaced(end: str) -> str:
    """Address and port of an end as Python names it, parted by a blank."""
    address, _, port = end.rpartition(":")
    return f"{address.strip('[]')} {port}"


def alert_pair(eve: dict[str, Any], made: Any) -> Iterable[tuple[str, object, object]]:
    own = eve["smtpinspect"]
    for name in (
        "inspector",
        "profile",
        "rule",
        "detail",
        "action",
        "breaks",
        "after_break",
        "phase",
        "stage",
    ):
        yield name, own[name], getattr(made, name)
    for name in ("direction", "offset", "length", "packet", "basis"):
        yield name, own[name], getattr(made, name)
    yield "tx_id", eve.get("tx_id"), made.tx_id
    yield "pcap_cnt", eve["pcap_cnt"], made.pcap_cnt
    ends = (f"{eve['src_ip']} {eve['src_port']}", f"{eve['dest_ip']} {eve['dest_port']}")
    client, server = ends if made.direction == "client" else ends[::-1]
    yield "client", client, spaced(made.client)
    yield "server", server, spaced(made.server)


def mail_pair(eve: dict[str, Any], made: Any) -> Iterable[tuple[str, object, object]]:
    own, smtp = eve["smtpinspect"], eve["smtp"]
    for name in (
        "outcome",
        "reply",
        "rcpt_replies",
        "phase",
        "stage",
        "octets",
        "closer",
        "verdict",
        "broken_by",
    ):
        yield name, own[name], getattr(made, name)
    yield "confidence", own["confidence"], made.confidence
    yield "tx_id", eve["tx_id"], made.tx_id
    yield "helo", smtp.get("helo"), made.helo
    yield "mail_from", None if "mail_from" not in smtp else bare(smtp["mail_from"]), made.mail_from
    yield "rcpt_to", [bare(path) for path in smtp.get("rcpt_to", [])], made.rcpt_to
    if "email" in eve:
        email = eve["email"]
        yield "from", email.get("from"), made.header_from
        yield "subject", email.get("subject"), made.subject
        yield "message_id", email.get("message_id"), made.message_id
        yield "attachment", email["attachment"], made.attachments
        yield "to", email["to"] == [], not (made.header_to or "").strip(" \t,")
    must(abs(own["silence"] - made.silence) < 1e-5, "silence", own["silence"], made.silence)


def flow_pair(eve: dict[str, Any], made: Any) -> Iterable[tuple[str, object, object]]:
    for name in ("mails", "commands", "gaps", "verdict", "broken_by", "confidence"):
        yield name, eve["smtpinspect"][name], getattr(made, name)
    for name in ("pkts_toserver", "pkts_toclient", "bytes_toserver", "bytes_toclient", "state"):
        yield name, eve["flow"][name], getattr(made, name)


PAIRS = {"alert": alert_pair, "smtp": mail_pair, "flow": flow_pair}


def agree(eve: list[dict[str, Any]], made: list[Any]) -> None:
    """EVE and Python tell the same, in the same order."""
    must([e["event_type"] for e in eve] == [r.record for r in made], "the kinds of records differ")
    for line, record in zip(eve, made, strict=True):
        must(line["flow_id"] == record.flow_id, "flow_id", line["flow_id"], record.flow_id)
        for name, a, b in PAIRS[record.record](line, record):
            must(a == b, record.record, name, repr(a), repr(b))


def sane(made: list[Any], stats: Any, whole: bool) -> None:
    """Numbers lie where they can lie, and records come in their order."""
    of_rule: Counter[object] = Counter()
    shown: Counter[str] = Counter()
    mails: Counter[int] = Counter()
    over: set[tuple[int, int]] = set()
    ended: set[int] = set()
    loose = 0
    for r in made:
        if r.record == "alert":
            must(r.offset >= 0 and r.length >= 0, r, "lies nowhere", r.offset, r.length)
            must(len(r.octets) <= MOST_OCTETS, r, "has too much evidence")
            must(1 <= r.packet <= stats.packets, r, "lies in no packet")
            must(1 <= r.pcap_cnt <= stats.packets, r, "was decided at no packet", r.pcap_cnt)
            of_rule[r.flow_id, r.tx_id, r.inspector, r.rule] += 1
            shown[r.rule] += 1
            if r.tx_id is None:
                must(r.pcap_cnt >= loose, r, "comes too late", r.pcap_cnt, loose)
                loose = r.pcap_cnt
            elif whole:
                must((r.flow_id, r.tx_id) not in over, r, "comes behind its mail")
        elif r.record == "smtp":
            mails[r.flow_id] += r.outcome != "encrypted"
            over.add((r.flow_id, r.tx_id))
            must(r.octets >= 0 and r.silence >= 0, r, r.octets, r.silence)
            must(len(r.rcpt_to) == len(r.rcpt_replies) <= limits.RECIPIENTS, r, "recipients and replies")
            must(len(r.attachments) <= limits.ATTACHMENTS, r, "attachments")
        else:
            must(r.gaps >= 0 and r.commands >= 0, r)
            if whole:
                must(mails[r.flow_id] == r.mails, r, "has another number of mails", mails[r.flow_id])
                must(r.flow_id not in ended, r, "comes twice")
                ended.add(r.flow_id)
    must(max(of_rule.values(), default=0) <= limits.ALERTS_PER_RULE, "too many alerts of one rule and mail")
    must(sum(mails.values()) == stats.mails, "mails", sum(mails.values()), stats.mails)
    for rule, n in shown.items():
        must(stats.alerts[rule] >= n, rule, "is counted too low", stats.alerts[rule], n)
    must(
        set(stats.alerts) == set(shown),
        "rules that are counted and not shown",
        set(stats.alerts) ^ set(shown),
    )


def within(made: list[Any], talks: list[dict[str, Any]]) -> None:
    """No offset lies behind its stream."""
    reach: dict[tuple[str, str, str], int] = {}
    for talk in talks:
        for side in ("client", "server"):
            # a hole of one octet counts in offsets, not in the number of octets
            lone = sum(g["length"] == 1 for g in talk["gaps"] if g["direction"] == side)
            key = (talk["client"], talk["server"], side)
            reach[key] = max(reach.get(key, 0), talk[f"{side}_bytes"] + lone)
    for r in made:
        if r.record == "alert":
            end = reach.get((r.client, r.server, r.direction))
            must(end is not None, r, "is of a connection that the transcript does not have")
            must(r.offset <= (end or 0), r, "lies behind the stream, which ends at", end)


def talks_of(source: bytes) -> list[dict[str, Any]]:
    try:
        made = smtpinspect.transcript(BytesIO(source))
    except smtpinspect.CaptureError as error:
        made = getattr(error, "partial", [])
    json.dumps(made)
    return list(made)


def check(source: bytes, profiles: Iterable[tuple[str, ...]] = PROFILES, *, talks: bool = True) -> None:
    """Raises Broken, or what the engine raised, when something that must hold does not."""
    told = talks_of(source) if talks else None
    for profile in profiles:
        eve, fault = lines(source, profile)
        made, stats, other = objects(source, profile)
        must(fault == other, "EVE and Python end with different faults:", fault, other)
        # two connections of the same ends and time share an identity: only in captures of chance
        flows = [r.flow_id for r in made if r.record == "flow"]
        sane(made, stats, len(set(flows)) == len(flows))
        agree(eve[:-1], made)
        last = eve[-1]["smtpinspect"]
        for name in ("packets", "octets", "connections", "mails", "alerts", "truncated"):
            must(last[name] == getattr(stats, name), name, last[name], getattr(stats, name))
        must((eve, fault) == lines(source, profile), "a second run tells something else")
        if told is not None:
            must(len(told) == len(flows) == stats.connections, "connections", len(told), len(flows))
            within(made, told)
