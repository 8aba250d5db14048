// A clip that the service has scored: its pictures, and what each choice of options keeps of it.

import { getBlob, getJson, sendVideo } from "./api.js";
import { bytesOf, countsBySlot, unpack } from "./bits.js";

export async function openStudy(source, options, { signal, sent }) {
  const told = await sendVideo(`/v1/studies?${new URLSearchParams(options)}`, source, { signal, sent });
  const sheet = await createImageBitmap(await getBlob(told.frames, { signal }));
  return new Study(told, sheet);
}

class Study {
  #told;
  #sheet;
  #reader;

  constructor(told, sheet) {
    this.#told = told;
    this.#sheet = sheet;
    const canvas = new OffscreenCanvas(told.size, told.size);
    this.#reader = canvas.getContext("2d", { willReadFrequently: true });
    this.slots = told.num_frames;
    this.grid = told.grid;
    this.cells = told.grid ** 2;
    this.size = told.size;
    this.patches = this.slots * this.cells;
    ({ name: this.name, facts: this.facts, cameras: this.cameras, presets: this.presets } = told);
    this.presetOptions = told.preset_options;
  }

  // Read anew each time: all slots' pixels at once would be hundreds of megabytes of a long clip.
  pixels(slot) {
    const { columns, size } = this.#told;
    const left = (slot % columns) * size;
    const top = Math.floor(slot / columns) * size;
    this.#reader.drawImage(this.#sheet, left, top, size, size, 0, 0, size, size);
    return this.#reader.getImageData(0, 0, size, size).data;
  }

  async select(options, signal) {
    const told = await getJson(`/v1/studies/${this.#told.id}/selection?${new URLSearchParams(options)}`, { signal });
    const ways = {};
    for (const way of ["kept", "sampling", "difference"]) {
      const bits = unpack(told[way], this.patches);
      ways[way] = { bits, counts: countsBySlot(bits, this.cells) };
    }
    return { ...ways, heat: bytesOf(told.heat) };
  }

  close() {
    this.#sheet.close();
  }
}
