// Makes the PNG files of Chromium smaller: it writes them fast, not tight.

import { crc32, deflateSync, inflateSync } from "node:zlib";

/** Packs a picture again, with a palette. The colours of areas and gradients
 * stay what they are, because they are frequent; of the shades at the edges of
 * letters the nearest that there is will do. */
export function pack(png: Buffer): Buffer {
  const { width, height, channels, pixels } = decode(png);
  const counts = new Map<number, number>();
  const colours = Uint32Array.from({ length: width * height }, (_, i) => pixels.readUIntBE(i * channels, 3));
  for (const colour of colours) counts.set(colour, (counts.get(colour) ?? 0) + 1);
  const often = [...counts].sort((a, b) => b[1] - a[1]).map(([colour]) => colour);

  const palette = often.slice(0, 160);
  // The rest is spread over what is left: rare colours may be far from all others.
  for (let near = 64; palette.length < Math.min(256, often.length); near /= 2) {
    for (const colour of often) {
      if (palette.length < 256 && distance(colour, palette[nearest(colour, palette)]!) >= near * near) palette.push(colour);
    }
  }
  const index = new Map(often.map((colour) => [colour, nearest(colour, palette)]));
  const indexed = Buffer.from(Uint8Array.from(colours, (colour) => index.get(colour)!));
  return encode(indexed, width, height, Buffer.from(palette.flatMap((c) => [c >> 16, (c >> 8) & 255, c & 255])));
}

function nearest(colour: number, palette: number[]): number {
  let best = 0;
  let least = Infinity;
  for (let i = 0; i < palette.length && least > 0; i++) {
    const d = distance(colour, palette[i]!);
    if (d < least) [best, least] = [i, d];
  }
  return best;
}

function distance(a: number, b: number): number {
  const [r, g, bl] = [(a >> 16) - (b >> 16), ((a >> 8) & 255) - ((b >> 8) & 255), (a & 255) - (b & 255)];
  return r * r + g * g + bl * bl;
}

function decode(png: Buffer) {
  const data: Buffer[] = [];
  let width = 0;
  let height = 0;
  let channels = 0;
  for (let at = 8; at < png.length; ) {
    const length = png.readUInt32BE(at);
    const type = png.toString("latin1", at + 4, at + 8);
    const body = png.subarray(at + 8, at + 8 + length);
    if (type === "IHDR") {
      width = body.readUInt32BE(0);
      height = body.readUInt32BE(4);
      channels = { 2: 3, 6: 4 }[body[9]!] ?? 0;
      if (body[8] !== 8 || !channels || body[12] !== 0) throw new Error("a kind of PNG that Chromium does not write");
    }
    if (type === "IDAT") data.push(body);
    at += length + 12;
  }
  const raw = inflateSync(Buffer.concat(data));
  const line = width * channels;
  const pixels = Buffer.alloc(line * height);
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (line + 1)]!;
    for (let x = 0; x < line; x++) {
      const a = x >= channels ? pixels[y * line + x - channels]! : 0;
      const b = y > 0 ? pixels[(y - 1) * line + x]! : 0;
      const c = x >= channels && y > 0 ? pixels[(y - 1) * line + x - channels]! : 0;
      pixels[y * line + x] = raw[y * (line + 1) + 1 + x]! + predict(filter, a, b, c);
    }
  }
  return { width, height, channels, pixels };
}

function predict(filter: number, a: number, b: number, c: number): number {
  if (filter === 0) return 0;
  if (filter === 1) return a;
  if (filter === 2) return b;
  if (filter === 3) return (a + b) >> 1;
  const p = a + b - c;
  const [pa, pb, pc] = [Math.abs(p - a), Math.abs(p - b), Math.abs(p - c)];
  return pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
}

function encode(indexed: Buffer, width: number, height: number, palette: Buffer): Buffer {
  // Each line after a zero, for no filter: of indexed pixels neighbours say nothing.
  const lines = Buffer.alloc((width + 1) * height);
  for (let y = 0; y < height; y++) indexed.copy(lines, y * (width + 1) + 1, y * width, (y + 1) * width);
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 3, 0, 0, 0], 8); // 8 bits, palette
  return Buffer.concat([
    Buffer.from("\x89PNG\r\n\x1a\n", "latin1"),
    chunk("IHDR", head),
    chunk("PLTE", palette),
    chunk("IDAT", deflateSync(lines, { level: 9, memLevel: 9 })),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

function chunk(type: string, body: Buffer): Buffer {
  const out = Buffer.alloc(body.length + 12);
  out.writeUInt32BE(body.length, 0);
  out.write(type, 4, "latin1");
  body.copy(out, 8);
  out.writeUInt32BE(crc32(out.subarray(4, 8 + body.length)) >>> 0, 8 + body.length);
  return out;
}
