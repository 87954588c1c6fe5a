// What happened to a material, oldest first.

import { call } from "./api.js";
import { session } from "./session.js";
import { fullTime, shown } from "./words.js";

const EVENTS = {
  created: "Uploaded", claimed: "Reading began", lease_expired: "Its reader was lost", handed_back: "Handed to another reader", attempt_failed: "A try failed",
  completed: "Ready", failed: "Failed", cancelled: "Cancelled", retried: "Put back to be read again", deleted: "Deleted",
};
const list = document.getElementById("history");

/** Fetches the history of a material and shows it. */
export async function showHistory(materialId, signal) {
  list.setAttribute("aria-busy", "true");
  try {
    const changes = await call("GET", `/materials/${encodeURIComponent(materialId)}/history?page_size=200`, { signal });
    list.replaceChildren(...changes.map(entry));
  } catch (problem) {
    if (signal.aborted) return;
    list.replaceChildren(item("failed", problem.message));
  }
  list.removeAttribute("aria-busy");
}

function entry(change) {
  const element = item(change.event, EVENTS[change.event] ?? shown(change.event));
  const facts = document.createElement("p");
  facts.className = "history-facts";
  const time = document.createElement("time");
  time.dateTime = change.created_at;
  time.textContent = fullTime(change.created_at);
  const attempt = change.attempt ? `, attempt ${change.attempt}` : "";
  const actor = change.actor === session().subject ? "you" : shown(change.actor);
  facts.append(time, ` by ${actor}${attempt}`);
  element.append(facts);
  if (change.message) {
    const message = document.createElement("p");
    message.className = "history-message";
    message.dir = "auto";
    message.textContent = shown(change.message);
    element.append(message);
  }
  return element;
}

function item(event, words) {
  const element = document.createElement("li");
  element.dataset.event = event;
  const title = document.createElement("p");
  title.className = "history-event";
  title.textContent = words;
  element.append(title);
  return element;
}
