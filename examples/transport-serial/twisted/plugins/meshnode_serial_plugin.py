"""Makes the transport known to Twisted, and so to meshnode."""

from meshnode_serial import SerialTransportFactory

serial = SerialTransportFactory()
