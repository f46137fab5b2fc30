"""What holds a scheduler: sockets, a clock, and one loop of named steps."""
