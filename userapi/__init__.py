"""HTTP: accounts, logins, friends, devices and files. May import `protocol`, `fabric` and `store`."""
