// One clip of a cache: its row, and below it, once it is opened, its picture and all that the index says.

import { getBlob } from "./api.js";
import { build } from "./dom.js";
import { linkTo } from "./source.js";

// How a cache was made, as far as it matters to which patches a clip keeps; its policy is what the view compares with.
const MADE_WITH = [
  "num_frames", "input_size", "patch_size", "k_keep", "signals", "mv_compensate", "center_prior", "center_sigma", "fuse",
  "w_mv", "w_res", "static_fallback", "static_abs_thresh", "static_rel_thresh", "static_uniform_frames", "anchors",
  "spread", "spread_seed", "mv_inconsistency", "mv_incon_ksize", "res_use_grad", "scale", "suppress", "suppress_slots",
  "suppress_weight", "fit", "merge", "groups", "groups_by", "min_group_frames", "max_group_frames",
  "token_order", "max_pixels", "fps",
];
const COLUMNS = 6;

export function clipRows(cache, clip) {
  const toggle = build("button", { type: "button", className: "plain", textContent: clip.uri || clip.id, "aria-expanded": "false" });
  const row = build("tr", { className: "clip-row" },
    build("td", {}, toggle),
    build("td", { textContent: clip.label ?? "" }),
    build("td", {}, build("span", { className: `badge ${clip.status === "ok" ? "ok" : "failed"}`, textContent: clip.status })),
    build("td", { className: "extra", textContent: clip.codec ?? "" }),
    build("td", { className: "extra number", textContent: clip.frames ?? "" }),
    build("td", { className: "extra id", textContent: clip.id }));
  const inside = build("td", { className: "inside", colSpan: COLUMNS });
  const below = build("tr", { hidden: true }, inside);
  row.addEventListener("click", () => {
    below.hidden = !below.hidden;
    row.classList.toggle("open", !below.hidden);
    toggle.setAttribute("aria-expanded", String(!below.hidden));
    if (!inside.firstChild) fill(inside, cache, clip);
  });
  return [row, below];
}

function fill(inside, cache, clip) {
  const told = Object.entries(clip).filter(([, value]) => value !== null && value !== "");
  const facts = build("dl", {}, ...told.map(([name, value]) =>
    build("div", {}, build("dt", { textContent: name }), build("dd", { textContent: value }))));
  if (clip.status === "ok") {
    const look = build("button", { type: "button", className: "primary", textContent: "Open in Look" });
    look.addEventListener("click", () => (location.hash = linkTo(lookAt(cache, clip))));
    inside.append(picture(cache, clip), build("div", { className: "row" }, look));
  }
  inside.append(facts);
}

// An image element could not send a key.
function picture(cache, clip) {
  const place = build("div", { role: "status", textContent: "Drawing." });
  const path = `/v1/caches/${encodeURIComponent(cache.name)}/clips/${encodeURIComponent(clip.id)}/picture`;
  const slots = innerWidth < 700 ? 4 : 8;
  getBlob(`${path}?slots=${slots}`).then((blob) => {
    const image = build("img", { src: URL.createObjectURL(blob), alt: `Kept patches of ${clip.uri}, in ${slots} of its slots` });
    image.addEventListener("load", () => URL.revokeObjectURL(image.src));
    place.replaceChildren(image);
  }).catch((error) => place.replaceChildren(build("p", { className: "alert", textContent: error.message })));
  return place;
}

function lookAt(cache, clip) {
  const fields = { path: clip.uri };
  for (const name of ["start", "end"]) if (clip[name] !== null && clip[name] !== undefined) fields[name] = clip[name];
  for (const name of MADE_WITH) if ((cache.options[name] ?? null) !== null) fields[name] = cache.options[name];
  return fields;
}
