"""Sockets, and who drives them. The only layer that imports zmq."""
