"""What the capture does: it ends too early, it lost packets, it saw one side only, it was cut short."""

from __future__ import annotations

from smtpinspect.diagnose.lookalikes.view import STALLED_NS, Found, Out, Said, View, seconds
from smtpinspect.diagnose.model import Sign


def stopped(view: View) -> Said:
    """The capture ends while the dialogue goes on."""
    account = view.account
    if view.case.observed.broken.kind == "reply":
        return Out("the reply that decided is in the capture")
    if view.case.observed.by_log:
        return Out("the mail's log tells how it ended")
    if account.closed is not None:
        return Out("the end of the connection is in the capture")
    last = account.packets[-1]
    unheard = [*account.client.lost, *account.server.lost, *account.unheard, *([] if account.greeted else account.syns)]
    silent = max(view.last_ns, last.ns) - min((p.ns for p in unheard), default=last.ns)
    if silent >= STALLED_NS:  # heard of more shortly before the end, it was not silent
        return Out(f"the capture goes on for {seconds(silent)} after the last answer")
    if view.damaged:
        text = f"the capture is cut off {seconds(silent)} behind this packet, and nobody had closed"
        return Found("certain", (Sign(last.number, text),), "proved")
    text = f"the capture ends {seconds(silent)} behind this packet, and nobody had closed"
    return Found("likely" if view.last_ns > last.ns else "possible", (Sign(last.number, text),))


def one_direction(view: View) -> Said:
    """Only one side's packets were captured: another way back, or a filter of the capture."""
    account = view.account
    sides = {p.by_client for p in account.packets}
    if len(sides) != 1:
        return Out("packets of both sides are in the capture")
    side = "client" if True in sides else "server"
    if side == "client" and not any(p.acks for p in account.packets if p.acks is not None):
        return None  # a SYN without an answer
    text = f"only the {side}'s packets are in the capture, though they acknowledge what the other side sent"
    return Found("certain", (Sign(account.packets[0].number, text),), "proved")


def gaps(view: View) -> Said:
    """Packets are missing from the capture that did arrive, since they were acknowledged."""
    account = view.account
    sides = {p.by_client for p in account.packets}
    if account.trace.left_out:
        return None
    missing = account.client.unseen + account.server.unseen
    if len(sides) > 1 and missing:
        text = f"{missing:,} bytes were acknowledged that the capture does not hold: it lost packets"
        return Found("likely", (Sign(None, text),))
    cut = next((p for p in account.packets if len(p.payload) < p.length), None)
    if cut is not None:  # the ends of packets are missing, not packets
        text = f"the capture holds {len(cut.payload):,} of the {cut.length:,} bytes of this packet, and TCP's numbers"
        return Out("what was acknowledged is known, though packets were cut (snap length)", (Sign(cut.number, text),))
    return Out("the capture holds every byte that was acknowledged")
