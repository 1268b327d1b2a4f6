"""Secrets of notices and the TLS that guards them: read for each attempt, so that a changed file serves at once."""

import os
import ssl
import stat

from gateway.uploader.notice_channel import NEEDS_PERSON_S, NoticeError

#: a password or a token is short: anything longer is another file
_MOST_OCTETS = 4_096


def secret(path: str | None, what: str) -> str | None:
    """The first line of a file; None where no file is named. Raises NoticeError, never with what is in it."""
    if path is None:
        return None
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise NoticeError(f"{what} {path} is not a file", NEEDS_PERSON_S)
            if mode & (stat.S_IROTH | stat.S_IWOTH):
                raise NoticeError(f"{what} {path} can be read by every user: chmod 0400 {path}", NEEDS_PERSON_S)
            text = file.read(_MOST_OCTETS + 1).decode()
    except OSError as error:
        raise NoticeError(f"{what} {path} cannot be read: {error.strerror}", NEEDS_PERSON_S) from None
    except UnicodeDecodeError:
        raise NoticeError(f"{what} {path} is no text", NEEDS_PERSON_S) from None
    line = text.partition("\n")[0].strip()
    if not line or len(text) > _MOST_OCTETS or not line.isprintable():
        raise NoticeError(f"{what} {path} does not hold one line of text", NEEDS_PERSON_S)
    return line


def context(ca_file: str | None, what: str) -> ssl.SSLContext:
    """TLS 1.2 or newer that checks certificate and name, by the authorities of the system or those of a file."""
    try:
        found = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError):
        raise NoticeError(f"{what} {ca_file} cannot be read, or holds no certificate", NEEDS_PERSON_S) from None
    found.minimum_version = ssl.TLSVersion.TLSv1_2
    return found


def told(error: OSError, where: str) -> NoticeError:
    """Why there is no connection: one sentence."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return NoticeError(f"{where}: its certificate is not accepted: {error.verify_message}", NEEDS_PERSON_S)
    if isinstance(error, ssl.SSLError):
        return NoticeError(f"{where}: TLS failed ({error.reason or 'the connection broke'})")
    if isinstance(error, TimeoutError):
        return NoticeError(f"{where} does not answer in time")
    return NoticeError(f"{where}: {error.strerror or type(error).__name__}")
