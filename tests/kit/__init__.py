"""Writes captures from dialogues: dialogue -> segments -> mutators -> packets -> frames -> capture file."""
