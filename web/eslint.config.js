// The rules are the client's, and so are the linters: `scripts/install-node` installs both.
export { default } from "../clients/typescript/eslint.config.js";
