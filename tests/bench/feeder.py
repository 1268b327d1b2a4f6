"""Serves the telegrams of a file on many TCP ports, so many a second on each; says the ports, then how long it took.

Arguments: meters, telegrams a second on each, file. The file has a pickled list of octets. It starts when every port
has its client, and ends when all is sent.
"""

import pickle
import socket
import sys
import time
from pathlib import Path


def main() -> None:
    """Serve, pace, end."""
    meters, rate = int(sys.argv[1]), int(sys.argv[2])
    telegrams = pickle.loads(Path(sys.argv[3]).read_bytes())
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(meters)]
    print(*(listener.getsockname()[1] for listener in listeners), flush=True)
    clients = [listener.accept()[0] for listener in listeners]
    began = time.monotonic()
    for number, telegram in enumerate(telegrams):
        pause = began + number / rate - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        for client in clients:
            client.sendall(telegram)
    print(f"sent in {time.monotonic() - began:.3f}", flush=True)
    time.sleep(30)


if __name__ == "__main__":
    main()
