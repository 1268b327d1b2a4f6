"""`[[hub]]` and `[notice]`: where validated intervals go, on what ground, as whom, and who is told (docs/hubs)."""

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from gateway.settings_types import Name, PointId, Positive, Strict

HubKind: TypeAlias = Literal["dk-datahub3", "cz-ote", "cz-pnd", "lt-eso", "eu-vhd", "ee-estfeed"]
#: methods whose requests have a budget of their own
Clock = Annotated[str, Meta(pattern=r"\A([01][0-9]|2[0-3]):[0-5][0-9]\Z", description="a time of day, HH:MM")]
Day = Annotated[str, Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\Z", description="a day, YYYY-MM-DD")]
Text = Annotated[str, Meta(min_length=1, max_length=200)]


class HubSettings(Strict, frozen=True):
    """`[[hub]]`: one hub, one party there, one connection."""

    name: Name
    kind: HubKind
    #: production is refused without `party`, `role` and `legal_basis`
    environment: Literal["sandbox", "production"] = "sandbox"
    #: base address of the hub: https://HOST[:PORT][/PATH]; of eu-vhd also mqtts://HOST[:PORT]/TOPIC
    url: str | None = None
    #: ids of `[[point]]` whose data go there on `legal_basis`; those of a received permission come to them
    points: tuple[PointId, ...] = ()
    #: the law, contract or order by which the data go there, in words; it is written into the audit log
    legal_basis: Text | None = None
    #: who we are there: GLN (13 digits) or EIC (16 characters), and in which role (MDR ...)
    party: Annotated[str, Meta(pattern=r"\A[0-9A-Za-z-]{1,16}\Z", description="a GLN or EIC")] | None = None
    role: (
        Annotated[str, Meta(pattern=r"\A[A-Z0-9_]{2,40}\Z", description="a role such as MDR, A58, GRID_OPERATOR")]
        | None
    ) = None
    receiver: Annotated[str, Meta(pattern=r"\A[0-9A-Za-z-]{1,16}\Z", description="a GLN or EIC")] | None = None
    #: carrier, where a hub takes several
    format: Literal["json", "xml"] | None = None
    resolution: Literal["PT15M", "PT1H"] = "PT15M"
    #: first local day that is sent; that of the first start where absent
    since: Day | None = None
    #: daily run, by the local time of each point, plus a jitter that is drawn once for each hub and day
    at: Clock = "05:15"
    jitter_s: Annotated[int, Meta(ge=0, le=43_200)] = 1_800
    #: a day that is not wholly validated waits so long behind its end before it goes with gaps
    wait_h: Annotated[int, Meta(ge=0, le=720)] = 36
    #: on that day of each month, or later, the hub is asked for its sums of the month before, with `sums` as arguments
    #: of `meterd hub request`, and they are compared with ours; 0: never
    sums_on_day: Annotated[int, Meta(ge=0, le=28)] = 0
    sums: dict[str, Text] = msgspec.field(default_factory=dict)
    #: requests to the hub in a minute in all, and by method of the adapter ("peek", "send" ...)
    requests_per_minute: Annotated[int, Meta(ge=1, le=60_000)] = 60
    budget: dict[str, Annotated[int, Meta(ge=1, le=60_000)]] = msgspec.field(default_factory=dict)
    timeout_s: Annotated[float, Meta(ge=1, le=300)] = 30
    #: parts (a point's day in one direction) in one message at most; what the hub takes where absent
    bundle: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    #: whom the hub's operator may call, beside the version in the User-Agent: an address or a name
    contact: Text | None = None
    #: a hub that confirms nothing has taken what it did not reject within it (s); the adapter's own time where absent
    confirm_after_s: Annotated[int, Meta(ge=1, le=2_592_000)] | None = None
    #: how often the hub's queue is asked (s); the adapter's own pace where absent
    inbox_s: Annotated[int, Meta(ge=1, le=86_400)] | None = None
    #: permission administrator: https address under which `/notices` tells items I, J and L; opened as the hub is
    permissions_url: str | None = None
    #: as whom the permission administrator knows the receiver; `receiver` where absent
    permissions_party: Annotated[str, Meta(pattern=r"\A[0-9A-Za-z_.-]{1,64}\Z", description="a name")] | None = None
    #: how often it is asked (s), after how long a silence is told (s), and when data stop for it (h)
    permissions_s: Annotated[int, Meta(ge=1, le=3_600)] = 60
    permissions_late_s: Annotated[int, Meta(ge=1, le=86_400)] = 900
    permissions_stop_h: Annotated[int, Meta(ge=1, le=720)] = 24
    #: OAuth2 client credentials
    token_url: str | None = None
    client_id: Text | None = None
    client_secret_file: str | None = None
    scope: Text | None = None
    #: authority of the token service where that is another host than `url`; the system's where absent
    token_ca_file: str | None = None
    #: when the client secret ends: a secret does not say so itself
    client_secret_expires: Day | None = None
    #: authority of the hub's certificate, and our certificate with its key (PEM)
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    #: exact bytes of messages and answers are kept so long; their hashes stay
    raw_days: Annotated[int, Meta(ge=1, le=3_660)] = 90
    #: cz-pnd: address at which PND delivers; cz-ote: folder of official schemas
    listen: str | None = None
    schema_folder: str | None = None


class NoticeSettings(Strict, frozen=True):
    """`[notice]`: who is told of failures and recoveries, and how."""

    #: e-mail by SMTP with TLS
    smtp_host: Text | None = None
    smtp_port: Annotated[int, Meta(ge=1, le=65_535)] = 465
    smtp_tls: Literal["implicit", "starttls"] = "implicit"
    smtp_username: Text | None = None
    smtp_password_file: str | None = None
    smtp_ca_file: str | None = None
    mail_from: Text | None = None
    mail_to: tuple[Text, ...] = ()
    #: webhook, such as an SMS gateway: POST of `webhook_template`, with {subject} and {text}, JSON where absent
    webhook_url: str | None = None
    webhook_template: Annotated[str, Meta(min_length=1, max_length=4_096)] | None = None
    webhook_content_type: Text = "application/json"
    webhook_token_file: str | None = None
    webhook_ca_file: str | None = None
    #: `<base>/uploader/notice`
    mqtt: bool = True
    #: notices of the same hub that come within it are one digest (s)
    digest_s: Annotated[int, Meta(ge=0, le=86_400)] = 900
    #: what is told again while it lasts (h)
    again_h: Positive = 24
    #: what lasts longer (h) is told to these, too: by the mail server, and by the webhook with a template of its own
    escalate_h: Annotated[int, Meta(ge=1, le=720)] = 24
    escalate_mail_to: tuple[Text, ...] = ()
    escalate_webhook_template: Annotated[str, Meta(min_length=1, max_length=4_096)] | None = None
    #: success is told, too: one notice for each daily run
    success: bool = False
