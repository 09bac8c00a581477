// How long a step takes in node, in blocks of 128: the median of many runs, in nanoseconds.
//
//     node web/bench.mjs target/web/fixed.wasm
//     node web/bench.mjs target/web/unrolled.wasm model.safetensors …

import { readFileSync } from "node:fs";
import { Unrolled, compile } from "./unrolled.js";

const [path, ...files] = process.argv.slice(2);
const module = await compile(readFileSync(path));

for (const file of files.length > 0 ? files : [undefined]) {
  const stream = new Unrolled(module).load(file && readFileSync(file)).stream();
  const blocks = (count) => Array.from({ length: count }, () => new Float32Array(128));
  const [x, y] = [blocks(stream.inputs), blocks(stream.outputs)];
  x.forEach((own, n) => own.forEach((_, t) => (own[t] = Math.sin(t / 5 + n) / 2)));
  // A run is short, so that most are not interrupted, and there are enough for the compiler to have its say.
  const times = Array.from({ length: 2000 }, () => {
    const start = performance.now();
    for (let n = 0; n < 10; n++) stream.process(x, y);
    return ((performance.now() - start) * 1e6) / 1280;
  });
  const sorted = times.slice(1000).sort((a, b) => a - b);
  const [least, median] = [0, 500].map((n) => sorted[n].toFixed(0));
  console.log(`${file ?? path}: ${median} ns a step (least ${least})`);
}
