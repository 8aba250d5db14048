// Where a clip comes from: a file that is chosen or dropped, or a path, which becomes the page's address so that it can be
// sent to others and gone back to.

import { byId } from "./dom.js";
import { browse } from "./files.js";

export function watchSource(open, failed) {
  const chooser = byId("file");
  const part = () => Object.fromEntries(["start", "end"].map((id) => [id, byId(id).value]).filter(([, value]) => value));
  const take = (file) => file && open({ file }, part());
  chooser.addEventListener("change", () => {
    take(chooser.files[0]);
    chooser.value = ""; // The same file chosen again is to be looked at again.
  });
  byId("path-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const given = byId("path").value.trim();
    if (given) goTo({ [isUrl(given) ? "url" : "path"]: given, ...part() });
  });
  byId("path-browse").addEventListener("click", () => browse({ kinds: ["folder", "video"], failed, taken: (path) => {
    byId("path").value = path;
    goTo({ path, ...part() });
  } }));
  watchDrops(take);
}

export function goTo(fields) {
  const hash = `#look?${new URLSearchParams(fields)}`;
  if (location.hash === hash) window.dispatchEvent(new HashChangeEvent("hashchange"));
  else location.hash = hash;
}

export function linkTo(fields) {
  return `#look?${new URLSearchParams(fields)}`;
}

// Anywhere on the view: a drop beside the frame would have the browser leave the page for the file.
function watchDrops(take) {
  const view = byId("view-look");
  const zone = byId("drop");
  const hasFile = (event) => !view.hidden && [...event.dataTransfer.types].includes("Files");
  window.addEventListener("dragover", (event) => {
    if (!hasFile(event)) return;
    event.preventDefault();
    zone.classList.add("over");
  });
  window.addEventListener("dragleave", (event) => event.relatedTarget ?? zone.classList.remove("over"));
  window.addEventListener("drop", (event) => {
    if (!hasFile(event)) return;
    event.preventDefault();
    zone.classList.remove("over");
    take(event.dataTransfer.files[0]);
  });
}

function isUrl(text) {
  return /^https?:\/\//i.test(text);
}
