// From the pixels of a picture to the model's input: resize the short side (bilinear, averaging when it shrinks, as
// Pillow does; a canvas would not), crop the centre, scale to 0..1, normalise.

/** Round to the nearest whole number, a half to the even one. */
function rounded(value) {
  const near = Math.round(value);
  return near - value === 0.5 && near % 2 !== 0 ? near - 1 : near;
}

/** The `kept` middle pixels of a line of `size` that is resized to `fresh`: which pixels each is made of, and shares. */
function lineOf(size, fresh, kept) {
  const first = Math.max(0, rounded((fresh - kept) / 2));
  const scale = size / fresh;
  const support = Math.max(scale, 1); // a triangle as wide as a new pixel where it shrinks
  return Array.from({ length: Math.min(kept, fresh - first) }, (_, i) => {
    const centre = (first + i + 0.5) * scale;
    const taps = [];
    const start = Math.floor(centre - support);
    for (let tap = Math.max(start, 0); tap <= Math.min(start + Math.ceil(2 * support), size - 1); tap++) {
      const weight = 1 - Math.abs(tap + 0.5 - centre) / support;
      if (weight > 0) taps.push({ tap, weight });
    }
    const sum = taps.reduce((total, { weight }) => total + weight, 0);
    return taps.map(({ tap, weight }) => ({ tap, weight: weight / sum }));
  });
}

/** The centre crop as RGB values 0..255, row by row, of RGBA pixels as ImageData has them. */
export function resizedCrop({ data, width, height }, { resize, width: cropWidth, height: cropHeight }) {
  const short = Math.min(width, height);
  const columns = lineOf(width, Math.floor((resize * width) / short), cropWidth);
  const rows = lineOf(height, Math.floor((resize * height) / short), cropHeight);
  const top = rows[0][0].tap;
  const bottom = rows.at(-1).at(-1).tap;
  const narrowed = new Float64Array((bottom - top + 1) * columns.length * 3);
  for (let y = top, to = 0; y <= bottom; y++) {
    for (const taps of columns) {
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        for (const { tap, weight } of taps) sum += weight * data[(y * width + tap) * 4 + channel];
        narrowed[to++] = rounded(sum);
      }
    }
  }
  const line = columns.length * 3;
  const crop = new Float64Array(rows.length * line);
  rows.forEach((taps, y) => {
    for (let x = 0; x < line; x++) {
      let sum = 0;
      for (const { tap, weight } of taps) sum += weight * narrowed[(tap - top) * line + x];
      crop[y * line + x] = rounded(sum);
    }
  });
  return crop;
}

/** The input, channels first: a Float32Array, or the bytes of a model that normalises itself. */
export function preprocess(pixels, settings) {
  const crop = resizedCrop(pixels, settings);
  const plane = settings.width * settings.height;
  const raw = settings.type === "uint8";
  const input = raw ? new Uint8Array(3 * plane) : new Float32Array(3 * plane);
  for (let i = 0; i < plane; i++) {
    for (let channel = 0; channel < 3; channel++) {
      const value = crop[3 * i + channel];
      input[channel * plane + i] = raw ? value : (value / 255 - settings.mean[channel]) / settings.std[channel];
    }
  }
  return input;
}
