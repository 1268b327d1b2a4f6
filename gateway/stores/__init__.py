"""Stores: what the gateway keeps. They know readings, and neither ports nor brokers."""
