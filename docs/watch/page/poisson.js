// The input code of the network: PoissonEncoder of keras_spiking_bp, with random numbers of its own.

/** Random numbers in [0, 1) from a 32-bit seed (sfc32 by Chris Doty-Humphrey, 1.2 * 10^34 numbers in the mean). */
export function randomNumbers(seed) {
  let [a, b, c, count] = [seed >>> 0, 0x9e3779b9, 0x243f6a88, 1];
  function next() {
    const sum = (((a + b) | 0) + count) | 0;
    count = (count + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum | 0;
    return (sum >>> 0) / 4294967296;
  }
  for (let i = 0; i < 15; i++) next(); // until the seed has reached all bits
  return next;
}

/** The spikes of one step: sign(x) with the probability min(scale * |x|, 1). */
export function poissonStep(image, scale, random) {
  return Float32Array.from(image, (x) => (random() < scale * Math.abs(x) ? Math.sign(x) : 0));
}
