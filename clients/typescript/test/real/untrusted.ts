/** A certificate that nobody trusts, of the user API and of the connector: neither is told a password or a token. */

import assert from "node:assert/strict";

import { Client, UntrustedError } from "../../src/index.ts";
import { tcp } from "../../src/node.ts";

const api = process.env["SPARROW_API"] ?? "";
await assert.rejects(Client.open("alice", { api, password: "correct horse", transports: [tcp()] }), UntrustedError);
