/**
 * What a picture is by its own bytes, and the same picture without what was written into it besides: where it was taken,
 * when, and with what.
 *
 * Owns which kinds are shown: raster ones, whose size is read before anything decodes them. Nobody's word counts.
 */

/** What a browser may be given to decode. */
export interface Picture {
  readonly type: "image/png" | "image/jpeg" | "image/gif" | "image/webp";
  readonly width: number;
  readonly height: number;
}

/** A larger one is no preview: it would fill the memory. */
export const MOST_PIXELS = 40_000_000;

type Bytes = Uint8Array<ArrayBuffer>;

const PNG = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

/** What these bytes are a picture of, by their first ones; undefined: no picture that is shown. */
export function pictureOf(bytes: Bytes): Picture | undefined {
  const found = pngSize(bytes) ?? jpegSize(bytes) ?? gifSize(bytes) ?? webpSize(bytes);
  if (found === undefined || found.width === 0 || found.height === 0 || found.width * found.height > MOST_PIXELS) {
    return undefined;
  }
  return found;
}

/** The picture alone. What cannot be read is given back as it is. */
export function withoutMetadata(bytes: Bytes, { type }: Picture): Bytes {
  const cut = { "image/png": cutPng, "image/jpeg": cutJpeg, "image/gif": cutGif, "image/webp": cutWebp }[type];
  try {
    return joined(cut(bytes));
  } catch (error) {
    if (error instanceof RangeError) {
      return bytes;
    }
    throw error;
  }
}

function starts(bytes: Bytes, with_: readonly number[], at = 0): boolean {
  return with_.every((byte, offset) => bytes[at + offset] === byte);
}

function textAt(bytes: Bytes, at: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}

function view(bytes: Bytes): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function joined(parts: readonly Bytes[]): Bytes {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

// PNG: chunks of a length, a name, and a checksum.

function pngSize(bytes: Bytes): Picture | undefined {
  if (!starts(bytes, PNG) || bytes.length < 24 || textAt(bytes, 12, 4) !== "IHDR") {
    return undefined;
  }
  return { type: "image/png", width: view(bytes).getUint32(16), height: view(bytes).getUint32(20) };
}

/** What decides how it looks. */
const PNG_KEPT = new Set(
  "IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB iCCP cICP sBIT bKGD hIST pHYs sPLT acTL fcTL fdAT".split(" "),
);

function cutPng(bytes: Bytes): Bytes[] {
  const parts = [bytes.subarray(0, PNG.length)];
  for (let at = PNG.length; at < bytes.length;) {
    const name = textAt(bytes, at + 4, 4);
    const end = at + view(bytes).getUint32(at) + 12;
    if (end > bytes.length) {
      throw new RangeError("a chunk is longer than the picture");
    }
    if (PNG_KEPT.has(name)) {
      parts.push(bytes.subarray(at, end));
    }
    if (name === "IEND") {
      break;
    }
    at = end;
  }
  return parts;
}

// JPEG: segments of a marker and a length, up to the scans.

const SOS = 0xda;
const EOI = 0xd9;
const COMMENT = 0xfe;
const ORIENTATION = 0x0112;

function isFrame(marker: number): boolean {
  return marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
}

function jpegSize(bytes: Bytes): Picture | undefined {
  if (!starts(bytes, [0xff, 0xd8, 0xff])) {
    return undefined;
  }
  for (const { marker, at, end } of segments(bytes)) {
    if (isFrame(marker) && end - at >= 9) {
      return { type: "image/jpeg", height: view(bytes).getUint16(at + 5), width: view(bytes).getUint16(at + 7) };
    }
  }
  return undefined;
}

/** Segments in front of the scans; `at`: of the marker. */
function* segments(bytes: Bytes): Generator<{ readonly marker: number; readonly at: number; readonly end: number }> {
  let at = 2;
  while (at + 4 <= bytes.length && bytes[at] === 0xff) {
    const marker = bytes[at + 1] ?? 0;
    if (marker === 0xff) {
      at++;
      continue;
    }
    const end = at + 2 + view(bytes).getUint16(at + 2);
    if (marker === SOS || marker === EOI || end > bytes.length) {
      return;
    }
    yield { marker, at, end };
    at = end;
  }
}

function cutJpeg(bytes: Bytes): Bytes[] {
  const parts: Bytes[] = [];
  let scans = 2;
  let orientation = 1;
  for (const { marker, at, end } of segments(bytes)) {
    scans = end;
    const isApp = marker >= 0xe0 && marker <= 0xef;
    const isColour =
      marker === 0xe0 || marker === 0xee || (marker === 0xe2 && textAt(bytes, at + 4, 11) === "ICC_PROFILE");
    if (marker === 0xe1) {
      orientation = orientationIn(bytes.subarray(at + 4, end)) ?? orientation;
    }
    if (isApp ? isColour : marker !== COMMENT) {
      parts.push(bytes.subarray(at, end));
    }
  }
  const turned = orientation === 1 ? [] : [turnedBy(orientation)];
  return [bytes.subarray(0, 2), ...turned, ...parts, bytes.subarray(scans, endOfJpeg(bytes, scans))];
}

/** Behind the end of the picture, phones put films. Between scans there are segments, too. */
function endOfJpeg(bytes: Bytes, scans: number): number {
  let at = scans;
  while (at + 4 <= bytes.length) {
    const marker = bytes[at + 1] ?? 0;
    if (bytes[at] !== 0xff || marker === 0 || (marker >= 0xd0 && marker <= 0xd7)) {
      at++; // of a scan
    } else if (marker === 0xff) {
      at++;
    } else if (marker === EOI) {
      return at + 2;
    } else {
      at += 2 + view(bytes).getUint16(at + 2);
    }
  }
  return bytes.length;
}

/** How the picture is to be turned, as Exif says it. */
function orientationIn(exif: Bytes): number | undefined {
  if (textAt(exif, 0, 4) !== "Exif" || exif.length < 14) {
    return undefined;
  }
  const data = view(exif.subarray(6));
  const little = data.getUint16(0) === 0x4949;
  const first = data.getUint32(4, little);
  const count = data.getUint16(first, little);
  for (let entry = 0; entry < count; entry++) {
    const at = first + 2 + entry * 12;
    if (data.getUint16(at, little) === ORIENTATION) {
      const found = data.getUint16(at + 8, little);
      return found >= 1 && found <= 8 ? found : undefined;
    }
  }
  return undefined;
}

/** Exif that says how to turn it, and nothing else. */
function turnedBy(orientation: number): Bytes {
  const exif = [0x45, 0x78, 0x69, 0x66, 0, 0, 0x4d, 0x4d, 0, 42, 0, 0, 0, 8, 0, 1];
  const entry = [0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0, 0, 0, 0, 0];
  const length = exif.length + entry.length + 2;
  return new Uint8Array([0xff, 0xe1, length >> 8, length & 0xff, ...exif, ...entry]);
}

// GIF: blocks, of which extensions say what they are.

function gifSize(bytes: Bytes): Picture | undefined {
  if (!["GIF87a", "GIF89a"].includes(textAt(bytes, 0, 6)) || bytes.length < 10) {
    return undefined;
  }
  return { type: "image/gif", width: view(bytes).getUint16(6, true), height: view(bytes).getUint16(8, true) };
}

function cutGif(bytes: Bytes): Bytes[] {
  const data = view(bytes);
  const tableAt = (at: number): number => {
    const packed = data.getUint8(at);
    return packed & 0x80 ? 3 * 2 ** ((packed & 7) + 1) : 0;
  };
  let at = 13 + tableAt(10);
  const parts = [bytes.subarray(0, at)];
  const behindBlocks = (from: number): number => {
    let next = from;
    while (data.getUint8(next) !== 0) {
      next += data.getUint8(next) + 1;
    }
    return next + 1;
  };
  for (;;) {
    const kind = data.getUint8(at);
    if (kind === 0x3b) {
      return [...parts, bytes.subarray(at, at + 1)];
    }
    let end;
    let isKept = true;
    if (kind === 0x21) {
      const label = data.getUint8(at + 1);
      end = behindBlocks(at + 2);
      isKept =
        label === 0xf9 || label === 0x01 || (label === 0xff && /^(NETSCAPE|ANIMEXTS)/.test(textAt(bytes, at + 3, 8)));
    } else if (kind === 0x2c) {
      end = behindBlocks(at + 11 + tableAt(at + 9));
    } else {
      throw new RangeError("a block that is none");
    }
    if (isKept) {
      parts.push(bytes.subarray(at, end));
    }
    at = end;
  }
}

// WebP: RIFF, chunks of a name and a length.

function webpSize(bytes: Bytes): Picture | undefined {
  if (textAt(bytes, 0, 4) !== "RIFF" || textAt(bytes, 8, 4) !== "WEBP" || bytes.length < 30) {
    return undefined;
  }
  const data = view(bytes);
  const size = (width: number, height: number): Picture => ({ type: "image/webp", width, height });
  const whole24 = (at: number): number => data.getUint16(at, true) + data.getUint8(at + 2) * 65536;
  switch (textAt(bytes, 12, 4)) {
    case "VP8X":
      return size(whole24(24) + 1, whole24(27) + 1);
    case "VP8 ":
      return size(data.getUint16(26, true) & 0x3fff, data.getUint16(28, true) & 0x3fff);
    case "VP8L": {
      const bits = data.getUint32(21, true);
      return size((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1);
    }
    default:
      return undefined;
  }
}

const WEBP_EXIF = 0x08;
const WEBP_XMP = 0x04;

function cutWebp(bytes: Bytes): Bytes[] {
  const parts: Bytes[] = [];
  const whole = Math.min(bytes.length, view(bytes).getUint32(4, true) + 8);
  for (let at = 12; at + 8 <= whole;) {
    const name = textAt(bytes, at, 4);
    const length = view(bytes).getUint32(at + 4, true);
    const end = at + 8 + length + (length % 2);
    if (end > bytes.length) {
      throw new RangeError("a chunk is longer than the picture");
    }
    if (name !== "EXIF" && name !== "XMP ") {
      parts.push(name === "VP8X" ? unflagged(bytes.slice(at, end)) : bytes.subarray(at, end));
    }
    at = end;
  }
  const head = bytes.slice(0, 12);
  view(head).setUint32(
    4,
    parts.reduce((sum, part) => sum + part.length, 4),
    true,
  );
  return [head, ...parts];
}

function unflagged(chunk: Bytes): Bytes {
  chunk[8] = (chunk[8] ?? 0) & ~(WEBP_EXIF | WEBP_XMP);
  return chunk;
}
