class Decoder:
    """A transfer encoding undone: `8bit`, `base64`, `quoted-printable` or `uuencode` (the lines behind `begin`).

    `unstuff`: dots that begin a line were added (RFC 5321 4.5.2). Another encoding raises KeyError.
    """

    # For each octet that the last feed() made: the wire octet that completed it, counted from the first one fed.
    positions: list[int]
    # A uuencode line that is no data begins with the next octet.
    over: bool
    def __init__(self, encoding: str, unstuff: bool = False) -> None: ...
    def feed(self, octets: bytes, room: int = 4096) -> bytes:
        """Octets as soon as their bits are there; `room` octets are made at a time."""
    def skip(self, octets: bytes, most: int) -> tuple[int, int]:
        """How many octets were read, and how many passed, `most` at most; it may stop early."""
