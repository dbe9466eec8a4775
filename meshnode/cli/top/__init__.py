"""`meshtop`: the live screen of a node. Needs textual, the extra `top`."""
