"""Fixtures of the tests of delivery."""

import pytest

from gateway.delivery.subscriptions import Subscriptions


@pytest.fixture
def subscriptions() -> Subscriptions[str]:
    made: Subscriptions[str] = Subscriptions()
    assert made.learn_generation("g1", "gap") == []
    assert made.link_up() == []
    return made
