// The model of this folder: opened, held against its golden outputs, run on pictures.
import * as ort from "./ort.wasm.bundle.min.mjs";
import { preprocess } from "./preprocessing.js";

ort.env.wasm.numThreads = 1; // more need a server that sends COOP and COEP headers
ort.env.logLevel = "error";

async function fetched(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`'${name}' is missing (${answer.status}): write the bundle again`);
  return new Uint8Array(await answer.arrayBuffer());
}

const text = (bytes) => new TextDecoder().decode(bytes);
const floats = (bytes) => new Float32Array(bytes.buffer);

/** Pixels of a picture file, or of what a video shows, as ImageData. */
export async function pixelsOf(source) {
  let bitmap;
  try {
    const exact = { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" };
    bitmap = await createImageBitmap(source, exact);
  } catch {
    throw new Error(`${source.name ? `'${source.name}'` : "this"} is no picture that the browser can read`);
  }
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

export class Model {
  /** Open the model of this folder, whose files are as the manifest says. */
  static async open() {
    const manifest = JSON.parse(text(await fetched("manifest.json")));
    const names = Object.keys(manifest.sha256);
    const contents = await Promise.all(names.map(fetched));
    const files = Object.fromEntries(names.map((name, i) => [name, contents[i]]));
    await checkHashes(files, manifest.sha256);
    try {
      return new Model(manifest, files, await ort.InferenceSession.create(files[manifest.model]));
    } catch (error) {
      throw new Error(`the model cannot be opened: '${manifest.model}' is damaged (${String(error.message).slice(0, 120)})`);
    }
  }

  constructor(manifest, files, session) {
    Object.assign(this, { manifest, files, session });
    this.settings = JSON.parse(text(files["preprocessing.json"]));
    this.labels = text(files["labels.txt"]).replace(/\n$/, "").split("\n");
  }

  /** The logits of an input. */
  async run(values) {
    const { input, output } = this.manifest;
    const answers = await this.session.run({ [input.name]: new ort.Tensor(this.settings.type, values, input.shape) });
    return answers[output.name].data;
  }

  /** The logits of a picture's pixels, and the milliseconds that preprocessing and the model took. */
  async classify(pixels) {
    const start = performance.now();
    const values = preprocess(pixels, this.settings);
    const ready = performance.now();
    const logits = await this.run(values);
    return { logits, preparing: ready - start, running: performance.now() - ready };
  }

  /**
   * The largest error against the golden outputs, relative to the outputs' range, and the bundle's picture with what
   * came of it. Throws if the error is too large.
   */
  async selfCheck() {
    const { manifest, files, labels } = this;
    const { classes } = manifest.output;
    if (labels.length !== classes) throw new Error(`${labels.length} lines in 'labels.txt', expected ${classes}, one a class`);
    const picture = new File([files[manifest.picture]], manifest.picture, { type: "image/png" });
    const given = files["golden-input.bin"];
    const logits = await this.run(this.settings.type === "uint8" ? given : floats(given));
    const answer = await this.classify(await pixelsOf(picture));
    const found = [
      [logits, floats(files["golden-output.bin"])],
      [answer.logits, floats(files["picture-logits.bin"])],
    ];
    const errors = found.flatMap(([logits, wanted]) => Array.from(wanted, (value, i) => Math.abs(logits[i] - value)));
    const error = Math.max(...errors) / manifest.range;
    if (!(error <= manifest.tolerance)) {
      throw new Error(`error ${error.toExponential(1)} of the outputs' range, allowed ${manifest.tolerance}`);
    }
    return { error, picture, answer };
  }
}

/** Hold every file against the manifest; where a page is no secure context the browser has no hashes. */
async function checkHashes(files, wanted) {
  if (!globalThis.crypto?.subtle) return;
  for (const [name, content] of Object.entries(files)) {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
    const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (found !== wanted[name]) {
      throw new Error(`'${name}' is not the file that was bundled; write the bundle again`);
    }
  }
}

/** The `count` likeliest classes of logits, as { label, share }. */
export function likeliest(logits, labels, count = 5) {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (value) => Math.exp(value - largest));
  const sum = powers.reduce((total, power) => total + power, 0);
  const classes = powers.map((power, i) => ({ label: labels[i], share: power / sum }));
  return classes.sort((a, b) => b.share - a.share).slice(0, count);
}
