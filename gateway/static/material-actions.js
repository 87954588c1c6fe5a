// What one may do with a material: retry it, cancel it, delete it. The answer goes into the store, so that nobody waits for the event.

import { announce, toast } from "./announcer.js";
import { call, Problem } from "./api.js";
import { count, shown } from "./words.js";

const dialog = document.getElementById("confirm");
const path = (material, verb = "") => `/materials/${material.id}${verb}`;

export class MaterialActions {
  constructor(store) {
    this.store = store;
  }

  retry(material) {
    return this.#try(async () => this.store.put(await call("POST", path(material, ":retry"))));
  }

  cancel(material) {
    return this.#try(async () => this.store.put(await call("POST", path(material, ":cancel"))));
  }

  /** Asks first. */
  async remove(material) {
    if (!(await isConfirmed(material))) return;
    await this.#try(async () => {
      try {
        await call("DELETE", path(material));
      } catch (problem) {
        // It was gone already, or an answer was lost and this is the repeat.
        if (problem.reason !== "MATERIAL_NOT_FOUND") throw problem;
      }
      this.store.remove(material.id);
      announce(`${shown(material.name)} deleted`);
    });
  }

  /** Retries every failed material of a course that another try can mend. */
  retryFailed(course) {
    return this.#try(async () => {
      let retried = 0;
      let answer;
      do {
        answer = await call("POST", `/courses/${encodeURIComponent(course)}/materials:retry-failed`, { body: {} });
        retried += answer.retried;
      } while (answer.remaining > 0 && answer.retried > 0);
      toast(`${count(retried, "material")} will be tried again`);
    });
  }

  async #try(act) {
    try {
      await act();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      toast(problem.message, { bad: true });
    }
  }
}

function isConfirmed(material) {
  document.getElementById("confirm-name").textContent = shown(material.name);
  const done = new AbortController();
  const { promise, resolve } = Promise.withResolvers();
  const on = (target, name, answer) =>
    target.addEventListener(name, (event) => {
      event.preventDefault();
      resolve(answer);
      dialog.close();
    }, { signal: done.signal });
  on(dialog.querySelector("form"), "submit", true);
  on(document.getElementById("confirm-no"), "click", false);
  dialog.addEventListener("close", () => { resolve(false); done.abort(); }, { signal: done.signal });
  dialog.showModal();
  document.getElementById("confirm-no").focus();
  return promise;
}
