"""What a reply says of why it refuses: its words, not what it quotes."""

from __future__ import annotations

import pytest

from smtpinspect.diagnose.model import Cause
from test_lookalikes import judged, refused

# What a reply says, and what it does not although a word of it stands there.
REPLIES = [
    (b"450 4.2.0 Greylisted, see http://example.org", "greylisting"),
    (b"451 4.7.1 Message has been delayed (greylisting)", "greylisting"),
    (b"450 4.7.1 Error: too much mail from 192.0.2.1, try again in 60 seconds", "busy"),
    (b"450 4.2.1 The user receives mail at a rate that prevents delivery, retry after 3600", "busy"),
    (b"451 4.3.5 Server configuration problem, try again in 10 minutes", "refused"),
    (b"451 4.4.3 DNS lookup of your domain failed, please come back later", "refused"),
    (b"452 4.5.3 Too many recipients, disk quota of spaces", "refused"),
    (b"452 4.1.1 <bob@example.net> unknown: space", "refused"),
    (b"452 4.2.2 user over storage", "full-disk"),
    (b"552 Requested mail action aborted: exceeded storage allocation", "full-disk"),
    (b"552 5.3.4 Message size exceeds fixed limit", "refused"),
    (b"452 space shortage, please try later", "full-disk"),
    (b"452 4.4.5 Insufficient disk space; try again later", "full-disk"),
    (b"421 4.7.0 [TSS04] temporarily deferred due to user complaints; see restart.html", "refused"),
    (b"421 4.3.2 restarting", "server-gone"),
    (b"550 5.1.1 User unknown (mailbox full name: Virus, Peter)", "refused"),
    (b"550 no such user virus", "refused"),
    (b"554 5.7.1 spam", "filter-refuses"),
]


@pytest.mark.parametrize(("reply", "name"), REPLIES)
def test_a_reply_tells_what_it_says_and_proves_no_more(reply: bytes, name: str) -> None:
    told = judged(refused(reply + b"\r\n"))
    causes = {each.cause: each for each in told.values() if isinstance(each, Cause)}
    assert set(causes) == {name}
    assert (causes[name].confidence, causes[name].degree) == ("likely", "fits")
