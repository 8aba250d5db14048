// One slot's pixels as a picture: as they are, under their heat, or with only the kept patches lit.
// Colours and weights are those of `codecsieve inspect`, so that both show the same.

const DARK = [22, 24, 30];
const TRACE = 0.08;
const INFERNO = [
  [0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85], [227, 89, 51], [249, 140, 10], [249, 201, 50],
  [252, 255, 164],
];
const HEAT = Array.from({ length: 256 }, (_, value) => {
  const place = (value / 255) * (INFERNO.length - 1);
  const below = Math.min(Math.floor(place), INFERNO.length - 2);
  return INFERNO[below].map((from, channel) => from + (INFERNO[below + 1][channel] - from) * (place - below));
});

export class Painter {
  #context;
  #image;
  #cellOf;

  constructor(canvas, size, grid) {
    canvas.width = canvas.height = size;
    this.#context = canvas.getContext("2d");
    this.#image = this.#context.createImageData(size, size);
    const patch = size / grid;
    this.#cellOf = Uint32Array.from({ length: size * size }, (_, pixel) =>
      Math.floor(Math.floor(pixel / size) / patch) * grid + Math.floor((pixel % size) / patch));
  }

  frame(pixels) {
    this.#image.data.set(pixels);
    this.#show();
  }

  kept(pixels, bits) {
    const data = this.#image.data;
    data.set(pixels);
    for (let pixel = 0, at = 0; at < data.length; pixel++, at += 4) {
      if (bits[this.#cellOf[pixel]]) continue;
      const grey = luma(pixels, at) * TRACE;
      for (let channel = 0; channel < 3; channel++) data[at + channel] = DARK[channel] * (1 - TRACE) + grey;
    }
    this.#show();
  }

  heat(pixels, heat) {
    const data = this.#image.data;
    data.set(pixels);
    for (let pixel = 0, at = 0; at < data.length; pixel++, at += 4) {
      const value = heat[this.#cellOf[pixel]];
      const weight = 0.45 + (0.4 * value) / 255;
      const grey = luma(pixels, at) * 0.8 * (1 - weight);
      for (let channel = 0; channel < 3; channel++) data[at + channel] = grey + weight * HEAT[value][channel];
    }
    this.#show();
  }

  #show() {
    this.#context.putImageData(this.#image, 0, 0);
  }
}

function luma(pixels, at) {
  return 0.299 * pixels[at] + 0.587 * pixels[at + 1] + 0.114 * pixels[at + 2];
}
