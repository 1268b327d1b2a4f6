"""Links: octets of a line to whole frames."""
