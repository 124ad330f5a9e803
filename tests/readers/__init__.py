"""Readers of frames in other languages, with the protobuf libraries that authors of clients use.

Each reads length-delimited frames from its standard input, as its platform does that, and writes a line for each
message: what it has read. It ends at the first that it cannot read, with that library's words.
`scripts/install-readers` makes them ready; `test_readers.py` holds them against what the server takes.
"""
