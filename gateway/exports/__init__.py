"""Carriers of item E: one module for each format, `write(series, about) -> octets in pieces`, bounded in memory."""
