"""The hub: the controller's memory of tasks. It watches what the scheduler takes in and delivers, and is asked about it."""
