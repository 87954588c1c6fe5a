// What is said to everybody: by a screen reader (`announce`), or on the screen as well (`toast`).

const GATHER_MS = 600;
const AT_ONCE = 3;
const TOAST_MS = 6000;

const region = document.getElementById("announcer");
const toasts = document.getElementById("toasts");
let lines = [];

/** Says it politely; what comes together is said together, and a crowd is cut short. */
export function announce(text) {
  lines.push(text);
  if (lines.length > 1) return;
  setTimeout(() => {
    const more = lines.length - AT_ONCE;
    region.textContent = lines.slice(0, AT_ONCE).join(". ") + (more > 0 ? `. And ${more} more` : "");
    lines = [];
  }, GATHER_MS);
}

/** Shows it for a few seconds, above everything, an open dialog too. `bad`: whether it tells of a failure. */
export function toast(text, { bad = false } = {}) {
  const element = document.createElement("p");
  element.className = bad ? "toast bad" : "toast";
  element.textContent = text;
  toasts.append(element);
  // Shown anew, so that it lies above a dialog that was opened since.
  toasts.hidePopover();
  toasts.showPopover();
  setTimeout(() => {
    element.remove();
    if (!toasts.firstChild) toasts.hidePopover();
  }, TOAST_MS);
}
