"""What tells a P1 telegram from another data block where neither has a checksum: for links p1 and iec62056-21."""

import re

#: the first line, with its line end
IDENTIFICATION = rb"/[A-Za-z]{3}[^\r\n\x00/!]{0,72}\r?\n"
#: code and bracket of a data set as P1 telegrams have them (DSMR P1 companion standard 5.0.2 clause 6.4)
DSMR_CODE = rb"\d{1,3}-\d{1,3}:\d{1,3}\.\d{1,3}\.\d{1,3}\("
#: a data block that is no P1 telegram: with STX or the reader's ACK, or with another code first
DATA_BLOCK = re.compile(IDENTIFICATION + rb"(?:\r?\n)*(?:[\x02\x06]|(?!" + DSMR_CODE + rb")[^(\r\n]{1,32}\()")
