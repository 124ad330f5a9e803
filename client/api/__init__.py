"""The user API, as a client uses it: over HTTP, with the same tokens as the chat connection.

Each module is named like the part of `userapi.endpoints` that it talks to; `web` and `signed` are what they stand on.
"""
