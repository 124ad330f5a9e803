import assert from "node:assert/strict";
import { suite, test } from "node:test";

import { MOST_PIXELS, type Picture, pictureOf, withoutMetadata } from "../src/model/pictures.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const SECRET = "52.5200 N, 13.4050 E";

function bytes(...parts: (string | number[])[]): Bytes {
  return new Uint8Array(
    parts.flatMap((part) => (typeof part === "string" ? Array.from(part, (char) => char.charCodeAt(0)) : part)),
  );
}

const be16 = (value: number): number[] => [value >> 8, value & 0xff];
const be32 = (value: number): number[] => [...be16(value >>> 16), ...be16(value & 0xffff)];
const le16 = (value: number): number[] => be16(value).reverse();
const le32 = (value: number): number[] => be32(value).reverse();

const chunk = (name: string, data: number[]): number[] => [...be32(data.length), ...bytes(name), ...data, 0, 0, 0, 0];
const riff = (name: string, data: number[]): number[] => [
  ...bytes(name),
  ...le32(data.length),
  ...data,
  ...(data.length % 2 ? [0] : []),
];
const segment = (marker: number, data: number[]): number[] => [0xff, marker, ...be16(data.length + 2), ...data];

function png(width: number, height: number): Bytes {
  const head = chunk("IHDR", [...be32(width), ...be32(height), 8, 2, 0, 0, 0]);
  const text = chunk("tEXt", [...bytes(SECRET)]);
  const exif = chunk("eXIf", [...bytes(SECRET)]);
  return bytes([0x89], "PNG\r\n", [0x1a, 0x0a], head, text, exif, chunk("IDAT", [1, 2]), chunk("IEND", []), SECRET);
}

/** Exif of one entry, how to turn the picture, in either order of bytes. */
function exif(orientation: number, isLittle: boolean): number[] {
  const [two, four] = isLittle ? [le16, le32] : [be16, be32];
  const entry = [...two(0x0112), ...two(3), ...four(1), ...two(orientation), ...two(0)];
  return [
    ...bytes("Exif"),
    0,
    0,
    ...bytes(isLittle ? "II" : "MM"),
    ...two(42),
    ...four(8),
    ...two(1),
    ...entry,
    ...four(0),
  ];
}

function jpeg(width: number, height: number, app1: number[]): Bytes {
  const frame = segment(0xc0, [8, ...be16(height), ...be16(width), 3, 0, 0]);
  const tables = segment(0xc4, [0xff, 0xd9, 0]); // no end of the picture
  const scan = [...segment(0xda, [1, 2, 3]), 7, 0xff, 0x00, 0xff, 0xd0, 9];
  const parts = [segment(0xe0, [...bytes("JFIF")]), segment(0xe1, app1), segment(0xe1, [...bytes(SECRET)])];
  return bytes(
    [0xff, 0xd8],
    parts.flat(),
    segment(0xfe, [...bytes(SECRET)]),
    segment(0xe2, [...bytes("ICC_PROFILE"), 0]),
    segment(0xe2, [...bytes("MPF"), 0]),
    frame,
    scan,
    tables,
    scan,
    [0xff, 0xd9],
    SECRET,
  );
}

function gif(width: number, height: number): Bytes {
  const comment = [0x21, 0xfe, SECRET.length, ...bytes(SECRET), 0];
  const loop = [0x21, 0xff, 11, ...bytes("NETSCAPE2.0"), 3, 1, 0, 0, 0];
  const xmp = [0x21, 0xff, 11, ...bytes("XMP DataXMP"), SECRET.length, ...bytes(SECRET), 0];
  const image = [0x2c, 0, 0, 0, 0, ...le16(width), ...le16(height), 0, 2, 1, 0x44, 0];
  const screen = [...le16(width), ...le16(height), 0x80, 0, 0, 1, 2, 3, 4, 5, 6];
  return bytes("GIF89a", screen, loop, comment, xmp, [0x21, 0xf9, 4, 0, 0, 0, 0, 0], image, [0x3b], SECRET);
}

function webp(width: number, height: number): Bytes {
  const size = (value: number): number[] => le32(value - 1).slice(0, 3);
  const head = riff("VP8X", [0x0c, 0, 0, 0, ...size(width), ...size(height)]);
  const chunks = [
    ...head,
    ...riff("VP8 ", [1, 2, 3]),
    ...riff("EXIF", [...bytes(SECRET)]),
    ...riff("XMP ", [...bytes(SECRET)]),
  ];
  return bytes("RIFF", le32(chunks.length + 4), "WEBP", chunks);
}

const MADE: Readonly<Record<Picture["type"], (width: number, height: number) => Bytes>> = {
  "image/png": png,
  "image/jpeg": (width, height) => jpeg(width, height, exif(6, false)),
  "image/gif": gif,
  "image/webp": webp,
};

const textOf = (data: Bytes): string => String.fromCharCode(...data);

suite("pictures", () => {
  for (const [type, make] of Object.entries(MADE)) {
    test(`${type}: its size, and nothing that was written into it`, () => {
      const picture = pictureOf(make(640, 480));
      assert.deepEqual(picture, { type, width: 640, height: 480 });
      const cut = withoutMetadata(make(640, 480), picture);
      assert.ok(!textOf(cut).includes(SECRET));
      assert.deepEqual(pictureOf(cut), picture);
      // What is cut once stays as it is.
      assert.deepEqual(withoutMetadata(cut, picture), cut);
    });

    test(`${type}: too large, or empty`, () => {
      assert.equal(pictureOf(make(0, 480)), undefined);
      const side = Math.ceil(Math.sqrt(MOST_PIXELS)) + 1;
      assert.equal(pictureOf(make(side, side)), undefined);
    });

    test(`${type}: cut short anywhere, it is refused or stays as it is`, () => {
      const whole = make(3, 2);
      for (let length = 0; length < whole.length; length++) {
        const part = whole.slice(0, length);
        const picture = pictureOf(part);
        if (picture !== undefined) {
          assert.ok(withoutMetadata(part, picture).length <= part.length + 36);
        }
      }
    });
  }

  test("what turns a photograph is kept, in either order of bytes", () => {
    for (const isLittle of [true, false]) {
      const photograph = jpeg(8, 6, exif(6, isLittle));
      const cut = withoutMetadata(photograph, pictureOf(photograph) as Picture);
      assert.ok(textOf(cut).includes(textOf(bytes(exif(6, false)))));
      assert.ok(textOf(cut).includes("ICC_PROFILE"));
      assert.ok(!textOf(cut).includes("MPF"));
    }
    const upright = jpeg(8, 6, exif(1, true));
    assert.ok(!textOf(withoutMetadata(upright, pictureOf(upright) as Picture)).includes("Exif"));
  });

  test("what only begins like a picture, or says that it is one", () => {
    for (const data of ["<svg>", "GIF89a", "\x89PNG\r\n", "RIFF....WEBP", "\xff\xd8\xff", "%PDF-1.4"]) {
      assert.equal(pictureOf(bytes(data)), undefined);
    }
  });
});
