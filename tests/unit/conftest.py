"""Hypothesis builds its table of characters once on a new checkout: that draw is slow."""

from hypothesis import HealthCheck, settings

settings.register_profile("unit", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("unit")
