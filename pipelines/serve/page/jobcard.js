// One job of the list. Changed in place, never made anew: what has the focus keeps it.

import { build, count } from "./dom.js";

export const OPEN = ["queued", "running"];

export class JobCard {
  #state = build("span", { className: "badge" });
  #cancel = build("button", { type: "button", textContent: "Cancel" });
  #bar = build("progress", { max: 1 });
  #counts = build("p");
  #note = build("p");
  #failures = build("ul", { className: "failures" });
  #more = build("details", { hidden: true }, build("summary", { textContent: "Failures" }), this.#failures);

  constructor(job, cancel) {
    const title = build("h3", { textContent: job.cache });
    this.element = build("li", {}, build("div", { className: "job-head" }, title, this.#state, this.#cancel),
      this.#bar, this.#counts, this.#note, this.#more);
    this.#bar.setAttribute("aria-label", `Progress of ${job.cache}`);
    this.#cancel.setAttribute("aria-label", `Cancel ${job.cache}`);
    this.#cancel.addEventListener("click", () => cancel(job));
    this.update(job);
  }

  update(job) {
    const open = OPEN.includes(job.state);
    this.#state.textContent = job.state;
    this.#state.className = `badge ${job.state}`;
    this.#cancel.hidden = !open;
    this.#bar.hidden = job.state !== "running";
    if (job.total) this.#bar.value = job.done / job.total;
    else this.#bar.removeAttribute("value");
    this.#counts.textContent = told(job);
    this.#note.textContent = job.note === job.state ? "" : job.note;
    this.#showFailures(job.summary?.failures ?? []);
  }

  #showFailures(failures) {
    this.#more.hidden = !failures.length;
    this.#more.firstChild.textContent = `${count(failures.length, "failure")}`;
    this.#failures.replaceChildren(...failures.map((failure) => build("li", { textContent: saidOnce(failure) })));
  }
}

// Most messages begin with the file already.
function saidOnce({ uri, error }) {
  return error?.startsWith(uri) ? error : `${uri}: ${error}`;
}

function told(job) {
  const parts = [];
  if (job.state === "queued") parts.push("waits for its turn");
  if (job.total) parts.push(`${job.done.toLocaleString("en-GB")} of ${count(job.total, "clip")}`);
  if (job.failed) parts.push(`${job.failed} failed`);
  if (job.eta !== null) parts.push(`about ${duration(job.eta)} left`);
  if (job.summary?.skipped) parts.push(`${job.summary.skipped} there before`);
  if (job.finished && job.started) parts.push(`took ${duration(job.finished - job.started)}`);
  parts.push(`asked for at ${new Date(job.created * 1000).toLocaleString("en-GB")}`);
  return parts.join(", ");
}

function duration(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}
