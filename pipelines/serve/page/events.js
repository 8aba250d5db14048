// Server-sent events by fetch: the browser's own EventSource cannot send a key.

import { request } from "./api.js";

export async function* events(path, signal) {
  const answer = await request(path, { signal });
  let rest = "";
  for await (const chunk of read(answer.body.pipeThrough(new TextDecoderStream()))) {
    const parts = (rest + chunk).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const lines = part.split("\n").filter((line) => line.startsWith("data: "));
      if (lines.length) yield JSON.parse(lines.map((line) => line.slice(6)).join("\n"));
    }
  }
}

// Not every browser can loop over a stream itself.
async function* read(stream) {
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}
