def after_break(octets: bytes, x: int, y: int, z: int) -> int:
    """Where one of these octets comes first behind an octet up to CR, at 1 at least; else how many there are.

    For tests; when x is y, z is not looked for.
    """
