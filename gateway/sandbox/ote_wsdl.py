"""Schema (XSD 1.0) and service description (WSDL 1.1) of the OTE-like profile, as this hub serves them."""

from typing import Final
from xml.sax.saxutils import quoteattr

NAMESPACE: Final = "urn:sandbox:meterd:ote"

_ATTRIBUTES: Final = """
  <xs:attribute name="id" use="required">
   <xs:simpleType><xs:restriction base="xs:token">
    <xs:pattern value="[0-9]{1,20}"/>
   </xs:restriction></xs:simpleType>
  </xs:attribute>
  <xs:attribute name="message-code" use="required" type="xs:NMTOKEN"/>
  <xs:attribute name="date-time" use="required" type="xs:dateTime"/>
  <xs:attribute name="dtd-version" use="required" fixed="1"/>
  <xs:attribute name="dtd-release" use="required" fixed="1"/>
  <xs:attribute name="answer-required" type="xs:boolean"/>
  <xs:attribute name="language" type="xs:language"/>"""

#: quantities, statuses and periods are judged by gateway.sandbox.ote_rules, so that they are answered by a reason
XSD: Final = f"""<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns="{NAMESPACE}"
  targetNamespace="{NAMESPACE}" elementFormDefault="qualified">
 <xs:complexType name="Party">
  <xs:attribute name="id" use="required" type="xs:token"/>
  <xs:attribute name="coding-scheme" use="required">
   <xs:simpleType><xs:restriction base="xs:token">
    <xs:enumeration value="14"/><xs:enumeration value="15"/>
   </xs:restriction></xs:simpleType>
  </xs:attribute>
 </xs:complexType>
 <xs:complexType name="Data">
  <xs:attribute name="period" use="required">
   <xs:simpleType><xs:restriction base="xs:token">
    <xs:pattern value="[1-9][0-9]?[0-9]?"/>
   </xs:restriction></xs:simpleType>
  </xs:attribute>
  <xs:attribute name="value" type="xs:token"/>
  <xs:attribute name="unit" use="required" type="xs:token"/>
  <xs:attribute name="status" use="required" type="xs:token"/>
 </xs:complexType>
 <xs:complexType name="ProfileData">
  <xs:sequence><xs:element name="Data" type="Data" maxOccurs="100"/></xs:sequence>
  <xs:attribute name="profile-role" use="required" type="xs:token"/>
  <xs:attribute name="resolution" use="required" type="xs:token"/>
 </xs:complexType>
 <xs:complexType name="Location">
  <xs:sequence><xs:element name="ProfileData" type="ProfileData" maxOccurs="4"/></xs:sequence>
  <xs:attribute name="opm-id" use="required" type="xs:token"/>
  <xs:attribute name="date-from" use="required" type="xs:date"/>
  <xs:attribute name="date-to" use="required" type="xs:date"/>
  <xs:attribute name="version" use="required" type="xs:positiveInteger"/>
 </xs:complexType>
 <xs:complexType name="Message">
  <xs:sequence>
   <xs:element name="SenderIdentification" type="Party"/>
   <xs:element name="ReceiverIdentification" type="Party"/>
   <xs:element name="Location" type="Location" maxOccurs="2000"/>
  </xs:sequence>{_ATTRIBUTES}
 </xs:complexType>
 <xs:complexType name="Response">
  <xs:sequence>
   <xs:element name="SenderIdentification" type="Party"/>
   <xs:element name="ReceiverIdentification" type="Party"/>
   <xs:element name="Reference"><xs:complexType>
    <xs:attribute name="id" use="required" type="xs:token"/>
   </xs:complexType></xs:element>
   <xs:element name="Reason" maxOccurs="1000"><xs:complexType><xs:simpleContent><xs:extension base="xs:string">
    <xs:attribute name="code" use="required" type="xs:NMTOKEN"/>
    <xs:attribute name="type" use="required" type="xs:NMTOKEN"/>
   </xs:extension></xs:simpleContent></xs:complexType></xs:element>
  </xs:sequence>{_ATTRIBUTES}
 </xs:complexType>
 <xs:element name="CDSDATA" type="Message"/>
 <xs:element name="CDSGASDATA" type="Message"/>
 <xs:element name="RESPONSE" type="Response"/>
 <xs:element name="GASRESPONSE" type="Response"/>
</xs:schema>
"""

#: operation -> request and answer
_OPERATIONS: Final = {"SendData": ("CDSDATA", "RESPONSE"), "SendGasData": ("CDSGASDATA", "GASRESPONSE")}
_LITERAL: Final = '<soap:body use="literal"/>'


def wsdl(address: str) -> str:
    """The service description: document/literal over HTTP, the schema within; `address` is where it answers."""
    messages = "".join(
        f' <wsdl:message name="{root}"><wsdl:part name="document" element="t:{root}"/></wsdl:message>\n'
        for pair in _OPERATIONS.values()
        for root in pair
    )
    port = "".join(
        f' <wsdl:operation name="{name}"><wsdl:input message="t:{ask}"/>'
        f'<wsdl:output message="t:{say}"/></wsdl:operation>\n'
        for name, (ask, say) in _OPERATIONS.items()
    )
    binding = "".join(
        f' <wsdl:operation name="{name}"><soap:operation soapAction="{NAMESPACE}/{name}"/>'
        f"<wsdl:input>{_LITERAL}</wsdl:input><wsdl:output>{_LITERAL}</wsdl:output></wsdl:operation>\n"
        for name in _OPERATIONS
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<wsdl:definitions name="OteSandbox" targetNamespace="{NAMESPACE}" xmlns:t="{NAMESPACE}"
  xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/">
<wsdl:types>
{XSD}</wsdl:types>
{messages}<wsdl:portType name="Cds">
{port}</wsdl:portType>
<wsdl:binding name="CdsSoap" type="t:Cds">
<soap:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>
{binding}</wsdl:binding>
<wsdl:service name="CdsService"><wsdl:port name="CdsPort" binding="t:CdsSoap">
<soap:address location={quoteattr(address)}/></wsdl:port></wsdl:service>
</wsdl:definitions>
"""
