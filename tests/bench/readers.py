"""Clients of a virtual P1 in one process: each telegram is told as `nanoseconds client time-of-the-telegram`.

One more client never reads; when its connection is closed on it, it comes back, so that there always is one.
"""

import contextlib
import os
import re
import selectors
import socket
import sys
import time

_END = re.compile(rb"![0-9A-F]{4}\r\n")
_TIME = re.compile(rb"0-0:1\.0\.0\(([0-9]{12}[SW])\)")


class Reader:
    """One client that reads at once."""

    def __init__(self, number: int, port: int) -> None:
        self.number = number
        self.socket = socket.create_connection(("127.0.0.1", port))
        self._buffer = b""

    def read(self) -> bytes:
        """The lines about the telegrams that became whole; the time is that of the read."""
        self._buffer += self.socket.recv(1 << 16)
        now, lines = time.monotonic_ns(), b""
        while end := _END.search(self._buffer):
            found = _TIME.search(self._buffer[: end.start()])
            lines += b"%d %d %s\n" % (now, self.number, found[1] if found else b"-")
            self._buffer = self._buffer[end.end() :]
        return lines


def frozen(port: int) -> socket.socket:
    """A client with a small window that never reads."""
    stuck = socket.socket()
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    stuck.connect(("127.0.0.1", port))
    return stuck


def main() -> None:
    """Run until the process is ended."""
    port, count = int(sys.argv[1]), int(sys.argv[2])
    selector = selectors.DefaultSelector()
    for number in range(count):
        reader = Reader(number, port)
        selector.register(reader.socket, selectors.EVENT_READ, reader)
    stuck = frozen(port)
    os.write(1, b"0 ready -\n")
    while True:
        for key, _ in selector.select(1):
            os.write(1, key.data.read())
        if stuck.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            stuck.close()
            with contextlib.suppress(OSError):
                stuck = frozen(port)


if __name__ == "__main__":
    main()
