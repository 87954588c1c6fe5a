// Server-sent events out of the body of a fetch: an EventSource cannot POST.

/** Yields `{name, data}` for each event; `data` is decoded JSON. Comments are left out. `onBytes` is called whenever something came. */
export async function* eventsOf(body, onBytes = () => {}) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let unread = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      onBytes();
      const blocks = (unread + value).split("\n\n");
      unread = blocks.pop();
      yield* blocks.map(parsed).filter(Boolean);
    }
  } finally {
    await reader.cancel();
  }
}

function parsed(block) {
  const fields = new Map(block.split("\n").map((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon), line.slice(colon + 1).trimStart()];
  }));
  return fields.has("data") ? { name: fields.get("event") ?? "message", data: JSON.parse(fields.get("data")) } : null;
}
