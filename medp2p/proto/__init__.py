"""The protocol core: sans-IO, pure; no trio, sockets, files or clock."""
