"""What processes of one machine share without sockets: a folder, and memory that outlives whoever wrote it."""
