"""A test hub of Art. 5(3) of Regulation (EU) 2023/1162; it shares no code with what it tests (docs/hubs/sandbox.md)."""
