"""HTTP: accounts and logins so far; the place of friends, devices and files. May import `protocol`, `store`."""
