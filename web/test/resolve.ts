/** Lets tests find the client's sources, as the build and the compiler do. */

import { registerHooks } from "node:module";

const CLIENT: Readonly<Record<string, string>> = {
  "sparrow-client": new URL("../../clients/typescript/src/index.ts", import.meta.url).href,
  "sparrow-client/browser": new URL("../../clients/typescript/src/browser.ts", import.meta.url).href,
};

registerHooks({
  resolve: (specifier, context, next) => next(CLIENT[specifier] ?? specifier, context),
});
