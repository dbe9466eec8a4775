"""The routing core: peers, dispatch, timers and peering policy; joins the mesh machines to the shells."""
