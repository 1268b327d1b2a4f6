"""meterd: the daemon on the customer's side of a smart meter, and its tools."""

__version__ = "0.1.0"
