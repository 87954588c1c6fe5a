// Files dropped anywhere on the page, whole folders among them.

const overlay = document.getElementById("drop");

/** `target()`: the course that takes them, or null when none does now; `dropped(files)` is called with what was let go. */
export function takeDroppedFiles(target, dropped) {
  let depth = 0;
  const show = (visible) => {
    overlay.hidden = !visible;
    if (visible) overlay.querySelector(".drop-title").textContent = `Drop to upload to ${target()}`;
  };
  const isForUs = (event) => event.dataTransfer?.types.includes("Files") ?? false;

  addEventListener("dragenter", (event) => {
    if (!isForUs(event)) return;
    event.preventDefault();
    depth += 1;
    show(target() !== null);
  });
  addEventListener("dragover", (event) => {
    if (!isForUs(event)) return;
    // Without this the browser opens the file in place of the page.
    event.preventDefault();
    event.dataTransfer.dropEffect = target() === null ? "none" : "copy";
  });
  addEventListener("dragleave", (event) => {
    if (!isForUs(event)) return;
    depth = Math.max(0, depth - 1);
    if (depth === 0) show(false);
  });
  addEventListener("drop", async (event) => {
    if (!isForUs(event)) return;
    event.preventDefault();
    depth = 0;
    show(false);
    if (target() === null) return;
    const files = await filesOf(event.dataTransfer);
    if (files.length > 0) dropped(files);
  });
}

async function filesOf(transfer) {
  // Both must be read before the first await: the browser empties `transfer` after the event.
  const plain = [...transfer.files];
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.() ?? null);
  if (!entries.some((entry) => entry?.isDirectory)) return plain;
  const found = [];
  for (const entry of entries) await collect(entry, found);
  return found;
}

async function collect(entry, found) {
  // What a system keeps for itself, such as .DS_Store, is not material.
  if (!entry || entry.name.startsWith(".")) return;
  if (entry.isFile) {
    found.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return;
    for (const each of some) await collect(each, found);
  }
}
