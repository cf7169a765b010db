"""Where in a message something lies: the header field, or the MIME part (RFC 2045, RFC 2046)."""

from __future__ import annotations

from typing import Final, NamedTuple

from smtpinspect.grammar import limits

_HEAD: Final = 4 * limits.KEPT_FIELD  # octets of a part's header that tell what it is


class _Level(NamedTuple):
    boundary: bytes
    path: tuple[int, ...]  # of the multipart


class Places:
    """Fed with the lines of a message in order, tells where each stands."""

    def __init__(self) -> None:
        self._levels: list[_Level] = []
        self._path: tuple[int, ...] = ()
        self._heading = True
        self._field = ""
        self._head = bytearray()
        self._what = ""  # type and name of the part whose body is read
        self._counts: dict[tuple[int, ...], int] = {}

    def line(self, octets: bytes) -> str:
        """The place of this line, which has its line end or lacks it."""
        text = octets.rstrip(b"\r\n")
        if self._heading:
            return self._in_header(text)
        if text.startswith(b"--") and (told := self._border(text.rstrip())):
            return told
        return self._body()

    def more(self) -> str:
        """The place of what goes on in the line that was told last."""
        return self._header() if self._heading else self._body()

    def _in_header(self, text: bytes) -> str:
        if not text:
            told = self._header("")
            self._begin_body()
            return told
        if len(self._head) < _HEAD:
            self._head += text + b"\n"
        if text[:1] not in b" \t":
            name, colon, _ = text.partition(b":")
            self._field = name.rstrip().decode("latin-1") if colon and len(name) <= 200 else "(no field name)"
        return self._header()

    def _header(self, field: str | None = None) -> str:
        name = self._field if field is None else field
        return f"{self._part()}header {name}".rstrip()

    def _part(self) -> str:
        return f"part {'.'.join(map(str, self._path))} " if self._path else ""

    def _body(self) -> str:
        if not self._path:
            return "body"
        return f"{self._part()}{self._what}".rstrip()

    def _begin_body(self) -> None:
        self._heading = False
        kind, boundary, name = _told(bytes(self._head))
        self._head.clear()
        self._field = ""
        if boundary and len(self._levels) < limits.MIME_DEPTH:
            self._levels.append(_Level(b"--" + boundary, self._path))
        if kind == "message/rfc822":
            self._heading = True
            return
        self._what = f"({', '.join(filter(None, (kind, name)))})"

    def _border(self, text: bytes) -> str:
        """A line that may be a boundary; "" when it is none."""
        for depth in range(len(self._levels) - 1, -1, -1):
            boundary, path = self._levels[depth]
            if text == boundary:
                del self._levels[depth + 1 :]
                self._counts[path] = self._counts.get(path, 0) + 1
                self._path = (*path, self._counts[path])
                self._heading, self._field, self._what = True, "", ""
                return f"{self._part()}boundary"
            if text == boundary + b"--":
                del self._levels[depth:]
                self._path, self._what = path, ""
                return f"{self._part()}boundary"
        return ""


def _told(head: bytes) -> tuple[str, bytes, str]:
    """Type, boundary and file name that a header tells."""
    import email.parser
    import email.policy

    try:
        made = email.parser.BytesHeaderParser(policy=email.policy.compat32).parsebytes(head)
        boundary = made.get_boundary() if made.get_content_maintype() == "multipart" else None
        octets = boundary.encode("utf-8", "surrogateescape") if boundary else b""
        return made.get_content_type(), octets, str(made.get_filename() or "")
    except (ValueError, LookupError, TypeError, AttributeError):
        return "", b"", ""  # a header that the parser chokes on
