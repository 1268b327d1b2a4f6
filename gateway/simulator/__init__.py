"""Simulated meters: a household, the registers that measure it, the telegrams they become, and the port they leave by.

Nothing here is imported from the decoders, the sources or item P: a mistake made there cannot be repeated here. What
the simulator believes about a protocol is written down a second time, on purpose.
"""
