// The view that looks at one clip: opens it, shows its slots in step, selects anew with every change.

import { isAborted, sendVideo } from "./api.js";
import { Controls } from "./controls.js";
import { build, byId, count } from "./dom.js";
import { Latest } from "./latest.js";
import { Painter } from "./paint.js";
import { Player } from "./player.js";
import { save } from "./save.js";
import { watchSource } from "./source.js";
import { Strip } from "./strip.js";
import { openStudy } from "./study.js";

const AS_IT_IS = "as it is"; // what the service calls options that no preset has
const SELECTS = ["k_keep", "anchors", "mv_compensate", "preset"];
const GONE = 404;
const FILE_ENDS = { arrow: "arrows", npz: "npz", safetensors: "safetensors" };

let current = null; // source, options, study, painters, selection
let opening = null;
let shownParams = "";

const controls = new Controls(() => current && latest.want(controls.options));
const latest = new Latest((options, signal) => current.study.select(options, signal), drawn, failed);
const strip = new Strip(byId("strip"), (slot) => player.choose(slot));
const player = new Player(drawSlot);

watchSource(open, (error) => say("look-alert", error.message));
byId("work-stop").addEventListener("click", () => opening?.abort());
byId("another").addEventListener("click", () => {
  showSource(byId("source").hidden);
  if (!byId("source").hidden) byId("file").focus();
});
byId("download").addEventListener("click", download);

export function show(params) {
  const asked = params.toString();
  if (!asked) return;
  if (asked === shownParams) {
    showSource(false);
    return;
  }
  const { path, url, ...options } = Object.fromEntries(params);
  byId("path").value = path ?? url ?? "";
  for (const id of ["start", "end"]) byId(id).value = options[id] ?? "";
  byId("path-form").querySelector("details").open = Boolean(options.start || options.end);
  if (path || url) open(path ? { path } : { url }, options, asked);
}

export function hide() {
  player.pause();
}

// Of the options that a link has, those that select are the controls' to say; the rest is how the clip is studied.
async function open(source, asked, params = "") {
  opening?.abort();
  const abort = (opening = new AbortController());
  const options = Object.fromEntries(Object.entries(asked).filter(([name]) => !SELECTS.includes(name)));
  say("look-alert", "");
  say("look-status", "");
  working("Working");
  try {
    const study = await openStudy(source, options, { signal: abort.signal, sent: (share) =>
      share < 1 ? working("Sending", share) : working("Decoding and scoring") });
    controls.offer(study, asked);
    const selection = await study.select(controls.options, abort.signal);
    begin({ source, options, study }, selection);
    shownParams = params;
    // A file that was chosen has no address: that of the clip before must not stand for it.
    if (!params && location.hash.startsWith("#look")) history.replaceState(null, "", "#look");
  } catch (error) {
    if (abort !== opening) return;
    if (isAborted(error)) say("look-status", "Stopped.");
    else say("look-alert", error.message);
    showSource(true);
  } finally {
    if (abort === opening) {
      opening = null;
      byId("work").hidden = true;
    }
  }
}

function begin(clip, selection) {
  latest.stop();
  current?.study.close();
  const { study } = clip;
  const painters = Object.fromEntries(["frame", "heat", "kept", "sampling", "difference"].map((way) =>
    [way, new Painter(byId(`see-${way}`), study.size, study.grid)]));
  current = { ...clip, painters, selection };
  byId("study").hidden = false;
  byId("clip-name").textContent = study.name;
  byId("facts").replaceChildren(...factsOf(study).map((fact) => build("li", { textContent: fact })));
  const source = byId("source");
  // What has the focus is about to go: whoever reads on goes on at the clip.
  const lost = source.contains(document.activeElement);
  showSource(false);
  if (lost) byId("clip-name").focus();
  player.start(study.slots);
  drawn(selection);
  if (byId("view-look").hidden) player.pause();
  say("download-status", "");
  say("look-status", `${study.name} is ready.`);
}

function drawn(selection) {
  current.selection = selection;
  say("look-alert", "");
  byId("most").textContent = `${Math.max(...selection.kept.counts)} at most`;
  strip.show(selection.kept.counts, selection.sampling.counts, current.study.cells);
  drawSlot(player.slot);
}

function drawSlot(slot) {
  if (!current) return;
  const { study, painters, selection } = current;
  const pixels = study.pixels(slot);
  const part = (values) => values.subarray(slot * study.cells, (slot + 1) * study.cells);
  painters.frame.frame(pixels);
  painters.heat.heat(pixels, part(selection.heat));
  for (const way of ["kept", "sampling", "difference"]) {
    painters[way].kept(pixels, part(selection[way].bits));
    byId(`say-${way}`).querySelector("span").textContent = `${selection[way].counts[slot]} of ${study.cells}`;
  }
  strip.at(slot);
  const says = `slot ${slot + 1} of ${study.slots}, frame ${study.facts.frame_ids[slot]}`;
  byId("slot-says").textContent = says;
  byId("slot").setAttribute("aria-valuetext", says);
}

// The service keeps only so many clips at hand, and none over a restart: one that has gone is sent again.
function failed(error) {
  if (error.status === GONE) open(current.source, { ...current.options, ...controls.options }, shownParams);
  else say("look-alert", error.message);
}

async function download() {
  const format = byId("format").value;
  const button = byId("download");
  const query = new URLSearchParams({ ...current.options, ...controls.options, format });
  // The first preset is how the clip was studied, whose own options say it; any other goes before these.
  const { presets, presetOptions } = current.study;
  if (controls.options.preset === AS_IT_IS) query.delete("preset");
  else if (controls.options.preset !== presets[0]) {
    for (const name of presetOptions) if (name !== "mv_compensate") query.delete(name);
  }
  button.disabled = true;
  say("download-status", "Sieving.");
  try {
    const blob = await sendVideo(`/v1/sieve?${query}`, current.source, { kind: "blob" });
    const stem = current.study.name.split("/").at(-1).replace(/\.[^.]*$/, "") || "tokens";
    save(blob, `${stem}.${FILE_ENDS[format]}`);
    say("download-status", `Saved: ${count(Math.ceil(blob.size / 1000), "kB", "kB")}.`);
  } catch (error) {
    say("download-status", "");
    say("look-alert", error.message);
  }
  button.disabled = false;
}

function factsOf({ facts, slots }) {
  return [
    facts.codec,
    `${facts.width} × ${facts.height}`,
    `${Number(facts.fps.toFixed(2))} frames a second`,
    `${count(facts.frames, "frame")}, ${count(slots, "slot")}`,
    `signals: ${facts.signals}`,
  ];
}

function showSource(wanted) {
  const source = byId("source");
  source.hidden = current !== null && !wanted;
  source.classList.toggle("again", current !== null);
  byId("another").setAttribute("aria-expanded", String(!source.hidden));
  if (current !== null && wanted) scrollTo(0, 0);
}

function working(label, share) {
  byId("work").hidden = false;
  if (byId("work-label").textContent !== label) say("look-status", `${label}.`);
  byId("work-label").textContent = label;
  if (share === undefined) byId("work-bar").removeAttribute("value");
  else byId("work-bar").value = share;
}

function say(id, text) {
  byId(id).textContent = text;
}
