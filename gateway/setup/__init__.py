"""What `meterd setup` and `meterd detect` find out and write, without a word to a person.

`listen` scans line parameters and knows no meter, `candidates` knows the meters, `suggestion` is the table of one.
"""
