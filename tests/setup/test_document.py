"""The configuration as text: the template filled in, a meter added, every comment kept."""

import tomllib
from datetime import date

import pytest

from gateway import profiles
from gateway.setup.document import DocumentError, added, filled

TODAY = date(2026, 11, 22)
METER = {"name": "cellar", "port": "/dev/serial/by-id/usb-1", "profile": "nl-dsmr5"}
MQTT = {"host": "broker.example", "port": 8883, "tls": True, "username": 'o"neil\\', "password_file": "/etc/pw"}


def fill(meter=METER, **tables):
    return filled(profiles.template(), meter, {"mqtt": MQTT, "journal": {}} | tables, heard="heard: it", today=TODAY)


def bare(line):
    return line.removeprefix("# ")


def test_what_is_written_is_what_was_meant():
    parsed = tomllib.loads(fill())
    assert parsed == {"meter": [METER], "mqtt": MQTT, "journal": {}} | {
        name: {} for name in tomllib.loads(profiles.template()) if name not in ("meter", "mqtt", "journal")
    }


def test_the_rest_of_the_template_stays_as_it_is():
    """Each line of it is there in its order: as it was, or with a value, or behind a comment."""
    template, lines = profiles.template().splitlines(), fill().splitlines()
    assert len(lines) == len(template) + 2
    assert sum(line.startswith("# Written by `meterd setup` on 2026-11-22") for line in lines) == 1
    lines = [line for i, line in enumerate(lines) if i not in (3, 4)] if lines[3].startswith("# Written") else lines
    keys = {*METER, *MQTT}
    for before, after in zip(template, lines, strict=True):
        assert before == after or bare(before).split(" =")[0] == bare(after).split(" =")[0], (before, after)
        assert before == after or bare(before).split(" =")[0] in keys


def test_without_a_broker_its_table_is_a_comment():
    text = fill(mqtt=None)
    assert "mqtt" not in tomllib.loads(text)
    assert "# [mqtt]\n# host = " in text


def test_a_key_that_the_template_does_not_have_is_added():
    template = profiles.template().replace("# timezone = ", "# something = ")
    text = filled(template, METER | {"timezone": "Europe/Oslo"}, {"mqtt": None}, heard="x", today=TODAY)
    assert tomllib.loads(text)["meter"] == [METER | {"timezone": "Europe/Oslo"}]


def test_a_template_of_another_form_is_refused():
    with pytest.raises(DocumentError, match="mqtt"):
        filled(
            "[[meter]]\nname = 'x'\n[mqtt]\nhost = '''\nhost = \n'''\n", METER, {"mqtt": MQTT}, heard="", today=TODAY
        )


OWN = """# mine
[[meter]]   # the first
name = "main"  # do not change
port = "/dev/ttyUSB0"

# The broker in the attic
[mqtt]
host = "attic"
"""
BASES = {
    "a table behind it": OWN,
    "meters at the end": "[mqtt]\nhost = 'attic'\n[[meter]]\nname = 'main'\nport = '/dev/a'",
    "no end of line": OWN.rstrip("\n"),
    "headers in a text": OWN + 'username = """\n[[meter]]\n# [x]\n"""\n',
    "windows": OWN.replace("\n", "\r\n"),
    "a strange separator": OWN + "# one\u2028line\n",
    "blanks in a header": OWN.replace("[[meter]]", "[[ meter ]]"),
}


@pytest.mark.parametrize("name", BASES)
def test_a_meter_is_added_and_comments_stay(name):
    text = BASES[name]
    changed = added(text, METER, heard="heard: it", today=TODAY)
    before, after = tomllib.loads(text), tomllib.loads(changed)
    assert after == before | {"meter": [*before["meter"], METER]}
    kept = iter(changed.split("\n"))
    assert all(line in kept for line in text.removesuffix("\n").split("\n")), "every line of a person's, in its order"


def test_it_stands_behind_the_other_meter_and_before_the_comment_of_the_next_table():
    changed = added(OWN, METER, heard="heard: it", today=TODAY)
    assert changed.index('name = "cellar"') < changed.index("# The broker in the attic\n[mqtt]")
    assert "\n\n# Added by `meterd setup` on 2026-11-22; heard: it\n[[meter]]\n" in changed


def test_meters_in_one_line_take_no_other():
    with pytest.raises(DocumentError, match="nothing can be added"):
        added('meter = [{name = "main", port = "/dev/a"}]\n', METER, heard="", today=TODAY)
