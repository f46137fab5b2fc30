"""What a user holds: the client, and the results of its calls."""
