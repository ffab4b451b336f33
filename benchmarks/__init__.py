"""How fast gearhorn is, beside bare sockets on the same machine in the same run."""
