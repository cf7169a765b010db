"""Captures to show others: with comments in place, or cut to a connection."""
