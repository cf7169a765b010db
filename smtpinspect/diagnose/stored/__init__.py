"""Stored messages: what a firewall would do to them if they were sent."""
