"""Answers of hubs: what is sound is read, what is hostile is refused in bounded time and memory, by one line."""

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.uploader import answers
from gateway.uploader.answers import AnswerError
from gateway.uploader.hub import Answer, SessionError


class Silent:
    certificate = "ab12"


BOMB = b'<!DOCTYPE a [<!ENTITY x "yyyyyyyyyy">' + b"".join(
    b'<!ENTITY x%d "%s">' % (n, b"&x%s;" % (str(n - 1).encode() if n else b"") * 10) for n in range(30)
)


@pytest.mark.parametrize(
    "body",
    [
        b"<a>\xc3\xa9</a>",
        b"\xef\xbb\xbf<a>\xc3\xa9</a>",
        b"<?xml version='1.0' encoding='ISO-8859-1'?><a>\xe9</a>",
        "<?xml version='1.0' encoding='windows-1250'?><a>é</a>".encode("cp1250"),
        "\ufeff<?xml version='1.0' encoding='UTF-16'?><a>é</a>".encode("utf-16-le"),
        b"<!-- before --><?pi?><a><!-- within -->&#233;</a>",
    ],
)
def test_xml_in_the_encodings_of_hubs(body):
    assert answers.xml(body).text == "é"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "no XML"),
        (b"hello", "no XML"),
        (b"<a><b></a>", "no XML"),
        (b"<a>" * 100_000, "no XML"),
        (b"<a>&x;</a>", "no XML"),
        (BOMB + b"]><a>&x29;</a>", "document type"),
        (b"<?xml version='1.0'?>\n<!-- c -->\n<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>", "document type"),
        (b"\xff\xfe" + "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>".encode("utf-16-le"), "document type"),
        (b"<?xml version='1.0' encoding='utf-7'?><a/>", "not read here"),
        (b"<?xml version='1.0' encoding='utf-8'?><a>\xe9</a>", "encoding"),
        (b"<a>\xed\xa0\x80</a>", "encoding"),
        (b"<a>" + b"<b/>" * 400_000 + b"</a>", "more than"),
        (b"<a " + b" ".join(b'a%d=""' % n for n in range(400_001)) + b"/>", "more than"),
        (b"<a>" + b"x" * (17 << 20) + b"</a>", "more than"),
        (b"<a>\x00</a>", "no XML"),
    ],
)
def test_hostile_xml(body, says):
    with pytest.raises(AnswerError) as caught:
        answers.xml(body)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 400


def test_json_is_read_exactly():
    got = answers.json_value(b'\xef\xbb\xbf{"a": [0.125, 12, "\\u00e9\\ud83d\\ude00", null, true]}')
    assert got == {"a": [Decimal("0.125"), 12, "é😀", None, True]}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"<html>", "no JSON"),
        (b"[" * 200_000, "nested"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "nested"),
        (b"[" + b"[]," * 400_000 + b"[]]", "more than"),
        (b"9" * 5_000, "longer than any"),
        (b"1e999999999", "longer than any"),
        (b"-1." + b"9" * 100, "longer than any"),
        (b"NaN", "no number"),
        (b"-Infinity", "no number"),
        (b'{"status":"SUCCESSFUL","status":"ERROR"}', "twice"),
        (b'"\\ud800"', "UTF-8"),
        (b'{"a":"\xe9"}', "UTF-8"),
        ('{"a":1}'.encode("utf-16"), "UTF-8"),
        (b'"' + b"x" * (17 << 20) + b'"', "more than"),
    ],
)
def test_hostile_json(body, says):
    with pytest.raises(AnswerError) as caught:
        answers.json_value(body)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 400


def test_words_fit_a_log_and_a_terminal():
    assert answers.words("a\r\nb\x1b[31mc\x00\u202e\t d") == "a b [31mc d"
    assert len(answers.words("x" * 10_000)) == answers.MAX_WORDS


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("300", 300),
        (" 0 ", 0),
        ("Sun, 22 Nov 2026 12:00:00 GMT", 3_600),
        ("Sun, 22 Nov 2026 10:00:00 GMT", 0),
        ("99999999999999999999", 86_400),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
    ],
)
def test_retry_after(header, seconds):
    now = 1_795_345_200  # 2026-11-22 11:00 UTC
    assert answers.retry_after_s(Answer(503, {"retry-after": header}, b""), now) == seconds


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, "accepted"), (202, "accepted"), (307, "blocked"), (400, "rejected"), (401, "blocked"), (403, "blocked"),
        (404, "blocked"), (409, "rejected"), (413, "rejected"), (422, "rejected"), (408, "busy"), (429, "busy"),
        (500, "unknown"), (502, "unknown"), (503, "busy"), (504, "unknown"), (599, "unknown"), (100, "unknown"),
    ],
)  # fmt: skip
def test_what_a_status_says_of_a_message(status, verdict):
    got = answers.by_status(Answer(status, {}, b"because\n of \xff"), Silent())
    assert (got.verdict, got.status, got.certificate) == (verdict, status, "ab12")
    assert [one.text for one in got.reasons] == ([] if verdict == "accepted" else ["because of \ufffd"])


@pytest.mark.parametrize(
    ("sent", "person", "verdict"),
    [(True, False, "unknown"), (False, False, "busy"), (False, True, "blocked"), (True, True, "unknown")],
)
def test_what_no_answer_says_of_a_message(sent, person, verdict):
    """What may have been sent is never `busy` or `blocked`: those are surely not at the hub."""
    got = answers.no_answer(SessionError("gone", sent=sent, person=person, retry_after_s=7), Silent())
    assert (got.verdict, got.retry_after_s) == (verdict, 7)


_RSS = """
import resource
from gateway.uploader import answers
cases = [b"<a>" + b"<b c='d'/>" * 130_000 + b"</a>", b"<a>" + b"<b/>x" * 3_000_000, b"[" + b"[]," * 5_000_000,
         b"<a>" + "\U0001f600".encode() * 3_900_000 + b"</a>", b'["' + b"x" * 16_000_000 + b'"]',
         b"[" + b"1," * 390_000 + b"1]"]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for one in cases:
    for read in (answers.xml, answers.json_value):
        try:
            read(one)
        except answers.AnswerError:
            pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_the_largest_answers_take_bounded_memory():
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run([sys.executable, "-c", _RSS], capture_output=True, text=True, check=True, timeout=100, env=env)
    assert int(run.stdout) < 96 << 10
