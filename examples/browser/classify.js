// Classify images with an ONNX model of keras-transfer, in the browser.
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";

/** Load a model; returns a function from a file or blob of an image to { label, scores: [[name, score], ...] }. */
export async function loadModel(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  const { names, preprocessing: rule } = JSON.parse(readMetadata(bytes).keras_transfer);
  if (![1, 3].includes(rule.channels)) throw new Error(`it takes images of ${rule.channels} channels`);
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  return async (image) => {
    const shape = [1, rule.size, rule.size, rule.channels];
    const pixels = new ort.Tensor("float32", resize(await decode(image, rule), rule), shape);
    const outputs = await session.run({ pixels });
    const scores = [...outputs.probabilities.data].map((score, index) => [names[index], score]);
    const present = outputs.present && names.filter((_, index) => outputs.present.data[index]);
    const label = present ? present.join(", ") || "none" : names[outputs.label_index.data[0]];
    return { label, scores: scores.sort((a, b) => b[1] - a[1]) };
  };
}

/** The metadata of an ONNX file, which onnxruntime-web does not return: field 14 of the protocol buffer. */
function readMetadata(bytes) {
  const found = {};
  for (const [field, entry] of fields(bytes)) {
    if (field !== 14) continue;
    const text = Object.fromEntries([...fields(entry)].map(([key, value]) => [key, new TextDecoder().decode(value)]));
    found[text[1]] = text[2];
  }
  return found;
}

function* fields(bytes) {
  let at = 0;
  const number = () => {
    for (let value = 0, factor = 1; ; factor *= 128) {
      const byte = bytes[at++];
      value += (byte % 128) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = number();
    if (tag % 8 === 0) number();
    else if (tag % 8 === 2) {
      const length = number();
      yield [Math.floor(tag / 8), bytes.subarray(at, at + length)];
      at += length;
    } else at += tag % 8 === 1 ? 8 : 4;
  }
}

/** Pixels of an image, upright and on white: { width, height, channels, data: Float32Array }. */
async function decode(image, rule) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" }; // upright by default
  const bitmap = await createImageBitmap(image, options);
  const { width, height } = bitmap;
  if (width * height > rule.max_pixels) throw new Error("too many pixels");
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const rgba = context.getImageData(0, 0, width, height).data;
  const weights = rule.channels === 1 ? [[0.2989, 0.587, 0.114]] : [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
  const data = new Float32Array(width * height * weights.length);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    const alpha = rgba[from + 3] / 255;
    const [r, g, b] = [0, 1, 2].map((i) => rgba[from + i] * alpha + 255 * (1 - alpha));
    for (const [wr, wg, wb] of weights) data[to++] = wr * r + wg * g + wb * b;
  }
  return { width, height, channels: weights.length, data };
}

/** The weights of one axis, as in inputs.py: [size][old], 0 where the square is white. */
function weightsOf(old, other, { size, resize }) {
  const kept = resize === "crop" ? Math.min(old, other) : old;
  const scaled = resize === "pad" ? Math.max(roundToEven((old * size) / Math.max(old, other)), 1) : size;
  const top = Math.floor((size - scaled) / 2);
  const left = Math.floor((old - kept) / 2);
  const whole = Array.from({ length: size }, () => []);
  for (let row = 0; row < scaled; row++) {
    const center = ((row + 0.5) * kept) / scaled;
    const wide = Math.max(kept / scaled, 1);
    const first = Math.max(Math.floor(center - wide), 0);
    const last = Math.min(Math.ceil(center + wide), kept);
    for (let i = first; i < last; i++) {
      const weight = 1 - Math.abs(i + 0.5 - center) / wide;
      if (weight > 0) whole[top + row].push([left + i, weight]);
    }
    const sum = whole[top + row].reduce((total, [, weight]) => total + weight, 0);
    for (const pair of whole[top + row]) pair[1] /= sum;
  }
  return whole;
}

const roundToEven = (x) => (x % 1 === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));

/** float32[size, size, channels] in 0..255; what no pixel reaches stays white. */
function resize({ width, height, channels, data }, rule) {
  const [rows, columns] = [weightsOf(height, width, rule), weightsOf(width, height, rule)];
  const out = new Float32Array(rule.size * rule.size * channels).fill(255);
  rows.forEach((terms, row) => {
    const line = new Float64Array(width * channels);
    for (const [y, weight] of terms) {
      for (let x = 0; x < line.length; x++) line[x] += weight * (255 - data[y * line.length + x]);
    }
    columns.forEach((others, column) => {
      for (const [x, weight] of others) {
        for (let c = 0; c < channels; c++) {
          out[(row * rule.size + column) * channels + c] -= weight * line[x * channels + c];
        }
      }
    });
  });
  return out;
}
