"""Makes `twistd meshnode` known to Twisted."""

from twisted.application.service import ServiceMaker

meshnode = ServiceMaker("meshnode", "meshnode.service", "A full node of a FIPS mesh.", "meshnode")
