"""The operator's files: the YAML configuration, the key files, and where they lie (spec 05).

`load` reads the configuration, `keyfile.resolve_identity` finds the identity, `validate.validate` and
`features.unsupported` say whether a node can be started from them, in this order.
"""

from meshnode.config.errors import ConfigError, Place
from meshnode.config.load import Loaded, load, parse
from meshnode.config.schema import Config

__all__ = ["Config", "ConfigError", "Loaded", "Place", "load", "parse"]
