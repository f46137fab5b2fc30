"""The brain: which engine runs which task, and what becomes of it.

Nothing in here opens a socket, starts a thread, reads a clock or unpickles a byte. Whoever hosts the brain tells
it what happened and at what time; it answers with :class:`~parpool.core.effects.Effects`, the small values that say
what must now be done in the world. So every order of events can be played to it in a test.
"""
