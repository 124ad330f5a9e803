"""What is spoken: frames, streams, fabric records, errors, and both ends' session state machines.

No sockets, no clock, no `await`; imports nothing of ours.
"""
