import re
from pathlib import Path

import pytest

from gateway.sinks.registers import NAMES, RegisterChanges, exact


def test_names_are_topic_levels_and_end_in_their_unit() -> None:
    for name, named in NAMES.items():
        assert re.fullmatch(r"[a-z0-9_]{1,32}", name)
        assert re.fullmatch(r"1-0:\d+\.\d+\.\d+", named.code)
        assert name.endswith(f"_{named.unit.lower()}" if named.unit else "power_factor")
    assert len({named.code for named in NAMES.values()}) == len(NAMES)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("l1_voltage_v", "1-0:32.7.0"),
        ("l2_voltage_v", "1-0:52.7.0"),
        ("l3_voltage_v", "1-0:72.7.0"),
        ("l1_current_a", "1-0:31.7.0"),
        ("l3_current_a", "1-0:71.7.0"),
        ("l1_p_import_w", "1-0:21.7.0"),
        ("l2_p_export_w", "1-0:42.7.0"),
        ("a_import_t2_wh", "1-0:1.8.2"),
    ],
)
def test_codes_of_the_standard(name: str, code: str) -> None:
    assert NAMES[name].code == code


def test_value_is_exact_in_the_unit_of_the_name() -> None:
    changes = RegisterChanges(["l1_p_import_w", "a_import_t1_wh", "l1_voltage_v"])
    registers = (("1-0:21.7.0", 1234, -3, "kW"), ("1-0:1.8.1", 65238377, -3, "kWh"), ("1-0:32.7.0", 2314, -1, "V"))
    assert list(changes.take(registers)) == [
        ("l1_p_import_w", "1234"),
        ("a_import_t1_wh", "65238377"),
        ("l1_voltage_v", "231.4"),
    ]


def test_only_a_change_beyond_the_deadband_is_published() -> None:
    changes = RegisterChanges(["l1_voltage_v"])
    published = [list(changes.take((("1-0:32.7.0", volts, -1, "V"),))) for volts in (2300, 2303, 2305, 2306, 2300)]
    assert [[value for _, value in row] for row in published] == [["230.0"], [], [], ["230.6"], ["230.0"]]


def test_after_a_reconnection_every_register_is_published_again() -> None:
    changes = RegisterChanges(["l1_voltage_v"])
    row = (("1-0:32.7.0", 2300, -1, "V"),)
    assert list(changes.take(row))
    assert not list(changes.take(row))
    changes.forget()
    assert list(changes.take(row))


def test_another_unit_or_code_is_not_published() -> None:
    changes = RegisterChanges(["l1_voltage_v"])
    assert not list(
        changes.take((("1-0:32.7.0", 2300, -1, "A"), ("1-0:32.7.0", 2300, -1, ""), ("1-0:1.7.0", 1, 0, "V")))
    )


def test_unknown_name_is_refused() -> None:
    with pytest.raises(KeyError):
        RegisterChanges(["l4_voltage_v"])


def test_every_name_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "mqtt.md").read_text()
    for name, named in NAMES.items():
        assert f"| `{name}` | {named.code} |" in page


def test_exact_values_by_name_in_the_unit_of_the_name() -> None:
    registers = (
        ("1-0:21.7.0", 1234, -3, "kW"),
        ("1-0:1.8.1", 5, 0, "MWh"),
        ("1-0:32.7.0", 230, 0, "A"),
        ("1-0:99.7.0", 1, 0, "V"),
    )
    assert exact(registers) == {"l1_p_import_w": (1234, 0), "a_import_t1_wh": (5, 6)}, "a voltage in A is none"
