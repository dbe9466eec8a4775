"""meshnode: a full node of a FIPS mesh on Twisted."""

__version__ = "0.1.0"
