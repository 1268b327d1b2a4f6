"""How much a check must run to count: sizes that requirements name, in one place."""

#: random ways to cut a stream into pieces, over all captures together
SPLITS = 10_000
#: telegrams with a checksum that are damaged by 1 to 3 flipped bits or by a burst of up to 16 bits
FLIPS = 20_000
#: telegrams without a checksum that are damaged by one flipped bit
FLIPS_UNCHECKED = 5_000
#: octets of noise, and telegrams after it of which none may be lost
NOISE_OCTETS = 10 * 1024 * 1024
AFTER_NOISE = 100
#: octets by which the process may grow meanwhile
NOISE_GROWTH = 2 * 1024 * 1024
#: octets of each hostile stream
HOSTILE_OCTETS = 2 * 1024 * 1024
#: lines of a telegram that no meter sends
HOSTILE_LINES = 100_000
#: sequences of telegrams that a decoder with memory and one without must read alike
SEQUENCES = 400
#: decimal values compared with exact fractions
VALUES = 2_000
#: a chaos run: its duration (s), and what it must have of faults, kinds of them and kills; the short one of `make test`
CHAOS_S, CHAOS_SHORT_S = 600, 90
CHAOS_FAULTS, CHAOS_KINDS, CHAOS_KILLS = 150, 20, 20
#: schedules that are looked at
SCHEDULES = 20
#: days of a soak, and telegrams in each
SOAK_DAYS, SOAK_TELEGRAMS = 30, 8_640
#: days of the soak of `make test`
SOAK_SHORT_DAYS = 0.3
#: telegrams of random histories of registers, over all seeds together
HISTORIES = 10_000
#: readings with hostile registers as line protocol, and registers of each: 100,000 lines together
INJECTIONS = 2_000
INJECTIONS_EACH = 50
#: random histories of a register, folded and compared with rational arithmetic
INTERVAL_HISTORIES = 10_000
#: power cuts and kills -9 of the stores, each; the few of each in `make test`
POWER_CUTS, KILLS, POWER_CUTS_SHORT = 200, 200, 10
#: commits of which the octets at the medium are weighed
WRITTEN_GROUPS, WRITTEN_GROUPS_SHORT = 4_320, 360
#: configurations with random damage that a reload is asked to take over
MUTATED_CONFIGURATIONS = 1_000
#: random histories of store and outboxes, and the steps of each
STORE_EXAMPLES, STORE_STEPS = 150, 60
#: orders to end for each thing that may hang then (100 of each before a release)
STOPS = 2
#: journals with a flipped octet, and journals that were cut off, that must start; the few of each in `make test`
DAMAGED, DAMAGED_SHORT = (1_000, 1_000), (150, 60)
#: messages to test hubs among faults, and kills of the uploader meanwhile; those of `make test`
HUB_MESSAGES, HUB_KILLS = (100_000, 600), (100, 5)
#: points that are built, validated and sent as one day of quarter-hours, the time (s) and memory (MiB) for it
HUB_POINTS, HUB_POINTS_S, HUB_POINTS_MIB = 10_000, 600, 150
