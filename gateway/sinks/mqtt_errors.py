"""Why there is no connection to the broker: one sentence that says what, where and what to do. Holds no secret."""

import socket

from gateway.settings import BrokerSettings

#: longest pause between attempts, s: what heals by itself, and what needs a person
HEALS_S = 30
NEEDS_PERSON_S = 120
#: shortest pause of a client that another one of the same id has thrown out: otherwise the two do so for ever
THROWN_OUT_S = 60

#: MQTT 5 reason codes of CONNACK and DISCONNECT (clauses 3.2.2.2 and 3.14.2.1); those of 3.1.1 are mapped to them
UNSUPPORTED_VERSION = 0x84
#: the pause where another client of the same id is only suspected: it may be a broker that was started again and again
SUSPECTED_S = (10, 25)
KEEP_ALIVE_TIMEOUT = 0x8D
TAKEN_OVER = 0x8E
NOT_AUTHORIZED = 0x87
#: those that say something about the message alone
ROW_AT_FAULT = {0x95: "Packet too large", 0x99: "Payload format invalid"}

_REASONS: dict[int, tuple[int, str]] = {
    UNSUPPORTED_VERSION: (NEEDS_PERSON_S, 'the broker does not speak this version of MQTT: set mqtt.version = "auto"'),
    0x85: (NEEDS_PERSON_S, "the broker does not accept the client id {client_id}: set mqtt.client_id"),
    0x86: (NEEDS_PERSON_S, "wrong user name or password: check mqtt.username and mqtt.password_file"),
    NOT_AUTHORIZED: (
        NEEDS_PERSON_S,
        (
            "not authorized: wrong user name or password{will}: "
            "check mqtt.username, mqtt.password_file and the access list"
        ),
    ),
    0x88: (HEALS_S, "the broker says that it is unavailable: it is tried again"),
    0x89: (HEALS_S, "the broker says that it is busy: it is tried again"),
    0x8A: (NEEDS_PERSON_S, "the broker has banned this client: ask who runs it"),
    0x8B: (HEALS_S, "the broker shuts down: it is tried again"),
    KEEP_ALIVE_TIMEOUT: (
        HEALS_S,
        "the broker heard nothing for the keep-alive time and closed the connection: check the network",
    ),
    TAKEN_OVER: (NEEDS_PERSON_S, "another client uses this client id ({client_id}): give each its own mqtt.client_id"),
    0x9A: (NEEDS_PERSON_S, "the broker does not allow retained messages, which availability needs: allow them there"),
    0x9B: (NEEDS_PERSON_S, "the broker does not allow QoS 1, which availability needs: allow it there"),
}


class ConnectionFailedError(Exception):
    """No connection, or no longer one. `reason` is a sentence; `least_s` and `cap_s` bound the pause after it."""

    def __init__(self, reason: str, cap_s: int = HEALS_S, *, least_s: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cap_s = cap_s
        self.least_s = least_s


class UnsupportedVersionError(ConnectionFailedError):
    """The broker said that it does not speak the offered version of MQTT."""


class UnansweredError(ConnectionFailedError):
    """The broker closed the connection or kept silent instead of answering CONNECT: old ones do so to MQTT 5."""


class OversizedError(ConnectionFailedError):
    """The broker began to hand over a message that is too large for us; MQTT 3.1.1 has no way to forbid that."""


class ClosedError(ConnectionFailedError):
    """The broker closed a connection that it had accepted, and did not say why."""


def place(settings: BrokerSettings) -> str:
    """`host:port` as a person wrote them, with the default port of MQTT (1883) or of MQTT over TLS (8883)."""
    return f"{settings.host}:{port(settings)}"


def port(settings: BrokerSettings) -> int:
    """The port of the broker: as set, else 1883, or 8883 with TLS."""
    return settings.port or (8883 if settings.tls else 1883)


def refused(code: int, name: str, settings: BrokerSettings, client_id: str) -> ConnectionFailedError:
    """What a reason code of CONNACK or DISCONNECT means; `name` is the standard's name of the code."""
    cap_s, text = _REASONS.get(code, (NEEDS_PERSON_S, f"the broker ended the connection: {name} (0x{code:02X})"))
    will = f", or no right to write {settings.will}" if settings.will else ""
    reason = f"broker {place(settings)}: {text.format(client_id=client_id, will=will)}"
    kind = UnsupportedVersionError if code == UNSUPPORTED_VERSION else ConnectionFailedError
    return kind(reason, cap_s, least_s=THROWN_OUT_S if code == TAKEN_OVER else 0)


def closed_early(settings: BrokerSettings) -> UnansweredError:
    """The connection closed before CONNACK."""
    hint = (
        "if the broker asks for a client certificate, set mqtt.cert_file and mqtt.key_file"
        if settings.tls
        else "check that this is an MQTT port; if it is the TLS port, set mqtt.tls = true"
    )
    return UnansweredError(f"broker {place(settings)} closed the connection without an answer: {hint}")


def unanswered(settings: BrokerSettings) -> UnansweredError:
    """No CONNACK in time."""
    return UnansweredError(f"broker {place(settings)} did not answer CONNECT: check that this is an MQTT port")


def closed(settings: BrokerSettings) -> ClosedError:
    """The connection closed after CONNACK, without a reason."""
    return ClosedError(f"broker {place(settings)} closed the connection: it is tried again")


def oversized(settings: BrokerSettings) -> OversizedError:
    """A message that nobody who means well sends to a topic that we read."""
    return OversizedError(f"broker {place(settings)} sent a message that is too large: it is not read")


def silent(settings: BrokerSettings) -> ConnectionFailedError:
    """The broker does not answer pings: it stands still, or the network is cut."""
    return ConnectionFailedError(f"broker {place(settings)} is silent: it does not answer pings; it is tried again")


def unacknowledged(settings: BrokerSettings) -> ConnectionFailedError:
    """An acknowledgement is missing: with a new connection the message can be sent again (MQTT 5, clause 4.4)."""
    return ConnectionFailedError(
        f"broker {place(settings)} does not acknowledge what it has read (no PUBACK): it is sent again; "
        "check the broker, and what stands between"
    )


def taken_over(settings: BrokerSettings, client_id: str) -> ConnectionFailedError:
    """What connections mean that are closed without a reason again and again: MQTT 3.1.1 cannot say it."""
    failure = refused(TAKEN_OVER, "", settings, client_id)
    failure.reason = failure.reason.replace("another client uses", "probably another client uses")
    failure.least_s, failure.cap_s = SUSPECTED_S
    return failure


def explain(error: OSError | ValueError, settings: BrokerSettings) -> ConnectionFailedError:
    """What an exception of name resolution, TCP or a file means; those of TLS are explained in `mqtt_tls`."""
    where = place(settings)
    if isinstance(error, socket.gaierror | UnicodeError):
        reason = f"the broker's name {settings.host} cannot be resolved: check mqtt.host and the name server"
    elif isinstance(error, ConnectionRefusedError):
        reason = f"broker {where} refused the connection: check that it is running, and mqtt.host and mqtt.port"
    elif isinstance(error, TimeoutError):
        reason = f"broker {where} did not answer in time: check mqtt.host, the network and the firewall"
    elif isinstance(error, OSError):
        reason = f"broker {where} cannot be reached: {error.strerror or error}; check mqtt.host and the network"
    else:
        reason = f"broker {where} cannot be reached: {error}; check mqtt.host"
    return ConnectionFailedError(reason)
