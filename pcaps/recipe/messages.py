"""The mails that are sent."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

ATTACHMENTS = Path(__file__).resolve().parents[2] / "tests" / "attachments"
SENDER = "alice@example.org"
RECIPIENT = "bob@example.net"


@dataclass(frozen=True)
class Mail:
    data: bytes  # lines end in LF, as the `sendmail` command takes them
    sender: str = SENDER
    recipients: tuple[str, ...] = (RECIPIENT,)


@dataclass(frozen=True, kw_only=True)
class Text:
    """A mail's text, dated when it is sent."""

    subject: str = "Minutes of the meeting"
    body: str = "Dear Bob,\n\nthe minutes are on the server.\n\nAlice\n"
    fields: Mapping[str, str] = field(default_factory=dict)
    recipients: tuple[str, ...] = (RECIPIENT,)
    name: str = "minutes"

    def mail(self) -> Mail:
        header = {
            "From": f"Alice Martin <{SENDER}>",
            "To": f"Bob <{RECIPIENT}>",
            "Subject": self.subject,
            "Date": format_datetime(datetime.now(UTC)),
            "Message-ID": f"<{self.name}@mail.example.org>",
        }
        lines = "".join(f"{name}: {value}\n" for name, value in (header | dict(self.fields)).items())
        return Mail(f"{lines}\n{self.body}".encode(), recipients=self.recipients)


def references(octets: int) -> str:
    """The value of a References field whose line, unfolded, has this many octets, line end not counted."""
    last = "<{}thread@lists.example.org>"
    fixed = len(f"References:  {last.format('')}")
    identifiers = [f"<{number:04d}.thread@lists.example.org>" for number in range(octets // 32)]
    others = " ".join(identifiers[: (octets - fixed) // (len(identifiers[0]) + 1)])
    return f"{others} {last.format('x' * (octets - fixed - len(others)))}"


def attached(file: str, name: str, kind: str) -> Text:
    """A mail with one of the files in tests/attachments, under another name."""
    octets = (ATTACHMENTS / file).read_bytes()
    parts = (
        "Content-Type: text/plain\n\nDear Bob,\n\nthe file is attached.\n",
        f'Content-Type: {kind}; name="{name}"\n'
        f'Content-Disposition: attachment; filename="{name}"\n'
        f"Content-Transfer-Encoding: base64\n\n{base64.encodebytes(octets).decode()}",
    )
    body = "".join(f"--=_file\n{part}" for part in parts) + "--=_file--\n"
    fields = {"MIME-Version": "1.0", "Content-Type": 'multipart/mixed; boundary="=_file"'}
    return Text(subject=f"Your {name}", body=body, fields=fields, name=Path(name).stem)


_ATTACHMENT = b"day;room\n" + b"".join(b"%d;%d\n" % (day, day % 7) for day in range(1, 61))

MULTIPART = f"""\
This is a message in MIME format.
--=_minutes
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

Dear Bob,

the minutes of the r=C3=A9union are attached.
--=_minutes
Content-Type: text/csv
Content-Disposition: attachment; filename*=UTF-8''r%C3%A9union.csv
Content-Transfer-Encoding: base64

{base64.encodebytes(_ATTACHMENT).decode()}--=_minutes--
"""
