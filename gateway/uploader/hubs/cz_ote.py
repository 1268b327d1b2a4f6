"""Czech OTE: values of the previous energy day by SOAP with a client certificate, answered at once.

The documents are a stand-in in a sandbox namespace: those of OTE are given to registered participants only. Nothing
here is called conformant; `schema_folder` is where official schemas go, and production is refused without them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from itertools import groupby
from typing import Final, Literal, TypeAlias

from gateway.exports.rsm012 import is_gs1
from gateway.hub_content import content
from gateway.hub_model import FINAL, Draft, Inbound, Message, Part, PartRow, Reason, Receipt
from gateway.hub_settings import HubSettings
from gateway.imports.record import ImportFileError
from gateway.uploader import answers
from gateway.uploader.hub import FOREIGN_ANSWER, Answer, Build, BuildError, Open, Policy, Session, SessionError
from gateway.uploader.hubs import cz_document as document
from gateway.uploader.hubs import cz_response as response
from gateway.uploader.hubs import cz_soap as soap
from gateway.uploader.hubs.cz_forms import READINGS, Form, forms
from gateway.uploader.hubs.cz_parties import OPERATOR, Commodity, is_eic, number, scheme
from gateway.uploader.schemas import SchemaError

#: a file of values holds at most so many supply points, as clients of the portal do it, and so many values
MOST_POINTS: Final = 50
MOST_INTERVALS: Final = 150_000
MOST_ANSWER: Final = 1 << 20
#: how long the answer to a file may take that a person carries (s)
CARRIED_S: Final = 35 * 86_400
Severity: TypeAlias = Literal["info", "warning", "error"]
#: faults of SOAP 1.1 (clause 4.4.1) that a person must look at
_BLOCKED: Final = ("Client.Authentication", "MustUnderstand", "VersionMismatch")


def adapter(settings: HubSettings) -> "CzOte":
    """The adapter of a hub of kind cz-ote."""
    return CzOte(settings)


@dataclass
class CzOte:
    """OTE, or a sandbox like it."""

    settings: HubSettings
    policy: Policy = field(
        default=Policy(
            max_parts=2 * MOST_POINTS,
            max_intervals=MOST_INTERVALS,
            give_up_s=CARRIED_S,
            kinds=frozenset(("active", "gas")),
            manual=True,
        ),
        init=False,
    )

    @cached_property
    def _forms(self) -> Mapping[str, Form]:
        return forms(self.settings.name, self.settings.schema_folder)

    def build(self, parts: Sequence[Part], about: Build) -> list[Draft]:
        """One message for each point and day, electricity and gas apart; more of them with `bundle`, or in a file."""
        wrong = [(part.slot, why) for part in parts if (why := document.trouble(part))]
        if wrong:
            raise BuildError(wrong[0][1], tuple(slot for slot, _ in wrong))
        drafts = []
        for commodity in READINGS:
            mine = document.order(part for part in parts if document.commodity_of(part) == commodity)
            drafts += [self._draft(commodity, group, about) for group in self._groups(mine, about)]
        return drafts

    def send(self, session: Session, message: Message) -> Receipt:
        """Call the web service: the stored document in an envelope; what is answered is the result.

        What a person carries to the portal waits for the answer that he brings back.
        """
        if message.way == "manual":
            return Receipt("accepted", (Reason("carried", "a person takes it to the portal: import its answer"),))
        try:
            form = self._forms[str(message.about.get("root"))]
        except (SchemaError, KeyError) as error:
            return Receipt("blocked", (Reason("schema_folder", answers.words(str(error))),))
        try:
            answer = session.request(
                "POST",
                form.path,
                operation="send",
                body=soap.wrap(message.body),
                headers={"Content-Type": soap.CONTENT_TYPE, "Accept": "text/xml", "SOAPAction": f'"{form.action}"'},
                token=False,
                max_answer=MOST_ANSWER,
            )
        except SessionError as error:
            return answers.no_answer(error, session)
        return self._judge(answer, session, message)

    def query(self, session: Session, message: Message) -> Receipt:
        """Nothing can be asked: an outcome that is unknown is resolved by the same message once more."""
        return Receipt("pending")

    def inbox(self, session: Session, open_: Open) -> Iterator[Inbound]:
        """Nothing: the answer comes with the call."""
        return iter(())

    def requests(self) -> Mapping[str, str]:
        """Nothing can be asked for."""
        return {}

    def request(self, what: str, arguments: Mapping[str, str], about: Build) -> Draft:
        """Refuse: there is none."""
        raise BuildError(f"OTE is asked for nothing here, so not for {what!r}")

    def daily(self, about: Build, open_: Open) -> Sequence[Draft]:
        """Nothing."""
        return ()

    def file_name(self, message: Message) -> str:
        """Commodity, days and number: `electricity-2026-10-01-2026-10-31-12345678901234.xml`."""
        about = message.about
        return f"{about['commodity']}-{about['first']}-{about['last']}-{message.document}.xml"

    def read_answer(self, data: bytes, open_: Open) -> Inbound:
        """Read RESPONSE or GASRESPONSE as the portal hands it out, with or without an envelope."""
        try:
            root = answers.xml(data, most=MOST_ANSWER)
            said = response.read(soap.unwrap(root) if soap.is_envelope(root) else root, self._forms)
        except (answers.AnswerError, SchemaError) as error:
            raise ImportFileError(str(error).replace("the answer", "the file", 1)) from None
        message = open_.document(said.reference)
        verdict, told = said.verdict, said.told()
        line = f"{said.root} {said.number}: message {said.reference} is {verdict}: {_first(told)}"
        severity: Severity | None = None
        receipts = {}
        if message is None:
            severity, line = "warning", f"{line}; that message was never sent from here, and nothing changes"
        elif why := response.answers(said, message):
            severity, line = "warning", f"{said.root} {said.number}: {why}; nothing changes"
        elif message.state in FINAL:
            severity, line = _late(message, verdict, line)
        else:
            receipts = {message.document: Receipt(verdict, told, reference=said.number, raw=data)}
        facts = {"answer": said.number, "reference": said.reference, "reasons": [list(reason) for reason in told]}
        digest = sha256(data).hexdigest()
        return Inbound(f"file-{digest[:32]}", "response", data, "application/xml", receipts, line, facts, severity)

    def _draft(self, commodity: Commodity, parts: Sequence[Part], about: Build) -> Draft:
        root = READINGS[commodity]
        form = self._form(root, parts)
        sender, receiver = self._parties(commodity, parts)
        name = number(about.new_id())
        head = document.Head(root, form.namespace, name, sender, receiver, about.now)
        body = "".join(document.document(head, parts)).encode()
        try:
            form.xsd.check_octets(body)
        except SchemaError as error:
            reason = f"{form.source} refuses {root}: {error}"
            raise BuildError(reason, tuple(part.slot for part in parts), "schema") from None
        days = [document.day_of_part(part).isoformat() for part in parts]
        facts = {
            "root": root, "commodity": commodity, "first": min(days), "last": max(days),
            "sender": sender, "receiver": receiver, "schema": form.source,
        }  # fmt: skip
        rows = tuple(
            PartRow(
                part.slot,
                part.end,
                part.revision,
                part.transaction,
                content(part.series.intervals, part.series.unit),
                "config",
            )
            for part in parts
        )
        return Draft("readings", "send", name, body, "application/xml", rows, facts, about.way)

    def _groups(self, parts: Sequence[Part], about: Build) -> Iterator[list[Part]]:
        """What shares a message: an answer judges it whole, so that alone each point and day keeps no other back."""
        file = about.way == "manual"
        most = self.policy.max_parts if file else self.settings.bundle or 0
        group: list[Part] = []
        for _, together in groupby(parts, key=(lambda part: part.slot) if most == 1 else document.place):
            found = list(together)
            if group and (most <= 1 or _is_full(group, found, most, file=file)):
                yield group
                group = []
            group = group + found
        if group:
            yield group

    def _form(self, root: str, parts: Sequence[Part]) -> Form:
        slots = tuple(part.slot for part in parts)
        try:
            form = self._forms[root]
        except SchemaError as error:
            raise BuildError(str(error), slots, "schema_folder") from None
        if self.settings.environment == "production" and form.is_sandbox:
            reason = f"no official XSD of {root} is in schema_folder: nothing of the sandbox goes to production"
            raise BuildError(reason, slots, "no_official_schema")
        return form

    def _parties(self, commodity: Commodity, parts: Sequence[Part]) -> tuple[str, str]:
        """Who sends and who receives; a `receiver` counts for the commodity whose kind of code it has."""
        sender, given = self.settings.party or "", self.settings.receiver or ""
        if scheme(sender) is None:
            reason = (
                f"party {sender or 'none'} is neither an EAN of 13 digits nor an EIC of 16 characters with its check"
            )
            raise BuildError(reason, tuple(part.slot for part in parts), "party")
        fits = is_eic(given) if commodity == "gas" else is_gs1(given, 13)
        return sender, given if fits else OPERATOR[commodity]

    def _judge(self, answer: Answer, session: Session, message: Message) -> Receipt:
        """What an answer says of a message; nothing but an answer to it, with status 200, confirms it."""
        try:
            entry = soap.unwrap(answers.xml(answer.body, most=MOST_ANSWER))
            fault = soap.fault_of(entry)
            if fault is not None:
                return _of_fault(fault, answer, session)
            if answer.status == 200:
                said = response.read(entry, self._forms)
                why = response.answers(said, message)
                if why:
                    return answers.receipt(answer, session, "unknown", Reason(FOREIGN_ANSWER, why))
                return answers.receipt(answer, session, said.verdict, *said.told(), reference=said.number)
        except (answers.AnswerError, SchemaError) as error:
            if 200 <= answer.status < 300:
                return answers.unreadable(answer, session, error)
        if 200 <= answer.status < 300:
            return answers.unreadable(answer, session, ValueError("there is no RESPONSE in it"))
        return answers.by_status(answer, session)


def _of_fault(fault: soap.Fault, answer: Answer, session: Session) -> Receipt:
    """What a SOAP fault says: of the client it is refusal, of the server nobody knows whether it came after storing."""
    verdict = answers.verdict(answer.status)
    if verdict not in ("blocked", "busy"):
        client = fault.code.split(".")[0] == "Client"
        verdict = "blocked" if fault.code.startswith(_BLOCKED) else "rejected" if client else "unknown"
    return answers.receipt(answer, session, verdict, Reason(f"soap:{fault.code}", fault.text))


def _is_full(group: Sequence[Part], more: Sequence[Part], most: int, *, file: bool) -> bool:
    """Whether a group takes no more parts: a file counts points, a bundle counts parts."""
    both = [*group, *more]
    points = {part.slot.point for part in both}
    intervals = sum(len(part.series.intervals) for part in both)
    return len(points) > MOST_POINTS or intervals > MOST_INTERVALS or (not file and len(both) > most)


def _first(reasons: Sequence[Reason]) -> str:
    return " ".join(reasons[0]).strip() if reasons else "without a reason"


def _late(message: Message, verdict: str, line: str) -> tuple[Severity | None, str]:
    """An answer to a message that is final already: the same is no news, another one is for a person to look at."""
    if verdict == message.state:
        return None, f"{line}; known"
    return "warning", f"{line}; but it is {message.state} already, and stays so: ask OTE which holds"
