// Chooses among what the service has: folders, videos and manifests below its roots, by mouse or by keyboard.

import { getJson } from "./api.js";
import { build, byId, count } from "./dom.js";

const PAGE = 100;
const PAUSE = 150;
const NO_KEY = 401;

const dialog = byId("files");
let wish = null; // kinds that are shown, whether a folder can be taken, what is done with a path and with an error
let at = ""; // "": the roots
let next = null;
let asked = 0;
let typed = 0;

byId("files-close").addEventListener("click", () => dialog.close());
byId("files-up").addEventListener("click", () => go(at.split("/").slice(0, -1).join("/")));
byId("files-more").addEventListener("click", () => list(next));
byId("files-take").addEventListener("click", () => choose(at));
byId("files-begins").addEventListener("input", () => {
  clearTimeout(typed);
  typed = setTimeout(() => list(0), PAUSE);
});

export function browse(wanted) {
  wish = wanted;
  byId("files-list").replaceChildren();
  dialog.showModal();
  go("");
}

function choose(path) {
  dialog.close();
  wish.taken(path);
}

async function go(folder) {
  at = folder;
  byId("files-begins").value = "";
  await list(0);
  // What had the focus has gone with the folder that it stood in.
  if (dialog.open && !dialog.contains(document.activeElement)) firstOf(byId("files-list"))?.focus();
}

async function list(offset) {
  clearTimeout(typed);
  const turn = ++asked;
  const begins = byId("files-begins").value;
  say("files-alert", "");
  try {
    const page = at ? await getJson(address(at, begins, offset)) : await roots(begins);
    if (turn !== asked) return;
    show(page, begins, offset);
  } catch (error) {
    if (turn !== asked) return;
    if (error.status !== NO_KEY) return say("files-alert", error.message);
    dialog.close(); // The field for a key is below it.
    wish.failed(error);
  }
}

function address(folder, begins, offset) {
  const [root, ...below] = folder.split("/");
  const query = new URLSearchParams({ folder: below.join("/"), begins, offset, limit: PAGE });
  return `/v1/roots/${encodeURIComponent(root)}?${query}`;
}

async function roots(begins) {
  const told = await getJson("/v1/roots");
  const names = told.roots.filter((name) => name.toLowerCase().startsWith(begins.toLowerCase()));
  return { entries: names.map((name) => ({ name, path: name, kind: "folder" })), next: null, whole: true };
}

function show(page, begins, offset) {
  const home = byId("files-list");
  const items = page.entries.filter((entry) => wish.kinds.includes(entry.kind)).map(item);
  if (offset) home.append(...items);
  else home.replaceChildren(...items);
  next = page.next;
  byId("files-title").textContent = at || "Roots of the service";
  byId("files-up").hidden = byId("files-take").hidden = !at;
  byId("files-take").hidden ||= !wish.folders;
  const more = byId("files-more");
  if (next === null && more === document.activeElement) items[0]?.firstChild.focus();
  more.hidden = next === null;
  say("files-status", told(home.children.length, begins, page.whole));
}

function item(entry) {
  const folder = entry.kind === "folder";
  const button = build("button", { type: "button", className: "plain" },
    build("span", { textContent: folder ? `${entry.name}/` : entry.name }),
    build("span", { className: "size", textContent: folder ? "" : size(entry.bytes) }));
  button.addEventListener("click", () => (folder ? go(entry.path) : choose(entry.path)));
  return build("li", {}, button);
}

function told(number, begins, whole) {
  const rest = whole ? "" : " The folder has more entries than are looked at: type the path of what is missing.";
  if (number) return `${count(number, "entry", "entries")}${next === null ? "" : " so far"}.${rest}`;
  if (next !== null) return "None so far.";
  if (begins) return `No name here begins with “${begins}”.${rest}`;
  if (!at) return "The service has no roots. Whoever runs it names some with --root NAME=FOLDER.";
  return `Nothing here to choose: ${wish.kinds.map((kind) => `no ${kind}`).join(", ")}. Go up, or put some there.`;
}

function size(bytes) {
  const units = ["B", "kB", "MB", "GB"];
  let unit = 0;
  for (; bytes >= 1000 && unit < units.length - 1; unit++) bytes /= 1000;
  return `${bytes < 10 && unit ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

function firstOf(element) {
  return element.querySelector("button") ?? byId("files-up");
}

function say(id, text) {
  byId(id).textContent = text;
}
