// A model in the thread that makes sound.

import { Unrolled } from "./unrolled.js";

/** Applies a model to each channel. `processorOptions`: `module`, and the model's `file`, if it is not compiled in. */
class Player extends AudioWorkletProcessor {
  #stream = null;
  #spent = 0;
  #blocks = 0;
  #running = true;

  constructor({ processorOptions: { module, file } }) {
    super();
    this.port.onmessage = () => {
      this.#running = false;
    };
    try {
      const model = new Unrolled(module).load(file);
      if (model.inputSize !== 1 || model.outputSize !== 1) {
        throw new Error(
          `model: expected one value in and one out, got ${model.inputSize} and ${model.outputSize}`,
        );
      }
      this.#stream = model.stream(1);
      this.port.postMessage({ ready: true });
    } catch (error) {
      this.port.postMessage({ error: error.message });
    }
  }

  process([x], [y]) {
    if (!this.#running || this.#stream === null) return false;
    if (x.length === 0) return true;
    const start = now();
    try {
      this.#stream.process(x, y);
    } catch (error) {
      this.port.postMessage({ error: error.message });
      return false;
    }
    this.#spent += now() - start;
    this.#blocks++;
    if (this.#blocks * y[0].length >= sampleRate / 2) {
      const lasts = (1000 * this.#blocks * y[0].length) / sampleRate;
      this.port.postMessage({ load: this.#spent / lasts });
      this.#spent = this.#blocks = 0;
    }
    return true;
  }
}

// Milliseconds. Where worklets have no better clock, whole ones: over hundreds of blocks the mean is still right.
const now = globalThis.performance ? () => performance.now() : () => Date.now();

registerProcessor("unrolled-player", Player);
