/**
 * Recurrent models in WebAssembly: pages, workers, AudioWorklets, node.
 *
 *     const module = await compile(fetch("unrolled.wasm"));
 *     const model = new Unrolled(module).load(await file.arrayBuffer());
 *     const stream = model.stream(1);
 *     stream.process([input], [output]); // Float32Arrays, block after block
 *
 * Types, and what each call throws, are in unrolled.d.ts.
 */

/** A call that was refused, or a module that has stopped. */
export class UnrolledError extends Error {
  get name() {
    return "UnrolledError";
  }
}

/** Compiles a module: a `fetch`, its response, or bytes. */
export async function compile(source) {
  source = await source;
  if (typeof Response !== "undefined" && source instanceof Response) {
    if (!source.ok) {
      throw new UnrolledError(`${source.url}: expected a module, got status ${source.status}`);
    }
    source = await source.arrayBuffer();
  }
  try {
    return await WebAssembly.compile(source);
  } catch (error) {
    const why = WebAssembly.validate(SIMD)
      ? error.message
      : "this browser lacks SIMD in WebAssembly (Chrome 91, Firefox 89, Safari 16.4 have it)";
    throw new UnrolledError(`module: ${why}`, { cause: error });
  }
}

// The least module with an instruction of SIMD128: a function that drops `v128.const 0`.
const SIMD = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 10, 23, 1, 21, 0, 253, 12,
  ...new Array(16).fill(0), 26, 11,
]);

/** Whether modules run here that are compiled with relaxed SIMD. */
export function hasRelaxedSimd() {
  return WebAssembly.validate(RELAXED);
}

// The least module with an instruction of relaxed SIMD: `f32x4.relaxed_madd` of a function's one argument.
const RELAXED = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 6, 1, 96, 1, 123, 1, 123, 3, 2, 1, 0,
  10, 13, 1, 11, 0, 32, 0, 32, 0, 32, 0, 253, 133, 2, 11,
]);

/** A compiled module at work, with memory of its own. */
export class Unrolled {
  #instance;

  /** @param {WebAssembly.Module} module */
  constructor(module) {
    this.#instance = new Instance(module);
  }

  /** The model in a file's bytes; of a module with its model compiled in, that model. */
  load(data) {
    const instance = this.#instance;
    if (data !== undefined) {
      const bytes = ArrayBuffer.isView(data)
        ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
        : new Uint8Array(data);
      const at = instance.address("file", bytes.length);
      new Uint8Array(instance.memory, at, bytes.length).set(bytes);
    }
    return new Model(instance, instance.number("load"));
  }
}

/** A module's exports, and what they say where they refuse. */
class Instance {
  #exports;
  #stopped = null;

  constructor(module) {
    this.#exports = new WebAssembly.Instance(module, {}).exports;
    // Steps that the module takes at a time.
    this.block = this.number("block");
  }

  /** Another object each time that it has grown. */
  get memory() {
    return this.#exports.memory.buffer;
  }

  number(name, a, b) {
    const number = this.#call(name, a, b);
    if (number < 0) throw new UnrolledError(this.#why());
    return number;
  }

  address(name, a) {
    const at = this.#call(name, a) >>> 0;
    if (at === 0) throw new UnrolledError(this.#why());
    return at;
  }

  /** After a trap there is no more of it: its memory may be half written. */
  #call(name, a, b) {
    if (this.#stopped) throw this.#stopped;
    try {
      return this.#exports[name](a, b);
    } catch (error) {
      const message = `the module has stopped, make another: ${error.message}`;
      throw (this.#stopped = new UnrolledError(message, { cause: error }));
    }
  }

  #why() {
    const at = this.#call("error") >>> 0;
    const bytes = new Uint8Array(this.memory, at, this.#call("error_length"));
    // An AudioWorklet has no TextDecoder.
    const escaped = Array.from(bytes, (byte) => `%${byte.toString(16).padStart(2, "0")}`);
    return decodeURIComponent(escaped.join(""));
  }
}

/** A model that is loaded. */
class Model {
  #instance;
  #model;

  constructor(instance, model) {
    this.#instance = instance;
    this.#model = model;
    this.inputSize = instance.number("input_size", model);
    this.outputSize = instance.number("output_size", model);
  }

  /** A stream from the model's initial state, with a state for each of its rows. */
  stream(rows = 1) {
    if (!Number.isInteger(rows) || rows < 1 || rows > MOST_ROWS) {
      throw new UnrolledError(`rows: expected a whole number from 1 to ${MOST_ROWS}, got ${rows}`);
    }
    const stream = this.#instance.number("stream", this.#model, rows);
    return new Stream(this.#instance, stream, rows * this.inputSize, rows * this.outputSize);
  }

  /** Gives its memory back. Streams of it go on. */
  free() {
    this.#instance.number("free_model", this.#model);
  }
}

// What a module of 32 bits can take as a number.
const MOST_ROWS = 2 ** 31 - 1;

/** A model that is fed block by block. */
class Stream {
  #instance;
  #stream;
  #memory = null;
  #x = [];
  #y = [];

  constructor(instance, stream, inputs, outputs) {
    this.#instance = instance;
    this.#stream = stream;
    /** Arrays that `process` reads. */
    this.inputs = inputs;
    /** Arrays that `process` fills. */
    this.outputs = outputs;
  }

  /** Any number of steps: as many as the arrays are long. In an AudioWorklet it makes no objects. */
  process(x, y) {
    const steps = x.length > 0 ? x[0].length : 0;
    check("x", x, this.inputs, steps);
    check("y", y, this.outputs, steps);
    const { block } = this.#instance;
    for (let first = 0; first < steps; first += block) {
      const some = Math.min(block, steps - first);
      // Only the way in looks for memory that has grown: processing asks for none.
      if (this.#memory !== this.#instance.memory) this.#look();
      for (let n = 0; n < x.length; n++) {
        this.#x[n].set(some === steps ? x[n] : x[n].subarray(first, first + some));
      }
      this.#instance.number("process", this.#stream, some);
      for (let n = 0; n < y.length; n++) {
        const from = this.#y[n];
        y[n].set(some === block ? from : from.subarray(0, some), first);
      }
    }
  }

  /** Goes back to the model's initial state. */
  reset() {
    this.#instance.number("reset", this.#stream);
  }

  /** Gives its memory back. */
  free() {
    this.#instance.number("free_stream", this.#stream);
    this.#memory = null;
  }

  /** Views of the stream's blocks in the module's memory. */
  #look() {
    const { memory, block } = this.#instance;
    const channels = (name, count) => {
      const at = this.#instance.address(name, this.#stream);
      const channel = (_, n) => new Float32Array(memory, at + 4 * n * block, block);
      return Array.from({ length: count }, channel);
    };
    this.#x = channels("x", this.inputs);
    this.#y = channels("y", this.outputs);
    this.#memory = memory;
  }
}

function check(name, arrays, count, steps) {
  if (arrays.length !== count) {
    throw new UnrolledError(`${name}: expected ${count} arrays, got ${arrays.length}`);
  }
  for (let n = 0; n < count; n++) {
    if (arrays[n].length !== steps) {
      throw new UnrolledError(`${name}[${n}]: expected ${steps} numbers, got ${arrays[n].length}`);
    }
  }
}
