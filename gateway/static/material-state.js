// Where a material stands, in the page's words. Values only.

import { count, when } from "./words.js";

/** The states one can ask for, in the order of a material's life: `[processing_status, word]`. */
export const STATES = [["pending", "Waiting"], ["processing", "Reading"], ["completed", "Ready"], ["failed", "Failed"]];

const ICONS = { waiting: "i-clock", reading: "i-pages", ready: "i-check", failed: "i-alert", stopped: "i-stop" };
const STAGES = { opening: "Opening", reading: "Reading", indexing: "Indexing" };

/** Whether it has ended, well or not. */
export const hasEnded = (material) => ["completed", "failed"].includes(material.processing_status);

/** `{tone, icon, word, note, share}`; `share` is the part done, 0 to 1, null where that is not known, undefined where there is nothing to do. */
export function describe(material) {
  const described = { note: "", ...[waiting, reading, ready, failed].map((look) => look(material)).find(Boolean) };
  return { ...described, icon: ICONS[described.tone] };
}

function waiting(material) {
  if (material.processing_status !== "pending") return null;
  const next = material.next_attempt_at && new Date(material.next_attempt_at) > Date.now() ? `next try ${when(material.next_attempt_at)}` : "";
  const done = material.pages_done ? `${material.pages_done} of ${count(material.pages_total, "page")} read` : "";
  return { tone: "waiting", word: "Waiting", note: material.status_message.replace(/^waiting /, "") || next || done };
}

function reading(material) {
  if (material.processing_status !== "processing") return null;
  const { pages_done: done, pages_total: total } = material;
  const pages = total ? `${done} of ${count(total, "page")}` : "";
  return {
    tone: "reading",
    word: STAGES[material.stage] ?? "Reading",
    note: [pages, material.status_message].filter(Boolean).join(", "),
    share: total ? done / total : null,
  };
}

function ready(material) {
  if (material.processing_status !== "completed") return null;
  return { tone: "ready", word: "Ready", note: material.has_embedding ? "" : "No text found" };
}

function failed(material) {
  const cancelled = material.failure_reason === "cancelled";
  return { tone: cancelled ? "stopped" : "failed", word: cancelled ? "Cancelled" : "Failed" };
}
