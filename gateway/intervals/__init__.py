"""Intervals that add up: register readings folded into energy per quarter-hour, hour, day and month; pure modules."""
