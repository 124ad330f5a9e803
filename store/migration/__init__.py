"""From SQLite to Cassandra, while the servers go on working with SQLite (docs/design/migration.md).

`source` notes what is due to be copied; `people`, `talks`, `groups` and `files` say which rows Cassandra is to have of
it; `target` makes it so, `mover` does this for all that is due, and `keyspace` keeps brokers out meanwhile. `back` and
`back_talks` are the way back.
"""
