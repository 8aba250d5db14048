// The view of caches: which there are, and what is in one, a page at a time.

import { getJson } from "./api.js";
import { clipRows } from "./cliprow.js";
import { build, byId, count } from "./dom.js";

const PAGE = 50;

let offset = 0;
let asked = 0;

byId("cache-form").addEventListener("submit", (event) => {
  event.preventDefault();
  turnTo(0);
});
byId("cache").addEventListener("change", () => {
  byId("where").value = "";
  turnTo(0);
});
byId("page-before").addEventListener("click", () => turnTo(offset - PAGE));
byId("page-after").addEventListener("click", () => turnTo(offset + PAGE));

export async function show() {
  await guarded(async () => {
    const { caches } = await getJson("/v1/caches");
    const select = byId("cache");
    const chosen = select.value;
    select.replaceChildren(...caches.map((name) => build("option", { textContent: name, value: name })));
    if (caches.includes(chosen)) select.value = chosen;
    byId("cache-form").hidden = byId("where-help").hidden = !caches.length;
    if (caches.length) await list();
    else say("There is no cache yet. A job makes one.");
  });
}

export function hide() {}

function turnTo(wanted) {
  offset = Math.max(0, wanted);
  guarded(list);
}

async function list() {
  const turn = ++asked;
  const query = new URLSearchParams({ offset, limit: PAGE });
  const where = byId("where").value.trim();
  if (where) query.set("where", where);
  const cache = await getJson(`/v1/caches/${encodeURIComponent(byId("cache").value)}?${query}`);
  if (turn !== asked) return; // Another page was asked for meanwhile.
  byId("clips").hidden = !cache.rows.length;
  byId("clips-rows").replaceChildren(...cache.rows.flatMap((clip) => clipRows(cache, clip)));
  byId("where-help").textContent = `A condition in SQL, of the columns ${cache.columns.join(", ")}.`;
  byId("pages").hidden = cache.total <= PAGE;
  byId("page-before").disabled = offset === 0;
  byId("page-after").disabled = offset + PAGE >= cache.total;
  say(told(cache));
}

function told(cache) {
  if (!cache.total) return byId("where").value.trim() ? "No clip meets that condition." : "The cache is empty.";
  const parts = [`${offset + 1} to ${offset + cache.rows.length} of ${count(cache.total, "clip")}`];
  if (cache.failed) parts.push(`${cache.failed} failed`);
  if (cache.labels.length) parts.push(count(cache.labels.length, "label"));
  parts.push(`${cache.config.k_keep} patches of each`);
  return `${parts.join(", ")}.`;
}

async function guarded(work) {
  byId("caches-alert").textContent = "";
  try {
    await work();
  } catch (error) {
    byId("caches-alert").textContent = error.message;
  }
}

function say(text) {
  byId("caches-status").textContent = text;
}
