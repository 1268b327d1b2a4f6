"""`meterd decode --explain` of M-Bus records: in words, and without what names the meter."""

import pytest

from gateway import cli, profiles


def test_records_are_explained_and_numbers_of_the_meter_stay_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    path = profiles.shipped().joinpath("frames/mbus-nzr-dhz.mbus")
    assert cli.main(["decode", "--explain", str(path)]) == 0
    out = capsys.readouterr().out
    assert "mbus:04837f    1274 Wh " in out
    assert "energy, VIFE 7F" in out
    assert "mbus:0c78      (8 characters)" in out
    assert "30100608" not in out
    assert "a_import_wh    1274" in out


def test_data_of_the_maker_are_counted_and_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    path = profiles.shipped().joinpath("frames/mbus-ime-conto.mbus")
    assert cli.main(["decode", "--explain", str(path)]) == 0
    out = capsys.readouterr().out
    assert "(10 characters)" in out
    assert "0000000000" not in out


def test_a_meter_of_another_medium_shows_its_sub_meter_reading(capsys: pytest.CaptureFixture[str]) -> None:
    path = profiles.shipped().joinpath("frames/mbus-generic-water.mbus")
    assert cli.main(["decode", "--explain", str(path)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "sub-meter" in line]
    assert line.split()[:2] == ["item", "P"]
    assert line.endswith("m3, measured")
