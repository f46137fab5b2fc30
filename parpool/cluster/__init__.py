"""A controller and its engines as one thing: started, looked after, and ended together."""

from .cluster import Cluster as Cluster
