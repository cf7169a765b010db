"""Hypothesis strategies: SMTP dialogues from a grammar of turns, well-formed and wild."""

from __future__ import annotations

import base64

from hypothesis import strategies as st

from kit.dialogue import Turn
from kit.segment import Direction

words = st.text(alphabet="abcdxyz019-", min_size=1, max_size=8).map(str.encode)
# On both sides of the limits that inspectors know: 512, 998, 1000, 4096.
lengths = st.sampled_from([0, 1, 70, 500, 511, 512, 513, 997, 998, 999, 1001, 4094, 4096, 4097, 5000])
refusals = st.sampled_from(
    [b"550 5.7.1 no", b"450 4.2.0 later", b"452-too\r\n452 many", b"503 5.5.1 bad sequence"]
)
agreements = st.sampled_from([b"250 ok", b"250 2.1.0 Ok", b"250", b"250-two\r\n250 lines"])
verbs = st.sampled_from(
    b"NOOP|noop x|VRFY root|EXPN staff|HELP|XFOO bar|Some-fake-command|ETRN a.example| NOOP|NOOP\t|TURN|"
    b"XCLIENT ADDR=192.0.2.1|VRFY \xe9|VRFY a\0b|STARTTLS|".split(b"|")
)
addresses = st.one_of(
    st.builds(lambda a, b: b"<" + a + b"@" + b + b".example>", words, words),
    st.sampled_from(
        [
            b"<>",
            b"a@b.example",
            b"<@r.example:a@b.example>",
            b'<"a b"@c.example>',
            b"<a|b@c.example>",
            b"<a@b>c>",
        ]
    ),
)
plain_lines = st.one_of(words, st.builds(lambda w, n: w + b"x" * n, words, lengths))
wild_lines = st.one_of(
    plain_lines,
    st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"\r")),
    st.sampled_from(
        [b"", b".", b"..", b".x", b"\0", b"a\rb", b"\x0b\x0c\x1c\x85", b"QUIT", b"MAIL FROM:<a@b>"]
    ),
    st.sampled_from([b"a\n.", b"\n.\n", b"a\n.\r", b"\r.", b"\0.", b".\0", b".\r", b"354 no", b"From: x"]),
)


# How a client goes on behind MAIL and RCPT; "stops" ends the capture inside the text, "early" is answered inside it.
TRANSFERS = ("data", "data", "data", "eager", "early", "refused", "bdat", "bdat", "rset", "nothing", "stops")


class Script:
    """Collects exchanges; a pipelining client sends several commands before it reads."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.asked, self.answered = b"", b""
        self.over = False  # the connection ends here

    def say(self, side: Direction, octets: bytes) -> None:
        if octets:
            self.turns.append(Turn(side, octets))

    def ask(self, command: bytes, reply: bytes, *, wait: bool = True) -> None:
        self.asked += command
        self.answered += reply + b"\r\n"
        if wait:
            self.flush()

    def flush(self) -> None:
        self.say("C", self.asked)
        self.say("S", self.answered)
        self.asked, self.answered = b"", b""


def stuffed(lines: list[bytes]) -> bytes:
    """Lines as mail text on the wire."""
    return b"".join(b"." * line.startswith(b".") + line + b"\r\n" for line in lines)


@st.composite
def headers(draw: st.DrawFn) -> list[bytes]:
    subjects = st.sampled_from(
        [
            b"hello",
            b"",
            b"Gr\xfc\xdfe",
            "Réunion".encode(),
            b"=?utf-8?q?a=20b?=",
            b"=?utf-8?b?w6k=?= x",
            b"a\r\n b",
        ]
    )
    result = [b"From: a@b.example", b"Subject: " + draw(subjects)]
    for name in draw(
        st.lists(st.sampled_from([b"To", b"X-Long", b"Received", b"DKIM-Signature"]), max_size=3)
    ):
        result.append(name + b": " + b"y" * draw(lengths))
    return result


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """A mail's octets, not dot-stuffed: plain, multipart, or wild."""
    kind = draw(st.sampled_from(["plain", "multipart", "wild", "wild header"]))
    head = draw(headers())
    if kind == "plain":
        lines = [*head, b"", *draw(st.lists(plain_lines, max_size=5))]
    elif kind == "wild":
        lines = [*head, b"", *draw(st.lists(wild_lines, max_size=6))]
    elif kind == "wild header":
        lines = [*head, *draw(st.lists(wild_lines, max_size=4)), b"", b"text"]
    else:
        content = draw(st.binary(max_size=40))
        name = draw(words)
        lines = [
            *head,
            b'Content-Type: multipart/mixed; boundary="=b"',
            b"",
            b"--=b",
            b"",
            b"text",
            b"--=b",
            b'Content-Type: application/octet-stream; name="' + name + b'"',
            b"Content-Transfer-Encoding: base64",
            b"",
            base64.b64encode(content),
            b"--=b--",
        ]
    return b"".join(line + b"\r\n" for line in lines)


def stuff(text: bytes) -> bytes:
    """Dot-stuffing as a client does it, which knows CRLF lines only."""
    return stuffed(text.removesuffix(b"\r\n").split(b"\r\n"))


@st.composite
def mails(draw: st.DrawFn, script: Script) -> None:
    """One transaction appended to a script."""
    yes = st.booleans()
    pipelined = bool(draw(yes))

    def reply_of(share: int) -> bytes:
        good = draw(st.integers(0, share)) != 0
        return draw(agreements if good else refusals)

    parameters = draw(st.sampled_from([b"", b" SIZE=1000", b" SMTPUTF8", b" BODY=8BITMIME"]))
    blank = draw(st.sampled_from([b"", b" "]))
    sender = draw(addresses)
    script.ask(b"MAIL FROM:" + blank + sender + parameters + b"\r\n", reply_of(8), wait=not pipelined)
    for _ in range(draw(st.integers(0, 4))):
        recipient = draw(addresses)
        script.ask(b"RCPT TO:" + blank + recipient + b"\r\n", reply_of(3), wait=not pipelined)
    how = draw(st.sampled_from(TRANSFERS))
    text = draw(texts())
    if how in ("data", "eager"):
        script.asked += b"DATA\r\n"
        script.answered += b"354 go on\r\n"
        if how == "data":
            script.flush()
        script.ask(stuff(text) + b".\r\n", reply_of(4), wait=bool(draw(yes)))
    elif how == "stops":
        script.ask(b"DATA\r\n", b"354 go on")
        wire = stuff(text)
        script.say("C", wire[: draw(st.integers(0, len(wire)))])
        script.over = True
    elif how == "early":
        script.ask(b"DATA\r\n", b"354 go on")
        wire = stuff(text)
        cut = draw(st.integers(0, len(wire)))
        script.say("C", wire[:cut])
        script.say("S", draw(st.one_of(refusals, agreements)) + b"\r\n")
        script.say("C", wire[cut:] + b".\r\n")
    elif how == "refused":
        script.ask(b"DATA\r\n", b"554 5.5.1 no valid recipients")
    elif how == "bdat":
        cut = draw(st.integers(0, len(text)))
        chunks = [text[:cut], text[cut:]] if draw(yes) else [text]
        for i, chunk in enumerate(chunks):
            last = b" LAST" if i == len(chunks) - 1 else b""
            line = b"BDAT %d%s\r\n" % (len(chunk), last)
            script.ask(line + chunk, reply_of(6), wait=not pipelined)
        if draw(st.integers(0, 5)) == 0:
            script.ask(
                draw(st.sampled_from([b"BDAT x LAST\r\n", b"BDAT\r\n", b"BDAT -1\r\n"])), b"501 5.5.4 no"
            )
    elif how == "rset":
        script.ask(b"RSET\r\n", b"250 ok", wait=bool(draw(yes)))


@st.composite
def dialogues(draw: st.DrawFn) -> list[Turn]:
    """A whole connection in clear text (an accepted STARTTLS would end what there is to compare)."""
    script = Script()
    greetings = [b"220 mx.example ESMTP", b"220-two\r\n220 lines", b"220 ****0*2***", b"220 " + b"g" * 600]
    script.say("S", draw(st.sampled_from(greetings)) + b"\r\n")
    name = b"a" * draw(st.sampled_from([1, 8, 300, 600]))
    hello = draw(st.sampled_from(["ehlo", "ehlo", "helo", "both", "none"]))
    if hello in ("ehlo", "both"):
        keywords = draw(
            st.sampled_from([b"250 mx", b"250-mx\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 STARTTLS"])
        )
        script.ask(b"EHLO " + name + b"\r\n", b"500 5.5.1 what" if hello == "both" else keywords)
    if hello in ("helo", "both"):
        script.ask(b"helo " + name + b"\r\n", b"250 mx")
    for _ in range(draw(st.integers(0, 3))):
        if script.over:
            return script.turns
        what = draw(st.sampled_from(["mail", "mail", "mail", "verb", "auth"]))
        if what == "mail":
            draw(mails(script))
        elif what == "verb":
            end = draw(st.sampled_from([b"\r\n", b"\r\n", b"\n"]))
            answer = draw(st.sampled_from([b"500 5.5.1 unknown", b"502 no", b"250 ok", b"OK", b"4.7.0 no"]))
            script.ask(draw(verbs) + end, answer, wait=bool(draw(st.booleans())))
        else:
            auth(draw, script)
    if script.over:
        return script.turns
    if draw(st.booleans()):
        script.ask(b"QUIT\r\n", b"221 bye")
    elif draw(st.booleans()):
        script.flush()
        script.say("S", b"421 4.4.2 timeout\r\n")
    script.flush()
    return script.turns


def auth(draw: st.DrawFn, script: Script) -> None:
    """An AUTH dialogue; the answers may look like commands."""
    script.flush()
    if draw(st.booleans()):
        script.ask(b"AUTH PLAIN AGEAYg==\r\n", b"235 ok")
        return
    script.ask(b"AUTH LOGIN\r\n", b"334 VXNlcm5hbWU6")
    script.ask(b"DATA\r\n", b"334 UGFzc3dvcmQ6")
    script.ask(
        draw(st.sampled_from([b"QUIT\r\n", b"*\r\n", b"cHc=\r\n"])),
        draw(st.sampled_from([b"235 ok", b"535 no"])),
    )
