"""A module per command: its arguments, one call, a report."""
