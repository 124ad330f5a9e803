"""For the operator: status, logs, drain, backup, export, removal. Reads what runs; a node serves without it."""
