"""A diagnosis as one HTML file that asks no network for anything."""
