"""The companion process: hands validated intervals to data hubs, once in effect, and keeps proof of it (docs/hubs)."""
