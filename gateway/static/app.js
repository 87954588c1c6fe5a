// The page: its parts are made here, once, and told of each other.

import * as address from "./address.js";
import { announce, toast } from "./announcer.js";
import { AnswerPanel } from "./answer-panel.js";
import { CourseFeed } from "./course-feed.js";
import { CoursePicker, forgetCourses, recentCourses, rememberCourse } from "./course-picker.js";
import { takeDroppedFiles } from "./dropped-files.js";
import { MaterialActions } from "./material-actions.js";
import { MaterialList } from "./material-list.js";
import { hasEnded } from "./material-state.js";
import { MaterialStore } from "./material-store.js";
import { Reader } from "./reader.js";
import { SearchPanel } from "./search-panel.js";
import { isEditor, session, startSession } from "./session.js";
import { UploadList } from "./upload-list.js";
import { UploadQueue } from "./upload-queue.js";
import { count, shown } from "./words.js";

const part = (id) => document.getElementById(id);
let course = "";

const store = new MaterialStore((changes) => {
  list.draw(changes);
  drawSummary();
  for (const { id, before, after, isNews } of changes) {
    if (after && reader.materialId === id) reader.update(after);
    if (!after) forget(id);
    if (after && isNews && hasEnded(after) && before?.processing_status !== after.processing_status) announceEnd(after);
  }
});
const actions = new MaterialActions(store);
const reader = new Reader();
const list = new MaterialList(store, {
  open: (material) => reader.open(material),
  retry: (material) => actions.retry(material),
  cancel: (material) => actions.cancel(material),
  remove: (material) => actions.remove(material),
  retryFailed: () => actions.retryFailed(course),
  canRetry: () => isEditor(course),
});
const search = new SearchPanel({
  answers: new AnswerPanel({ opened: openPassage }),
  opened: openPassage,
  changed: (query, mode) => address.write({ q: query, mode: query && mode === "ask" ? "ask" : "" }),
});
const feed = new CourseFeed(store, {
  state: (name) => {
    part("connection").textContent = name === "reconnecting" ? "Reconnecting…" : "";
    if (name === "live") rememberCourse(course);
  },
  refused: (problem) => {
    openCourse("");
    toast(problem.message, { bad: true });
  },
});
const queue = new UploadQueue({
  changed: (upload) => uploads.draw(upload),
  finished: (material, upload) => {
    if (upload.course === course) store.put(material);
    announce(`${shown(material.name)} uploaded`);
  },
  failed: (upload) => announce(`${shown(upload.file.name)} could not be uploaded: ${upload.problem.message}`),
});
const uploads = new UploadList(queue);
const picker = new CoursePicker({ known: knownCourses, chosen: (id) => openCourse(id) });

/** A passage that a search or an answer led to. */
function openPassage(passage) {
  const material = store.get(passage.material_id) ?? { id: passage.material_id, name: passage.material_name };
  reader.open(material, { page: passage.page_number, passage });
}

/** A material is gone: what leads to it goes, too. */
function forget(id) {
  search.forget(id);
  if (reader.materialId !== id) return;
  reader.close();
  toast("This material was deleted");
}

function announceEnd(material) {
  const { processing_status: status, error_message: error } = material;
  announce(`${shown(material.name)} ${status === "completed" ? "is ready" : `failed: ${shown(error ?? "")}`}`);
}

function knownCourses() {
  const granted = Object.keys(session().courses ?? {}).filter((each) => each !== "*").sort();
  return [...new Set([...recentCourses(), ...granted])];
}

function openCourse(chosen, { q = "", mode = "search" } = {}) {
  course = chosen;
  reader.close();
  store.clear();
  list.clearFilter();
  address.write({ course, q, mode: mode === "ask" ? mode : "" });
  part("no-course").hidden = course !== "";
  part("course-page").hidden = course === "";
  showRights();
  document.title = course ? `${shown(course)} · Course materials` : "Course materials";
  if (!course) {
    feed.close();
    return;
  }
  part("course-title").textContent = shown(course);
  search.start(course, q, mode);
  feed.open(course);
}

/** What depends on who is signed in. */
function showRights() {
  picker.show(course);
  search.offerAsking(session().features?.includes("ask") ?? false);
  part("course-chips").replaceChildren(...knownCourses().map((each) => {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.className = "chip";
    chip.textContent = shown(each);
    chip.addEventListener("click", () => openCourse(each));
    return chip;
  }));
  const mayUpload = isEditor(course);
  for (const id of ["upload", "empty-upload", "empty-kinds"]) part(id).hidden = !mayUpload;
  part("empty-title").textContent = mayUpload ? "Drop the first material here" : "Nothing to read here yet";
  part("empty-text").textContent = mayUpload
    ? "A script, a scan, a photo of the board. Watch it being read page by page, then search all of it by meaning."
    : "Your access to this course is for reading. What its teachers upload appears here by itself.";
  list.drawAll();
}

function drawSummary() {
  const materials = store.all();
  const inState = (state) => materials.filter((material) => material.processing_status === state).length;
  const words = [count(materials.length, "material"), some(inState("processing"), "being read"), some(inState("pending"), "waiting")];
  part("course-summary").textContent = store.isComplete ? words.filter(Boolean).join(", ") : "Loading…";
}

const some = (number, words) => (number ? `${number.toLocaleString("en")} ${words}` : "");

function upload(files) {
  queue.add(files, course);
  announce(`${count(files.length, "file")} to upload`);
}

function applyAddress() {
  const wanted = address.read();
  if (wanted.course !== course) openCourse(wanted.course, wanted);
  if (!wanted.material) reader.close();
  else if (reader.materialId !== wanted.material) reader.open({ id: wanted.material }, { page: wanted.page, step: false });
}

for (const id of ["upload", "empty-upload"]) part(id).addEventListener("click", () => part("files").click());
part("files").addEventListener("change", (event) => {
  upload([...event.target.files]);
  // So that the same file can be chosen again.
  event.target.value = "";
});
part("choose-course").addEventListener("click", () => picker.focus());
takeDroppedFiles(() => (course && isEditor(course) && !document.querySelector("dialog[open]") ? course : null), upload);

addEventListener("popstate", applyAddress);
addEventListener("beforeunload", (event) => {
  if (queue.isBusy()) event.preventDefault();
});
addEventListener("keydown", (event) => {
  const isTyping = event.target.closest("input, textarea, dialog");
  if (event.key !== "/" || isTyping || part("course-page").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  part("query").focus();
});

let subject = null;
startSession({
  changed: (signedIn) => {
    if (subject !== null && subject !== signedIn.subject) {
      // Somebody else: nothing of the one before stays in this page.
      location.reload();
      return;
    }
    const isFirst = subject === null;
    subject = signedIn.subject;
    part("page").hidden = false;
    if (!isFirst) {
      showRights();
      return;
    }
    const wanted = address.read();
    const known = knownCourses();
    openCourse(wanted.course || recentCourses()[0] || (known.length === 1 ? known[0] : ""), wanted);
    applyAddress();
  },
  ended: () => {
    forgetCourses();
    location.assign(location.pathname);
  },
});
