"""What the packets alone show of a mail: how far it came, and how and by whom its flow ended."""

from __future__ import annotations

from smtpinspect.diagnose.model import Break, Case, Observed


def observe(case: Case) -> Observed:
    """From the mail's record and, where there is one, the trace of its connection."""
    mail, flow = case.mail, case.flow
    if mail is None:
        return Observed(confidence=tuple(flow.confidence))
    accepted = sum(1 for code in mail.rcpt_replies if code is not None and 200 <= code < 300)
    return Observed(
        outcome=mail.outcome,
        accepted=accepted if mail.outcome == "accepted" else 0,
        recipients=len(mail.rcpt_to),
        reply="" if mail.reply is None else str(mail.reply),
        phase=mail.phase,
        stage=mail.stage,
        broken=Break("reply" if mail.outcome == "refused" else "none"),
        silence=mail.silence,
        confidence=tuple(mail.confidence),
    )
