// Bars of how many patches each slot gets: the sieve's upward, by the most that a slot has, or most would be a pixel high;
// below them the slots that uniform sampling keeps, all or nothing. The slot that is shown stands out.

const TICK = 12;

export class Strip {
  #canvas;
  #told = null;
  #slot = 0;

  constructor(canvas, chosen) {
    this.#canvas = canvas;
    new ResizeObserver(() => this.#draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
    const choose = (event) => {
      if (!this.#told || !(event.buttons & 1)) return;
      const { left, width } = canvas.getBoundingClientRect();
      const slots = this.#told.kept.length;
      chosen(Math.max(0, Math.min(slots - 1, Math.floor(((event.clientX - left) / width) * slots))));
    };
    canvas.addEventListener("pointerdown", choose);
    canvas.addEventListener("pointermove", choose);
  }

  show(kept, sampling, cells) {
    this.#told = { kept, sampling };
    const whole = sampling.filter(Boolean).length;
    this.#canvas.setAttribute("aria-label", `Patches kept in each slot: ${Math.min(...kept)} to ${Math.max(...kept)} ` +
      `of ${cells}; uniform sampling keeps ${whole} of ${kept.length} slots whole.`);
    this.#draw();
  }

  at(slot) {
    this.#slot = slot;
    this.#draw();
  }

  #draw() {
    if (!this.#told) return;
    const canvas = this.#canvas;
    const scale = devicePixelRatio;
    const { clientWidth: width, clientHeight: height } = canvas;
    // Setting a canvas's size clears it: done even where the size is the same.
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    const style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(name);
    const { kept, sampling } = this.#told;
    const step = width / kept.length;
    const bar = Math.max(1, step * 0.68);
    const middle = height - TICK - 6;
    const most = Math.max(1, ...kept);
    context.fillStyle = colour("--raised");
    context.fillRect(this.#slot * step, 0, step, height);
    for (let slot = 0; slot < kept.length; slot++) {
      const left = slot * step + (step - bar) / 2;
      const up = (kept[slot] / most) * (middle - 4);
      const down = sampling[slot] ? TICK : 0;
      context.fillStyle = colour("--accent");
      context.globalAlpha = slot === this.#slot ? 1 : 0.72;
      context.fillRect(left, middle - up, bar, up);
      context.globalAlpha = 1;
      context.fillStyle = slot === this.#slot ? colour("--edge") : colour("--bar");
      context.fillRect(left, middle + 4, bar, down);
    }
    context.fillStyle = colour("--line");
    context.fillRect(0, middle, width, 1);
  }
}
