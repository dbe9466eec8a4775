"""`meshctl doctor`: examines this machine on behalf of the node, one verdict per thing that can be wrong."""
