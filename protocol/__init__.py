"""What clients and servers say: frames, streams, ids, errors, and both ends' session state machines.

No sockets, no clock, no `await`; imports nothing of ours.
"""
