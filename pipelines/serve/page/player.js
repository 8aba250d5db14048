// Which slot is shown, and when the next one is: play and pause, the slider, the speed.

import { byId } from "./dom.js";

const still = matchMedia("(prefers-reduced-motion: reduce)");

export class Player {
  slot = 0;
  #slots = 1;
  #shown;
  #frame = 0;
  #due = 0;

  constructor(shown) {
    this.#shown = shown;
    byId("play").addEventListener("click", () => (this.#frame ? this.pause() : this.play()));
    byId("slot").addEventListener("input", (event) => this.choose(Number(event.target.value)));
  }

  // Whoever asked for less motion starts it themselves.
  start(slots) {
    this.#slots = slots;
    byId("slot").max = slots - 1;
    this.#go(0);
    if (still.matches) this.pause();
    else this.play();
  }

  choose(slot) {
    this.pause();
    this.#go(slot);
  }

  play() {
    this.pause();
    byId("play").textContent = "Pause";
    this.#due = performance.now() + this.#wait();
    const tick = (now) => {
      this.#frame = requestAnimationFrame(tick);
      if (now < this.#due) return;
      // Not from when it was due: a tab that comes back would race through what it has missed.
      this.#due = Math.max(this.#due + this.#wait(), now);
      this.#go((this.slot + 1) % this.#slots);
    };
    this.#frame = requestAnimationFrame(tick);
  }

  pause() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    byId("play").textContent = "Play";
  }

  #wait() {
    return 1000 / Number(byId("speed").value);
  }

  #go(slot) {
    this.slot = slot;
    byId("slot").value = slot;
    this.#shown(slot);
  }
}
