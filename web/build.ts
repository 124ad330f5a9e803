/**
 * Bundles the page into `userapi/page`, the operator's into `sparrow/operator_page/page`, and that of a load test's
 * report into `load/page`. All are committed, and shipped: whoever runs a server needs no Node. `node build.ts FOLDER`
 * writes below that folder.
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

/** Files of a page by name; what is loaded for ever has a hash of its content in it. */
class Files {
  readonly all = new Map<string, Uint8Array>();

  /** Adds an asset; returns its address. */
  add(name: string, content: Uint8Array): string {
    const hash = createHash("sha256").update(content).digest("hex").slice(0, 8).toUpperCase();
    const whole = `assets/${name.replace(".", `-${hash}.`)}`;
    this.all.set(whole, content);
    return `/${whole}`;
  }

  /** Adds the document, which names the assets. */
  addIndex(source: string, assets: Readonly<Record<string, string>>): void {
    let html = readFileSync(join(HERE, source), "utf8");
    for (const [place, address] of Object.entries(assets)) {
      html = html.replaceAll(place, address);
    }
    this.all.set("index.html", new TextEncoder().encode(html));
  }

  write(folder: string): void {
    rmSync(join(folder, "assets"), { recursive: true, force: true });
    mkdirSync(join(folder, "assets"), { recursive: true });
    for (const [name, content] of this.all) {
      writeFileSync(join(folder, name), content);
    }
  }
}

async function chat(): Promise<Files> {
  const files = new Files();
  const timer = files.add("timer.js", await bundled(join(CLIENT, "worker/timer.ts")));
  files.addIndex("src/index.html", {
    __SCRIPT__: files.add("page.js", await bundled("src/main.tsx", { __TIMER__: JSON.stringify(timer) })),
    __STYLE__: files.add("page.css", await bundled("src/style.css")),
    __ICON__: files.add("icon.svg", readFileSync(join(HERE, "src/icon.svg"))),
  });
  return files;
}

async function operator(): Promise<Files> {
  const files = new Files();
  files.addIndex("src/operator/index.html", {
    __SCRIPT__: files.add("operator.js", await bundled("src/operator/main.tsx")),
    __STYLE__: files.add("operator.css", await bundled("src/operator/style.css")),
    __ICON__: files.add("icon.svg", readFileSync(join(HERE, "src/icon.svg"))),
  });
  return files;
}

/** One file that needs no other: what it runs and how it looks are inside, and its policy lets nothing else in. */
async function report(): Promise<string> {
  const script = new TextDecoder().decode(await bundled("src/load/plots.ts")).trim();
  const style = new TextDecoder().decode(await bundled("src/load/style.css")).trim();
  const [runs, looks] = [script, style].map((text) => createHash("sha256").update(text).digest("base64"));
  const policy = `default-src 'none'; script-src 'sha256-${runs}'; style-src 'sha256-${looks}'`;
  const parts: Record<string, string> = {
    policy: `<meta http-equiv="Content-Security-Policy" content="${policy}" />`,
    style: `<style>${style}</style>`,
    script: `<script type="module">${script}</script>`,
  };
  return readFileSync(join(HERE, "src/load/index.html"), "utf8").replaceAll(
    /<!-- (\w+) -->/g,
    (whole, name: string) => parts[name] ?? whole,
  );
}

const root = process.argv[2] ?? join(HERE, "..");
(await chat()).write(join(root, "userapi/page"));
(await operator()).write(join(root, "sparrow/operator_page/page"));
mkdirSync(join(root, "load/page"), { recursive: true });
writeFileSync(join(root, "load/page/report.html"), await report());
