"""Links through Tor: outbound through its SOCKS port, inbound as an onion service (spec 04 section 7)."""
