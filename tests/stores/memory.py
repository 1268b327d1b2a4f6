"""Where files of tests lie that do not ask what reached a medium: in memory, where there is room for them."""

import os
import shutil
import tempfile
from pathlib import Path

SHARED = Path("/dev/shm")
#: octets that must be free there: other tests may run beside
LEAST_FREE = 512 << 20


def folder() -> Path:
    """A new folder, for the caller to remove."""
    fits = os.access(SHARED, os.W_OK) and shutil.disk_usage(SHARED).free >= LEAST_FREE
    return Path(tempfile.mkdtemp(prefix="meterd-test-", dir=SHARED if fits else None))
