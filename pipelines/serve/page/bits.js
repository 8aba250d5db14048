// What a selection is as bytes: base64, a bit a patch, the most significant first.

export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

export function unpack(base64, length) {
  const packed = bytesOf(base64);
  const bits = new Uint8Array(length);
  for (let index = 0; index < length; index++) bits[index] = (packed[index >> 3] >> (7 - (index & 7))) & 1;
  return bits;
}

export function countsBySlot(bits, cells) {
  const counts = new Array(bits.length / cells).fill(0);
  for (let index = 0; index < bits.length; index++) counts[Math.floor(index / cells)] += bits[index];
  return counts;
}
