/** A stranger's text: shown as text, with addresses of the web as links that tell nobody where they were clicked. */

import type { JSX } from "preact";

const ADDRESS = /\bhttps?:\/\/[^\s<>"']{1,2000}/g;
/** What mostly is not of the address at its end. */
const TAIL = /[.,;:!?)\]}»”]+$/;

export function Text({ text }: { readonly text: string }): JSX.Element {
  return <>{partsOf(text).map((part, at) => (part.isLink ? <Link key={at} address={part.text} /> : part.text))}</>;
}

/** A name within a text of ours, whichever way it runs. For texts that cannot hold a `<bdi>`. */
export function isolated(name: string): string {
  return `\u2068${name}\u2069`;
}

function Link({ address }: { readonly address: string }): JSX.Element {
  return (
    <a href={address} target="_blank" rel="noopener noreferrer nofollow">
      {address}
    </a>
  );
}

interface Part {
  readonly text: string;
  readonly isLink: boolean;
}

/** Cuts a text into links and what is between. */
export function partsOf(text: string): Part[] {
  const parts: Part[] = [];
  let done = 0;
  for (const match of text.matchAll(ADDRESS)) {
    const address = match[0].replace(TAIL, "");
    if (!URL.canParse(address)) {
      continue;
    }
    parts.push({ text: text.slice(done, match.index), isLink: false }, { text: address, isLink: true });
    done = match.index + address.length;
  }
  parts.push({ text: text.slice(done), isLink: false });
  return parts.filter((part) => part.text !== "");
}
