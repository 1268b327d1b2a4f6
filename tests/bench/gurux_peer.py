"""gurux-dlms in a process of its own: reads frames from a file, then decodes those of each line `first last` of stdin.

Answers a line for each: seconds, and the sum of all integers that it read. What the library prints is dropped.
"""

import gc
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from gurux_dlms import GXByteBuffer, GXReplyData
from gurux_dlms.enums import Authentication, InterfaceType, Security
from gurux_dlms.secure import GXDLMSSecureClient

#: seconds after which it ends in any case: it is known to hang on some octets
LIFE_S = 600


def client(encryption: bytes, authentication: bytes) -> Any:
    """A client that knows the keys, where there are any."""
    made = GXDLMSSecureClient(True, 16, 1, Authentication.NONE, None, InterfaceType.HDLC)
    if encryption:
        made.ciphering.blockCipherKey = bytearray(encryption)
        made.ciphering.authenticationKey = bytearray(authentication)
        made.ciphering.security = Security.AUTHENTICATION_ENCRYPTION
    return made


def numbers(value: Any) -> int:
    """The sum of all integers, which reads every value."""
    if isinstance(value, (list, tuple)):
        return sum(map(numbers, value))
    return int(value) if isinstance(value, int) else 0


def main() -> None:
    """Answer until the end of stdin."""
    said = json.loads(Path(sys.argv[1]).read_text())
    frames = [bytes.fromhex(frame) for frame in said["frames"]]
    reader = client(bytes.fromhex(said["encryption"]), bytes.fromhex(said["authentication"]))
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    signal.alarm(LIFE_S)
    for line in sys.stdin:
        first, last = map(int, line.split())
        total = 0
        gc.collect()
        gc.disable()
        began = time.perf_counter()
        for frame in frames[first:last]:
            buffer, reply, push = GXByteBuffer(bytearray(frame)), GXReplyData(), GXReplyData()
            reader.getData(buffer, reply, push)
            total += numbers(push.value)
        spent = time.perf_counter() - began
        gc.enable()
        print(spent, total, file=answers)


if __name__ == "__main__":
    main()
