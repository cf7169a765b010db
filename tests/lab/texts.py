"""The mails that are sent, by name."""

from collections.abc import Callable
from dataclasses import replace

from messages import Mail, Text, attached, references
from rows import SMALL

ZIP, WORD, PROGRAM = "application/zip", "application/vnd.ms-word", "application/octet-stream"
SIGNATURE = (
    "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=k1; h=from:to:subject:content-type:date;\n"
    " bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=dzdVyOfAKCdLXdJOc9G2q8LoXSlEniSbav+yuU4zGeeruD00lszZ"
)


def _two(first: Text, second: Text) -> Text:
    """The first with the attachment of the second behind its own."""
    end = "--=_file--\n"
    return replace(first, body=first.body.removesuffix(end) + "--=_file\n" + second.body.split("--=_file\n")[2])


# Each carries what one rule looks for, or is the clean twin of one that does.
MAILS: dict[str, Callable[[], Text]] = {
    "raw-from": lambda: Text(fields={"From": "Zoé Martin <alice@example.org>"}),
    "raw-subject": lambda: Text(subject="Réunion"),
    "raw-subject-long": lambda: Text(subject="Réunion", fields={"References": references(1200)}),
    "long-references": lambda: Text(fields={"References": references(4600)}),
    "minutes": Text,
    "encrypted-zip": lambda: attached("archive/infozip-encrypted.zip", "minutes.zip", ZIP),
    "plain-zip": lambda: attached("archive/infozip-plain.zip", "minutes.zip", ZIP),
    "office-macro": lambda: attached("office/macros.docm", "minutes.docm", WORD),
    "plain-office": lambda: attached("office/plain.docx", "minutes.docx", WORD),
    "packed-exe": lambda: attached("program/upx-hello32.exe", "minutes.exe", PROGRAM),
    "plain-exe": lambda: attached("program/hello32.exe", "minutes.exe", PROGRAM),
    "raw-name": lambda: Text(fields={"X-Réf": "12"}),
    "control-field": lambda: Text(fields={"X-Note": "bell\a"}),
    "long-line": lambda: Text(fields={"References": references(1400)}),
    "line-of-400": lambda: Text(fields={"X-Long": "x" * 392}),
    "body-line-of-700": lambda: Text(body="x" * 700 + "\n"),
    "long-name": lambda: attached("archive/infozip-plain.zip", "m" * 296 + ".zip", ZIP),
    "signed": lambda: Text(fields={"DKIM-Signature": SIGNATURE}),
    "many-to": lambda: Text(fields={"To": ", ".join(f"u{number}@example.net" for number in range(8))}),
    "aes-zip": lambda: attached("archive/pyzipper-aes256.zip", "minutes.zip", ZIP),
    "macro-doc": lambda: attached("office/macros.doc", "minutes.doc", WORD),
    "macro-xlsm": lambda: attached("office/macros.xlsm", "minutes.xlsm", WORD),
    "aspack-exe": lambda: attached("program/aspack-2.12-entry.exe", "minutes.exe", PROGRAM),
    "fsg-exe": lambda: attached("program/fsg-2.0.exe", "minutes.exe", PROGRAM),
    "mpress-exe": lambda: attached("program/mpress.exe", "minutes.exe", PROGRAM),
    "raw-both": lambda: Text(subject="Réunion", fields={"From": "Zoé Martin <alice@example.org>"}),
    "two-files": lambda: _two(MAILS["office-macro"](), MAILS["encrypted-zip"]()),
    "nested-zip": lambda: attached("archive/deep2.zip", "minutes.zip", ZIP),
}


def compose(name: str, size: int, sender: str, *recipients: str) -> Mail:
    """The mail of this name, made longer at its end when `size` is more than the usual; without a name a body of whole
    lines of 70 octets that has nearly `size` octets."""
    if name:
        data = MAILS[name]().mail().data
        more = b"x" * 70 + b"\n"
        return Mail(data + (more * ((size - len(data)) // 71) if size > SMALL else b""), sender, recipients)
    header = f"From: <{sender}>\nTo: <{recipients[0]}>\nSubject: test\n\n"
    return Mail((header + ("x" * 70 + "\n") * (size // 71)).encode(), sender, recipients)
