"""SMTP as data: verbs, replies, states, limits, octet classes. Each row cites its source."""
