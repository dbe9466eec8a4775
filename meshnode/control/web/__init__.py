"""A page to look at the node with a browser; nothing of it comes from anywhere else."""
