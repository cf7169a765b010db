"""Inspectors: one per firewall product, each turns facts into actions by rows."""
