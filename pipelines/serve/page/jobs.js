// The view of jobs: their list, the one that runs as it goes on, a form for the next.

import { getJson, isAborted, request } from "./api.js";
import { byId, count } from "./dom.js";
import { events } from "./events.js";
import { browse } from "./files.js";
import { JobCard, OPEN } from "./jobcard.js";

const PAGE = 50;
const AGAIN = 3000;

let cards = new Map(); // by id
let following = null;
let listed = 0;

byId("job-form").addEventListener("submit", start);
byId("jobs-older").addEventListener("click", () => guarded(older));
byId("job-browse").addEventListener("click", () => browse({
  kinds: ["folder", "video", "manifest"], folders: true, taken: addInput, failed: (error) => tell(error.message),
}));

export function show() {
  guarded(list);
}

export function hide() {
  following?.abort();
}

async function list() {
  const { jobs, counts } = await getJson(`/v1/jobs?limit=${PAGE}`);
  const before = cards;
  cards = new Map();
  for (const job of jobs) {
    cards.set(job.id, before.get(job.id) ?? new JobCard(job, cancel));
    cards.get(job.id).update(job);
  }
  arrange();
  listed = jobs.length;
  tellMore(counts);
  follow(jobs);
}

async function older() {
  const { jobs, counts } = await getJson(`/v1/jobs?limit=${PAGE}&offset=${listed}`);
  for (const job of jobs) {
    if (!cards.has(job.id)) cards.set(job.id, new JobCard(job, cancel));
    byId("jobs-list").append(cards.get(job.id).element);
  }
  listed += jobs.length;
  tellMore(counts);
}

// Only what is out of place is moved: an element that is moved loses the focus.
function arrange() {
  const home = byId("jobs-list");
  const wanted = [...cards.values()].map((card) => card.element);
  for (const element of [...home.children]) if (!wanted.includes(element)) element.remove();
  wanted.forEach((element, place) => home.children[place] === element || home.insertBefore(element, home.children[place] ?? null));
}

function tellMore(counts) {
  const all = Object.values(counts).reduce((sum, number) => sum + number, 0);
  byId("jobs-older").hidden = listed >= all;
  byId("jobs-empty").hidden = all > 0;
}

// One stream, of the job that is next to change: a browser opens six connections to a service, and the page needs some.
async function follow(jobs) {
  following?.abort();
  const open = jobs.filter((job) => OPEN.includes(job.state));
  const job = open.find((one) => one.state === "running") ?? open.at(-1);
  if (!job) return;
  const abort = (following = new AbortController());
  let last = job;
  try {
    for await (const now of events(`/v1/jobs/${job.id}/events`, abort.signal)) {
      if (now.state !== last.state) say(`${now.cache}: ${now.state}${now.note && now.note !== now.state ? `, ${now.note}` : ""}.`);
      cards.get(now.id)?.update(now);
      last = now;
    }
  } catch (error) {
    if (isAborted(error) || abort.signal.aborted) return;
    tell(error.message);
  }
  if (abort.signal.aborted) return;
  // The stream ends with the job, and with the service, which may be back in a moment.
  await new Promise((resolve) => setTimeout(resolve, OPEN.includes(last.state) ? AGAIN : 0));
  if (!abort.signal.aborted) guarded(list);
}

async function start(event) {
  event.preventDefault();
  const keep = byId("job-keep").value;
  const inputs = linesOf(byId("job-inputs").value);
  const manifest = byId("job-manifest").files[0];
  if (Boolean(inputs.length) === Boolean(manifest)) {
    return tell("Name inputs, or choose a manifest of your own: one of the two.");
  }
  await guarded(async () => {
    const json = {
      cache: byId("job-cache").value.trim(),
      ...(manifest ? { manifest_text: await textOf(manifest) } : { inputs }),
      preset: byId("job-preset").value,
      labels_from_folders: byId("job-labels").checked,
      retry_failed: byId("job-retry").checked,
      prune: [...byId("job-form").querySelectorAll("[name=job-prune]:checked")].map((box) => box.value),
      options: keep ? { k_keep: Number(keep) } : {},
    };
    const job = await getJson("/v1/jobs", { method: "POST", json });
    say(`${job.cache}: ${job.state}, with ${manifest ? manifest.name : count(inputs.length, "input")}.`);
    await list();
  });
}

function addInput(path) {
  byId("job-inputs").value = [...linesOf(byId("job-inputs").value), path].join("\n");
}

function linesOf(text) {
  return text.split("\n").map((line) => line.trim()).filter(Boolean);
}

async function textOf(file) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  } catch {
    throw new Error(`${file.name}: cannot be read as UTF-8 text. Save it as CSV or JSON lines, and choose it again.`);
  }
}

function cancel(job) {
  guarded(async () => {
    cards.get(job.id).update(await (await request(`/v1/jobs/${job.id}`, { method: "DELETE" })).json());
    say(`${job.cache}: cancelled. What it has made stays in the cache.`);
    byId("jobs-list").querySelector("button:not([hidden])")?.focus();
    await list();
  });
}

async function guarded(work) {
  tell("");
  try {
    await work();
  } catch (error) {
    tell(error.message);
  }
}

function tell(error) {
  byId("jobs-alert").textContent = error;
}

function say(text) {
  byId("jobs-status").textContent = text;
}
