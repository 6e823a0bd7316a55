"""Links, addresses, neighbours and routes: `messages` encodes each item of a plan for rtnetlink."""
