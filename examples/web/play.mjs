// A signal through a model, in node: 32-bit floats from standard input to standard output, step by step.
//
//     node play.mjs [--relaxed] model.safetensors < x.f32 > y.f32
//
// Without a file, the model is the one compiled into fixed.wasm. --relaxed takes the module with relaxed SIMD, which
// node 20 runs with --experimental-wasm-relaxed-simd, and later ones as they are.

import { readFileSync, writeSync } from "node:fs";
import { parseArgs } from "node:util";
import { Unrolled, compile } from "./unrolled.js";

const { values, positionals } = parseArgs({
  options: { relaxed: { type: "boolean" } },
  allowPositionals: true,
});
const [path] = positionals;
const name = (path ? "unrolled" : "fixed") + (values.relaxed ? ".relaxed" : "");
const module = await compile(readFileSync(new URL(`${name}.wasm`, import.meta.url)));
const model = new Unrolled(module).load(path && readFileSync(path));
const stream = model.stream(1);

const bytes = readFileSync(0);
const x = new Float32Array(Uint8Array.from(bytes).buffer, 0, Math.floor(bytes.length / 4));
const steps = Math.floor(x.length / stream.inputs);
const of = (n) => Float32Array.from({ length: steps }, (_, t) => x[t * stream.inputs + n]);
const channels = Array.from({ length: stream.inputs }, (_, n) => of(n));
const outputs = Array.from({ length: stream.outputs }, () => new Float32Array(steps));
stream.process(channels, outputs);

const y = Float32Array.from({ length: steps * stream.outputs }, (_, n) => {
  return outputs[n % stream.outputs][Math.floor(n / stream.outputs)];
});
for (let at = 0; at < y.byteLength; ) at += writeSync(1, new Uint8Array(y.buffer, at));
