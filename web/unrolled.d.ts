/** A call that was refused, which says what was expected and what came, or a module that has stopped. */
export class UnrolledError extends Error {}

/**
 * Compiles a module, once for all threads: a `WebAssembly.Module` may be posted to workers, and
 * given to an AudioWorkletNode in `processorOptions`.
 *
 * @param source `fetch(…)`, its response, or the module's bytes
 * @throws UnrolledError where the file is not there, or the browser cannot run it
 */
export function compile(
  source: Response | BufferSource | PromiseLike<Response | BufferSource>,
): Promise<WebAssembly.Module>;

/**
 * Whether this engine runs `*.relaxed.wasm`, which `web/build.py --relaxed` makes:
 *
 *     const module = await compile(fetch(hasRelaxedSimd() ? "unrolled.relaxed.wasm" : "unrolled.wasm"));
 *
 * The last digits of what they give are the engine's choice. Those of the others are the same everywhere.
 */
export function hasRelaxedSimd(): boolean;

/** A compiled module at work, with memory of its own. */
export class Unrolled {
  /** Takes a millisecond or so; allowed in workers and AudioWorklets, which cannot wait. */
  constructor(module: WebAssembly.Module);

  /**
   * A model from the bytes of its file: safetensors of `ur.save`, RTNeural's JSON, an LSTM of
   * Neural Amp Modeler, CoreAudioML's JSON. Of `fixed.wasm`, without bytes, the model compiled in.
   *
   * @throws UnrolledError for a file that is none of these, or has layers that are not known
   */
  load(data?: BufferSource): Model;
}

/** A model that is loaded. It keeps its memory until it is freed. */
export interface Model {
  /** Values of a step that go in. */
  readonly inputSize: number;
  /** Values of a step that come out. */
  readonly outputSize: number;

  /**
   * A stream from the model's initial state.
   *
   * @param rows signals, such as channels, each with a state of its own (1); `fixed.wasm` has one
   * stream at a time, of 1 or 2
   * @throws UnrolledError
   */
  stream(rows?: number): Stream;

  /** Gives its memory back. Streams of it go on. */
  free(): void;
}

/** A model that is fed block by block. */
export interface Stream {
  /** Arrays that `process` reads: rows · inputSize. */
  readonly inputs: number;
  /** Arrays that `process` fills: rows · outputSize. */
  readonly outputs: number;

  /**
   * Any number of steps, as many as the arrays are long: an array for each value of each row, row
   * after row, as Web Audio holds channels. What comes out is the same, bit for bit, whatever blocks
   * it comes in. Blocks of up to 128 steps, in arrays that are used again, make no garbage.
   *
   * @throws UnrolledError for arrays that are not as many, or not of one length; the stream is then
   * as it was
   */
  process(x: readonly Float32Array[], y: readonly Float32Array[]): void;

  /** Goes back to the model's initial state. */
  reset(): void;

  /** Gives its memory back. */
  free(): void;
}
