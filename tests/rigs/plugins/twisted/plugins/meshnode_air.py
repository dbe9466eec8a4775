"""Offers the radio of tests/rigs/ble_radio.py to nodes whose Python path begins with tests/rigs/plugins."""

from tests.rigs.ble_radio import AirRadioFactory

air = AirRadioFactory()
