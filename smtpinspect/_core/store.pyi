class Kept:
    """The store of one direction: octets that came before those in front of them. For tests."""

    def keep(self, octets: bytes, offset: int, missing: int = 0, number: int = 0, border: bool = True) -> int:
        """1 when some of them were there already and differed, else 0; `missing` were cut off behind them."""
    def take(self) -> tuple[int, bytes, int, int, bool] | None:
        """The first piece: offset, octets, how many are missing behind them, number, begins a segment."""
    @property
    def octets(self) -> tuple[int, int, int]:
        """Kept by all directions, by this one, and in how many pieces."""
