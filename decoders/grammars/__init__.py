"""Grammars: the plain octets of a frame to a telegram."""
