"""Bytes of a smart meter's customer interface to readings: pure, without sockets, files, clocks, threads or logging."""
