"""How `meterd setup` talks: plain lines of 80 columns and questions with a default, or a JSON object per step.

Nothing moves the cursor and nothing has a colour, so that it works over ssh, on a serial console and in a log.
"""

import getpass
import json
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

#: columns of a terminal, less the one in which some of them wrap
WIDTH = 79
#: wrong answers to one question: more come from no person
TRIES = 20


class StoppedError(Exception):
    """Setup cannot go on: a sentence, and the exit code (1 the answer is no, 2 usage)."""

    def __init__(self, reason: str, code: int = 1) -> None:
        super().__init__(reason)
        self.code = code


class Dialogue:
    """Says, asks and reports. `asks` is False where nobody answers: each question then takes its default."""

    def __init__(self, *, asks: bool, as_json: bool) -> None:
        self.asks = asks
        self._as_json = as_json

    def title(self, text: str) -> None:
        """Begin a step."""
        if not self._as_json:
            print(f"\n{text}", flush=True)

    def say(self, text: str) -> None:
        """Say what happened, with its evidence and the next step."""
        if not self._as_json:
            print(_wrapped(text), flush=True)

    def show(self, text: str) -> None:
        """Show what is copied, or looked up: on one line, however long."""
        if not self._as_json:
            print(f"  {text}", flush=True)

    def result(self, step: str, **facts: Any) -> None:
        """Report a step for a program."""
        if self._as_json:
            print(json.dumps({"step": step, **facts}), flush=True)

    def ask(
        self,
        question: str,
        option: str,
        *,
        given: str | None = None,
        default: str | None = None,
        wrong: Callable[[str], str | None] = lambda _: None,
    ) -> str:
        """Take what the option gave, else ask until the answer is allowed; without a person the default, or an end.

        `wrong` says why an answer is not allowed, or None.
        """
        if given is not None or not self.asks:
            return _only(default if given is None else given, option, wrong)
        for _ in range(TRIES):
            answer = self._answer(f"{question}{f' [{default}]' if default else ''}: ") or default or ""
            reason = wrong(answer) if answer else "an answer is needed"
            if reason is None:
                return answer
            self._tell(reason)
        return _no_person()

    def confirm(self, question: str, *, default: bool, unasked: bool | None = None) -> bool:
        """Ask for yes or no; without a person `unasked`, else the default."""
        if not self.asks:
            return default if unasked is None else unasked
        for _ in range(TRIES):
            answer = self._answer(f"{question} [{'Y/n' if default else 'y/N'}]: ").lower()
            if answer in ("", "y", "yes", "n", "no"):
                return default if not answer else answer.startswith("y")
            self._tell("answer y or n")
        return _no_person()

    def choose(self, question: str, choices: Mapping[str, str], default: str) -> str:
        """Ask for the first letter of one of `choices`; without a person the default."""
        letters = ", ".join(f"{key} {text}" for key, text in choices.items())
        return self.ask(f"{question}: {letters}", "", default=default, wrong=lambda answer: _not_in(answer, choices))

    def secret(self, question: str) -> str:
        """Ask without echo; empty where nobody answers, or nothing is entered."""
        return getpass.getpass(f"{question}: ").strip() if self.asks else ""

    def _answer(self, prompt: str) -> str:
        """One line from the terminal, without what no answer can hold; EOFError at its end."""
        out = sys.stderr if self._as_json else sys.stdout
        *before, last = _wrapped(prompt, indent="").split("\n")
        print("\n".join([*before, last]), end=" ", flush=True, file=out)
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return "".join(c for c in line if c.isprintable()).strip()

    def _tell(self, text: str) -> None:
        print(_wrapped(text), flush=True, file=sys.stderr if self._as_json else sys.stdout)


def _wrapped(text: str, indent: str = "  ") -> str:
    """Lines of at most WIDTH columns; a path stays whole."""
    return "\n".join(
        textwrap.wrap(
            text,
            WIDTH,
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def _only(answer: str | None, option: str, wrong: Callable[[str], str | None]) -> str:
    if answer is None:
        raise StoppedError(f"{option} is missing: give it as an option, or answer in a terminal", 2)
    if reason := wrong(answer):
        raise StoppedError(f"{option}: {reason}")
    return answer


def _not_in(answer: str, choices: Mapping[str, str] | Sequence[str]) -> str | None:
    return None if answer in choices else f"answer one of {', '.join(choices)}"


def _no_person() -> NoReturn:
    raise StoppedError(f"{TRIES} answers were not allowed: nothing was written")
