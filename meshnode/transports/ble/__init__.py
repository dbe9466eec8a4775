"""The Bluetooth LE transport: link frames in L2CAP credit-based channels (spec 04 section 9)."""
