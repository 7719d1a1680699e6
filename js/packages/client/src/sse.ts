/**
 * Parser of text/event-stream, as the HTML standard describes it, for chunks
 * cut anywhere: in the middle of a line or between CR and LF. Comments, `id`,
 * `retry` (the client has its own pauses) and unknown fields are skipped; an
 * event that the end of the stream cuts off is dropped.
 */
export function createParser(on: (type: string, data: string) => void): (chunk: string) => void {
  let rest = "";
  let afterCR = false;
  let type = "";
  let data: string[] = [];

  return (chunk) => {
    if (!chunk) return;
    // A CR has ended the line already; the LF that follows is the same end.
    if (afterCR && chunk[0] === "\n") chunk = chunk.slice(1);
    afterCR = chunk.endsWith("\r");
    const lines = (rest + chunk).split(/\r\n|\r|\n/);
    rest = lines.pop()!;
    for (const line of lines) {
      const [, field, value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line)!;
      if (!line) {
        if (data[0] != null) on(type || "message", data.join("\n"));
        type = "";
        data = [];
      } else if (field === "data") data.push(value);
      else if (field === "event") type = value;
    }
  };
}
