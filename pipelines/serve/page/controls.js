// What selects: how many patches, how many anchors, which camera mode, which preset.

import { build, byId, count } from "./dom.js";

const PERCENT = new Intl.NumberFormat("en-GB", { style: "percent", maximumFractionDigits: 1 });

export class Controls {
  #study = null;
  #changed;

  constructor(changed) {
    this.#changed = changed;
    byId("controls").addEventListener("submit", (event) => event.preventDefault());
    byId("keep").addEventListener("input", (event) => this.#keep(Number(event.target.value), byId("keep-number")));
    byId("keep-number").addEventListener("input", (event) => {
      const wanted = event.target.valueAsNumber;
      if (Number.isInteger(wanted) && wanted >= 1 && wanted <= this.#study.patches) this.#keep(wanted, byId("keep"));
    });
    byId("keep-number").addEventListener("change", () => this.#tell());
    byId("anchors").addEventListener("input", () => this.#change());
    for (const id of ["cameras", "presets"]) byId(id).addEventListener("change", () => this.#change());
  }

  // What a link asks for goes before what is usual.
  offer(study, asked) {
    this.#study = study;
    const usual = study.patches > 2048 ? 2048 : Math.ceil(study.patches / 8);
    this.keep = clamp(Number(asked.k_keep ?? usual), 1, study.patches);
    const slider = byId("keep");
    slider.step = Math.max(1, Math.round(study.cells / 16));
    slider.min = slider.step;
    slider.max = study.patches;
    slider.value = this.keep;
    byId("keep-number").max = study.patches;
    byId("anchors").max = study.slots;
    byId("anchors").value = clamp(Number(asked.anchors ?? 0), 0, study.slots);
    offerChoices("cameras", study.cameras, asked.mv_compensate ?? "median");
    offerChoices("presets", study.presets, asked.preset ?? study.presets[0]);
    this.#tell();
  }

  get options() {
    return {
      k_keep: this.keep,
      anchors: Number(byId("anchors").value),
      mv_compensate: chosen("cameras"),
      preset: chosen("presets"),
    };
  }

  #keep(wanted, other) {
    this.keep = wanted;
    other.value = wanted;
    this.#change();
  }

  #change() {
    this.#tell();
    this.#changed();
  }

  #tell() {
    const { patches, slots } = this.#study;
    if (document.activeElement !== byId("keep-number") || !byId("keep-number").validity.valid) {
      byId("keep-number").value = this.keep;
    }
    const share = PERCENT.format(this.keep / patches);
    byId("keep-share").textContent = `${share} of ${patches.toLocaleString("en-GB")}`;
    byId("keep").setAttribute("aria-valuetext", `${this.keep}, ${share}`);
    const anchors = Number(byId("anchors").value);
    byId("anchors-says").textContent = anchors ? `${count(anchors, "slot")} of ${slots} kept whole` : "no slot kept whole";
  }
}

function offerChoices(id, names, wanted) {
  const group = byId(id);
  group.replaceChildren(...names.map((name) => build("label", {},
    build("input", { type: "radio", name: id, value: name, checked: name === wanted }),
    build("span", { textContent: name }))));
  if (!group.querySelector(":checked")) group.querySelector("input").checked = true;
}

function chosen(id) {
  return byId(id).querySelector(":checked").value;
}

function clamp(value, least, most) {
  return Number.isFinite(value) ? Math.min(most, Math.max(least, Math.round(value))) : least;
}
