"""What `meterd setup` finds out and writes, without a word to a person: ports, lines, meters, brokers, the file.

`listen` scans line parameters and knows no meter, `evidence` knows frames and no port, `recognise` names the meter.
"""
