"""Published schemas of hubs: shipped, compiled once, and they refuse what is wrong."""

import pytest

from gateway.uploader import schemas
from gateway.uploader.schemas import SchemaError

VHD = "eu-eddie-cim/v1_04/vhd/ValidatedHistoricalData_Document_v1.04_annotated.xsd"


def test_a_schema_is_compiled_once():
    assert schemas.xsd(VHD) is schemas.xsd(VHD)


def test_what_is_wrong_is_named_by_its_line():
    with pytest.raises(SchemaError, match="line 2"):
        schemas.xsd(VHD).check_octets(
            b'<VHD_Envelope xmlns="https//eddie.energy/CIM/VHD_v1.04">\n<other/></VHD_Envelope>'
        )
    with pytest.raises(SchemaError, match="no XML"):
        schemas.xsd(VHD).check_octets(b"<a>")


def test_a_schema_that_is_none(tmp_path):
    (tmp_path / "a.xsd").write_text("<a/>")
    with pytest.raises(SchemaError, match="no XSD"):
        schemas.xsd_file(tmp_path / "a.xsd")
    with pytest.raises(SchemaError, match="no XSD"):
        schemas.xsd_file(tmp_path / "absent.xsd")


def test_nothing_is_fetched(tmp_path):
    (tmp_path / "a.xsd").write_text(
        '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:import namespace="urn:b" '
        'schemaLocation="http://127.0.0.1:9/b.xsd"/><xs:element name="a" type="x:b" xmlns:x="urn:b"/></xs:schema>'
    )
    with pytest.raises(SchemaError):
        schemas.xsd_file(tmp_path / "a.xsd")
