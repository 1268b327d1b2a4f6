"""`[[point]]`: every mistake at once, and what holds without a table."""

import pytest

from gateway.settings import SettingsError, load

METER = '[[meter]]\nname = "main"\nport = "/dev/null"\n'


@pytest.fixture
def read(tmp_path):
    def reading(text: str):
        path = tmp_path / "meterd.toml"
        path.write_text(METER + text)
        return load(path)

    return reading


def test_without_a_table(read):
    point = read("").point_of("main")
    assert (point.meter, point.channel, point.id) == ("main", 0, None)
    assert point.intervals == ("PT15M", "PT1H", "P1D", "P1M")
    assert point.max_bound_gap_s == 60


def test_points_of_channels(read):
    settings = read(
        '[[point]]\nmeter = "main"\nid = "8716"\n[[point]]\nmeter = "main"\nchannel = 1\ngas_kwh_per_m3 = "10.55"\n'
    )
    assert settings.point_of("main").id == "8716"
    assert settings.point_of("main", 1).gas_kwh_per_m3 == "10.55"
    assert settings.point_of("main", 2).gas_kwh_per_m3 is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('meter = "mian"', "there is no meter 'mian' (did you mean main?)"),
        ('meter = "main"\ntimezone = "Europe/Atlantis"', "'Europe/Atlantis' is not a time zone"),
        ('meter = "main"\nmax_bound_gap_s = 91', "91 is not allowed"),
        ('meter = "main"\nintervals = ["PT5M"]', "is not allowed"),
        ('meter = "main"\nintervals = ["P1D", "P1D"]', "names a resolution twice"),
        ('meter = "main"\ngas_kwh_per_m3 = "10.55"', "is for the channel of a gas meter"),
        ('meter = "main"\nchannel = 1\ngas_kwh_per_m3 = "0.0"', "0 makes no energy"),
        ('meter = "main"\nchannel = 1\ngas_kwh_per_m3 = 10.55', "10.55 is not allowed"),
        ('meter = "main"\nlike_least = 6', "is more than like_most"),
        ('meter = "main"\nid = "87 16"', "is not allowed"),
        ('meter = "main"\n[[point]]\nmeter = "main"', "channel 0 of 'main' has a point in [[point]] no. 1"),
    ],
)
def test_mistakes(read, text, told):
    with pytest.raises(SettingsError) as error:
        read(f"[[point]]\n{text}\n")
    assert told in str(error.value)
    assert "[[point]]" in str(error.value)
