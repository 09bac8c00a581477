// A signal through a model, in node: 32-bit floats from standard input to standard output, step by step.
//
//     node play.mjs model.safetensors < x.f32 > y.f32
//
// Without a file, the model is the one compiled into fixed.wasm.

import { readFileSync, writeSync } from "node:fs";
import { Unrolled, compile } from "./unrolled.js";

const wasm = (name) => readFileSync(new URL(name, import.meta.url));
const [path] = process.argv.slice(2);
const module = await compile(wasm(path ? "unrolled.wasm" : "fixed.wasm"));
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
