"""The gateway of a local network into the mesh (spec 07): names become lent addresses, the kernel translates them."""
