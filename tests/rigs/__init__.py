"""Small laboratories on one machine: hosts that are namespaces, cables between them, real nodes, traffic.

Linux, root (or a user namespace that maps to root) and iproute2 are needed. Used by the tests, the demo and bench/.
"""
