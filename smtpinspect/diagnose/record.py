"""A diagnosis as the object of `--format json`."""

from __future__ import annotations

from typing import Any

from smtpinspect.diagnose.model import Case, Cause, Diagnosis, Reading


def record(diagnosis: Diagnosis) -> dict[str, Any]:
    """`{mails, logs, notes}`: causes best first, notes what could not be read and what was left out. With a sweep also
    that.
    """
    mails = {id(reading): number for number, case in enumerate(diagnosis.cases) for reading in case.log_lines}
    made: dict[str, Any] = {
        "mails": [_mail(case) for case in diagnosis.cases],
        "logs": [_reading(reading, mails.get(id(reading))) for reading in diagnosis.readings],
        "notes": [*diagnosis.unmatched, *diagnosis.notes],
    }
    if diagnosis.sweep is not None:
        rows = [{"value": value, "cut": cut, "mails": mails} for value, cut, mails in diagnosis.sweep.rows]
        made["sweep"] = {"key": diagnosis.sweep.key, "rows": rows}
    return made


def _mail(case: Case) -> dict[str, Any]:
    mail, seen = case.mail, case.observed
    return {
        "client": case.flow.client,
        "server": case.flow.server,
        "mail_from": None if mail is None else mail.mail_from,
        "rcpt_to": None if mail is None else mail.rcpt_to,
        "outcome": seen.outcome,
        "accepted": seen.accepted,
        "recipients": seen.recipients,
        "stage": seen.stage,
        "phase": seen.phase,
        "break": {"kind": seen.broken.kind, "by": seen.broken.by},
        "octets_acknowledged": seen.octets_acknowledged,
        "silence": round(seen.silence, 3),
        "confidence": list(seen.confidence),
        "causes": [_cause(cause) for cause in case.causes],
        "relax": list(case.what_if.relax),
        "against": [{"cause": out.cause, "kind": out.kind, "text": out.text} for out in case.against],
        "contrast": [crossed._asdict() for crossed in case.contrast],
        "fingerprints": [
            {"product": found.product, "what": found.what, "text": found.text, "profiles": list(found.profiles)}
            for found in case.fingerprints
        ],
        "questions": list(case.questions),
        "logs": [reading.line for reading in case.log_lines],
    }


def _cause(cause: Cause) -> dict[str, Any]:
    return {
        "cause": cause.cause,
        "kind": cause.kind,
        "confidence": cause.confidence,
        "degree": cause.degree,
        "title": cause.title,
        "rank": cause.rank,
        "evidence": [{"packet": sign.packet, "text": sign.text} for sign in cause.evidence],
        "remedy": [remedy.title for remedy in cause.remedies],
    }


def _reading(reading: Reading, mail: int | None) -> dict[str, Any]:
    """`mail`: the index of the one that it is about; the causes stand there."""
    return {
        "line": reading.line,
        "mta": reading.mta,
        "phases": list(reading.phases),
        "break": reading.break_kind,
        "breaks": list(reading.broken),
        "stage": reading.stage,
        "seconds": reading.seconds,
        "causes": [_cause(cause) for cause in reading.causes if mail is None],
        "mail": mail,
        "fate": None if reading.fate in ("", "none") else reading.fate,
        "host": reading.host or None,
        "ip": reading.ip or None,
        "recipient": reading.recipient or None,
        "queue_id": reading.queue_id or None,
        "duplicate_risk": reading.duplicate_risk,
        "cannot_tell": list(reading.cannot_tell),
        "ask": list(reading.ask),
    }
