// Asks for what is wanted last. A slider wants something new sixty times a second: wishes are gathered until the screen
// is drawn, one request is out at a time, and what nobody wants any more is only waited for if it is nearly there.
// Aborting every stale request at once would leave the pictures still for as long as the slider moves.

import { isAborted } from "./api.js";

const PATIENCE = 100;

export class Latest {
  #ask;
  #done;
  #failed;
  #wish = null;
  #frame = 0;
  #flight = null;

  constructor(ask, done, failed) {
    this.#ask = ask;
    this.#done = done;
    this.#failed = failed;
  }

  want(wish) {
    this.#wish = wish;
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      if (this.#flight && performance.now() - this.#flight.began > PATIENCE) this.#flight.abort();
      if (!this.#flight) this.#go();
    });
  }

  stop() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#wish = null;
    this.#flight?.abort();
    this.#flight = null;
  }

  async #go() {
    const wish = this.#wish;
    const controller = new AbortController();
    const flight = { began: performance.now(), abort: () => controller.abort() };
    this.#wish = null;
    this.#flight = flight;
    try {
      const answer = await this.#ask(wish, controller.signal);
      if (this.#flight === flight) this.#done(answer);
    } catch (error) {
      if (this.#flight === flight && !isAborted(error)) this.#failed(error);
    }
    if (this.#flight !== flight) return;
    this.#flight = null;
    if (this.#wish) this.#go();
  }
}
