/**
 * Bundles the page into `userapi/page`, which is committed, and shipped with the user API: whoever runs a server needs no
 * Node. `node build.ts FOLDER` writes somewhere else.
 *
 * Owns the names of the built files. The same sources give the same bytes (tests/web/test_build.py).
 */

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { build } from "esbuild";

const HERE = import.meta.dirname;
const CLIENT = join(HERE, "../clients/typescript/src");

/** One bundle, as text. */
async function bundled(entry: string, define: Record<string, string> = {}): Promise<Uint8Array> {
  const { outputFiles } = await build({
    absWorkingDir: HERE,
    entryPoints: [entry],
    bundle: true,
    write: false,
    minify: true,
    format: "esm",
    target: ["chrome123", "firefox125", "safari17.5"],
    legalComments: "none",
    charset: "utf8",
    jsx: "automatic",
    jsxImportSource: "preact",
    define,
    alias: {
      "sparrow-client": join(CLIENT, "index.ts"),
      "sparrow-client/browser": join(CLIENT, "browser.ts"),
      react: "preact/compat",
      "react-dom": "preact/compat",
      "react/jsx-runtime": "preact/jsx-runtime",
    },
  });
  const [file] = outputFiles;
  if (file === undefined) {
    throw new Error(`${entry} gave no bundle`);
  }
  return file.contents;
}

/** Files of the page by name; what is loaded for ever has a hash of its content in it. */
async function made(): Promise<ReadonlyMap<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  const named = (name: string, content: Uint8Array): string => {
    const hash = createHash("sha256").update(content).digest("hex").slice(0, 8).toUpperCase();
    const whole = `assets/${name.replace(".", `-${hash}.`)}`;
    files.set(whole, content);
    return `/${whole}`;
  };
  const timer = named("timer.js", await bundled(join(CLIENT, "worker/timer.ts")));
  const assets = {
    __SCRIPT__: named("page.js", await bundled("src/main.tsx", { __TIMER__: JSON.stringify(timer) })),
    __STYLE__: named("page.css", await bundled("src/style.css")),
    __ICON__: named("icon.svg", readFileSync(join(HERE, "src/icon.svg"))),
  };
  let html = readFileSync(join(HERE, "src/index.html"), "utf8");
  for (const [place, address] of Object.entries(assets)) {
    html = html.replaceAll(place, address);
  }
  files.set("index.html", new TextEncoder().encode(html));
  return files;
}

const folder = process.argv[2] ?? join(HERE, "../userapi/page");
const files = await made();
rmSync(join(folder, "assets"), { recursive: true, force: true });
mkdirSync(join(folder, "assets"), { recursive: true });
for (const [name, content] of files) {
  writeFileSync(join(folder, name), content);
}
