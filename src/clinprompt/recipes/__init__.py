"""Jobs that wire the parts: the only place, with the server, that opens configs."""
