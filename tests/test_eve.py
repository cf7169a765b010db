"""EVE records: the fields of the contract, their order, and that they tell what the Python records tell."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

import smtpinspect

PCAPS = sorted((Path(__file__).resolve().parents[1] / "pcaps").glob("*.pcap"))
HEAD = {"timestamp", "flow_id", "event_type", "src_ip", "src_port", "dest_ip", "dest_port", "proto", "app_proto"}
ALERT = {
    "inspector", "profile", "rule", "detail", "action", "breaks", "after_break", "phase", "stage", "direction",
    "offset", "length", "packet", "octets", "basis",
}  # fmt: skip
MAIL = {
    "outcome", "reply", "rcpt_replies", "phase", "stage", "octets", "silence", "closer", "verdict", "broken_by",
    "confidence",
}  # fmt: skip
FLOW = {
    "pkts_toserver", "pkts_toclient", "bytes_toserver", "bytes_toclient", "start", "end", "state",
}  # fmt: skip
GIDS = {"mailguard": 2001, "stormshield": 2002, "sonicwall": 2003, "smtp": 2004}


def eve(path: Path, **options: Any) -> list[dict[str, Any]]:
    out = io.BytesIO()
    smtpinspect.Engine().write_eve(str(path), out, **options)
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("path", PCAPS, ids=lambda p: p.stem)
def test_fields(path: Path) -> None:
    records = eve(path)
    for r in records[:-1]:
        assert set(r) >= HEAD
        assert (r["proto"], r["app_proto"]) == ("TCP", "smtp")
        assert 0 <= r["flow_id"] < 2**53
        own = r["smtpinspect"]
        if r["event_type"] == "alert":
            assert set(own) == ALERT and "pcap_cnt" in r
            assert r["alert"]["action"] == ("blocked" if own["action"] not in PASSING else "allowed")
            assert r["alert"]["gid"] == GIDS[own["inspector"]]
            assert r["alert"]["severity"] == severity(own)
        elif r["event_type"] == "smtp":
            assert set(own) == MAIL and set(r["smtp"]) <= {"helo", "mail_from", "rcpt_to"}
            assert set(own["verdict"]) == {"mailguard", "stormshield", "sonicwall"} and "tx_id" in r
        else:
            assert set(r["flow"]) == FLOW
            assert set(own) == {"mails", "commands", "gaps", "verdict", "broken_by", "confidence"}
    assert records[-1]["event_type"] == "stats"
    assert set(records[-1]["smtpinspect"]) == {
        "packets", "octets", "connections", "mails", "alerts", "seconds", "truncated",
    }  # fmt: skip


PASSING = {"pass", "alarm", "detach", "rewrite"}


def severity(own: dict[str, Any]) -> int:
    return 1 if own["breaks"] else 2 if own["action"] in ("rewrite", "answer") else 3


@pytest.mark.parametrize("path", PCAPS, ids=lambda p: p.stem)
def test_both_faces_tell_the_same(path: Path) -> None:
    result = smtpinspect.replay(str(path))
    records = eve(path)
    alerts = [r for r in records if r["event_type"] == "alert"]
    assert [(a.rule, a.action, a.offset, a.packet, a.tx_id, a.flow_id, a.stage) for a in result.alerts] == [
        (r["smtpinspect"]["rule"], r["smtpinspect"]["action"], r["smtpinspect"]["offset"],
         r["smtpinspect"]["packet"], r.get("tx_id"), r["flow_id"], r["smtpinspect"]["stage"])
        for r in alerts
    ]  # fmt: skip
    mails = [r for r in records if r["event_type"] == "smtp"]
    assert [(m.outcome, m.reply, m.phase, m.octets, m.verdict, m.broken_by, m.subject) for m in result.mails] == [
        (*(r["smtpinspect"][k] for k in ("outcome", "reply", "phase", "octets", "verdict", "broken_by")),
         r.get("email", {}).get("subject"))
        for r in mails
    ]  # fmt: skip
    assert [f"<{m.mail_from}>" if m.mail_from is not None else None for m in result.mails] == [
        r["smtp"].get("mail_from") for r in mails
    ]


def test_alerts_of_a_mail_come_before_it_and_the_connection_last() -> None:
    for path in PCAPS:
        kinds = [r["event_type"] for r in eve(path)]
        assert kinds[-1] == "stats" and kinds[-2] == "flow"
        done: set[int] = set()
        for r in eve(path):
            if r["event_type"] == "smtp":
                done.add(r["tx_id"])
            elif r["event_type"] == "alert":
                assert r.get("tx_id") not in done


def test_records_are_chosen_but_stats_count_all() -> None:
    path = next(p for p in PCAPS if p.stem == "subject-8bit")
    only = eve(path, records={"mail"})
    assert [r["event_type"] for r in only] == ["smtp", "stats"]
    assert only[-1]["smtpinspect"]["alerts"] == eve(path)[-1]["smtpinspect"]["alerts"] != {}


def test_octets_that_are_no_text() -> None:
    """Nothing in a capture can break a reader of the records."""
    path = next(p for p in PCAPS if p.stem == "subject-8bit")
    octets = path.read_bytes().replace("Réunion".encode(), b'\xff\xc3"\\\x01\x00ab')
    out = io.BytesIO()
    smtpinspect.Engine().write_eve(io.BytesIO(octets), out)
    (mail,) = [r for r in map(json.loads, out.getvalue().splitlines()) if r["event_type"] == "smtp"]
    assert mail["email"]["subject"].startswith('\\xff\\xc3"\\\x01\x00')


def test_no_secret_is_told() -> None:
    """AUTH's arguments and answers are no evidence."""
    from kit.dialogue import parse
    from running import frames, wire

    text = (
        "S: 220 mx\nC: EHLO a\nS: 250-mx\nS: 250 AUTH PLAIN LOGIN\nC: AUTH PLAIN c2VjcmV0\nS: 500 no\nC: AUTH LOGIN\n"
    )
    text += "S: 334 VXNlcg==\nC: c2VjcmV0{QQ==*2000}\nS: 535 no\nC: AUTH LOGIN c2VjcmV0{QQ==*2000}\nS: 500 no\n"
    text += "C:   AUTH PLAIN c2VjcmV0\nS: 500 no\nC: X-EXPS LOGIN c2VjcmV0\nS: 500 no\n"
    out = io.BytesIO()
    smtpinspect.Engine(["mailguard:pix-6", "mailguard:asa-8", "stormshield"]).write_eve(
        frames(wire.build(parse(text))), out
    )
    assert b"AUTH" in out.getvalue() and b"c2VjcmV0" not in out.getvalue()


@pytest.mark.parametrize("kind", ["mail", "alert", "flow"])
def test_the_python_records_that_are_wanted(kind: str) -> None:
    path = next(path for path in PCAPS if path.stem == "several-mails")
    name = {"mail": "smtp"}.get(kind, kind)
    *every, whole = smtpinspect.Engine().run(path)
    *wanted, stats = smtpinspect.Engine().run(path, {kind})
    assert [repr(r) for r in wanted] == [repr(r) for r in every if r.record == name] != []
    assert isinstance(stats, smtpinspect.Stats) and isinstance(whole, smtpinspect.Stats)
    assert (stats.alerts, stats.mails, stats.connections) == (whole.alerts, whole.mails, whole.connections)
    assert all(r.alerts == [] for r in wanted if isinstance(r, smtpinspect.Mail))
    with pytest.raises(ValueError, match="no such records: mails"):
        next(smtpinspect.Engine().run(path, {"mails"}))
