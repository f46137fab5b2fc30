"""Who starts and ends the processes of engines. A launcher knows what to start, and nothing of what it does."""
