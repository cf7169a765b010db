"""The mails that are sent, by name."""

from collections.abc import Callable

from messages import Mail, Text, attached, references

ZIP, WORD, PROGRAM = "application/zip", "application/vnd.ms-word", "application/octet-stream"

# Each carries what one rule looks for, or is the clean twin of one that does.
MAILS: dict[str, Callable[[], Text]] = {
    "raw-from": lambda: Text(fields={"From": "Zoé Martin <alice@example.org>"}),
    "raw-subject": lambda: Text(subject="Réunion"),
    "long-references": lambda: Text(fields={"References": references(4600)}),
    "minutes": Text,
    "encrypted-zip": lambda: attached("archive/infozip-encrypted.zip", "minutes.zip", ZIP),
    "plain-zip": lambda: attached("archive/infozip-plain.zip", "minutes.zip", ZIP),
    "office-macro": lambda: attached("office/macros.docm", "minutes.docm", WORD),
    "plain-office": lambda: attached("office/plain.docx", "minutes.docx", WORD),
    "packed-exe": lambda: attached("program/upx-hello32.exe", "minutes.exe", PROGRAM),
    "plain-exe": lambda: attached("program/hello32.exe", "minutes.exe", PROGRAM),
}


def compose(name: str, size: int, sender: str, recipient: str) -> Mail:
    """The mail of this name; without one, a body of whole lines of 70 octets that has nearly `size` octets."""
    if name:
        return Mail(MAILS[name]().mail().data, sender, (recipient,))
    header = f"From: <{sender}>\nTo: <{recipient}>\nSubject: test\n\n"
    return Mail((header + ("x" * 70 + "\n") * (size // 71)).encode(), sender, (recipient,))
