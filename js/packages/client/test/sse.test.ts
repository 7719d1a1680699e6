import { expect, it } from "vitest";
import { createParser } from "../src/sse.js";

function parse(chunks: string[]) {
  const events: [string, string][] = [];
  const feed = createParser((type, data) => events.push([type, data]));
  chunks.forEach(feed);
  return events;
}

it.each([
  ["data: a\n\n", [["message", "a"]]],
  ["data:a\ndata:  b\ndata\n\n", [["message", "a\n b\n"]]],
  ["event: ended\ndata: {}\n\n", [["ended", "{}"]]],
  ["event: lost\n\ndata: x\n\n", [["message", "x"]]],
  [": comment\n:\nid: 7\nretry: 10\nnonsense\ndata: x\n\n", [["message", "x"]]],
  ["data: a\r\ndata: b\r\n\r\ndata: c\r\rdata: d\n\n", [["message", "a\nb"], ["message", "c"], ["message", "d"]]],
  ["data\n\n", [["message", ""]]],
  ["data: cut off\n", []],
  ["\n\n\n", []],
  ["data: a: b: c\n\n", [["message", "a: b: c"]]],
  ["DATA: no\n data: no\n\n", []],
  ["data: line\u2028separator\u0085\n\n", [["message", "line\u2028separator\u0085"]]],
])("%j", (text, events) => expect(parse([text])).toEqual(events));

it("gives the same events however the text is cut", () => {
  // A generator that is not random, so that a failure comes again.
  let seed = 42;
  const random = (n: number) => (seed = (seed * 48271) % 2147483647) % n;
  const pieces = ["data: x", "data:", "data", "event: ended", "event:", ": note", "id: 1", "retry: 5", "", "", "", "data: {\"a\":1}", "ünïcode: é", "data: 𝄞"];
  const ends = ["\n", "\r", "\r\n"];
  for (let i = 0; i < 3000; i++) {
    let text = "";
    const end = random(4);
    for (let k = random(14) + 1; k; k--) text += pieces[random(pieces.length)]! + (ends[end] ?? ends[random(3)]!);
    const chunks: string[] = [];
    for (let at = 0; at < text.length; ) {
      const n = random(6);
      chunks.push(text.slice(at, at + n));
      at += n;
    }
    expect(parse(chunks), JSON.stringify(chunks)).toEqual(parse([text]));
    expect(parse([...text]), JSON.stringify(text)).toEqual(parse([text]));
  }
});
