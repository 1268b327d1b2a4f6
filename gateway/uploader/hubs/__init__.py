"""Adapters, one file for each hub: pure `build`, thin `send`; blind to each other (docs/hubs)."""
