// The modules in node: their outputs beside a native program's (examples/native.rs), to the last bit, and what they
// refuse. `web/build.py --test` builds both and runs this.

import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { setFlagsFromString } from "node:v8";
import { Unrolled, UnrolledError, compile, hasRelaxedSimd } from "./unrolled.js";

const { MADE, NATIVE } = process.env;
const modules = {
  fixed: await compile(readFileSync(join(MADE, "fixed.wasm"))),
  unrolled: await compile(readFileSync(join(MADE, "unrolled.wasm"))),
};
const models = new URL("../tests/data/formats/", import.meta.url);
const STEPS = 1000;
const ROWS = 2;

/** An input, as examples/native.rs makes it too. */
const input = (t, channel) => Math.fround(((t * 7919 + channel * 104729) % 2001) / 1000 - 1);

const signals = (count, first = 0) =>
  Array.from({ length: count }, (_, n) =>
    Float32Array.from({ length: STEPS }, (_, t) => input(t, first + n)),
  );
const empty = (count, steps = STEPS) =>
  Array.from({ length: count }, () => new Float32Array(steps));

/** All steps, in blocks of these lengths in turn. */
function played(stream, lengths) {
  const x = signals(stream.inputs);
  const y = empty(stream.outputs);
  for (let first = 0, n = 0; first < STEPS; n++) {
    const end = Math.min(STEPS, first + lengths[n % lengths.length]);
    stream.process(
      x.map((own) => own.subarray(first, end)),
      y.map((own) => own.subarray(first, end)),
    );
    first = end;
  }
  return y;
}

const bits = (arrays) => arrays.map((own) => Array.from(new Uint32Array(own.slice().buffer)));

/** What the native program gave. */
function expected(name, outputs) {
  const data = readFileSync(join(NATIVE, `${name}.f32`));
  assert.equal(data.length, 4 * outputs * STEPS);
  const all = new Float32Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.length));
  return Array.from({ length: outputs }, (_, n) => all.subarray(n * STEPS, (n + 1) * STEPS));
}

const names = readdirSync(NATIVE).map((file) => file.replace(/\.f32$/, ""));

function loaded(name, { fixed, unrolled } = modules) {
  if (name === "fixed") return new Unrolled(fixed).load();
  return new Unrolled(unrolled).load(readFileSync(new URL(name, models)));
}

test("there are models to compare", () => {
  assert.ok(names.includes("fixed") && names.length >= 3, names.join());
});

for (const name of names) {
  test(`${name}: bits as on the machine itself, in blocks of any length`, () => {
    const model = loaded(name);
    const stream = model.stream(ROWS);
    assert.equal(stream.inputs, ROWS * model.inputSize);
    const y = expected(name, stream.outputs);
    assert.ok(y.every((own) => new Set(own).size > STEPS / 2), "no output repeats itself");
    for (const lengths of [[128], [STEPS], [1, 37, 127, 300]]) {
      assert.deepEqual(bits(played(stream, lengths)), bits(y));
      stream.reset();
    }
  });

  test(`${name}: refuses what does not fit, and goes on`, () => {
    const stream = loaded(name).stream(ROWS);
    const x = signals(stream.inputs);
    const y = empty(stream.outputs);
    const refused = (message, x, y) =>
      assert.throws(() => stream.process(x, y), { name: "UnrolledError", message });
    refused(/^x: expected \d+ arrays, got 0$/, [], y);
    refused(/^y: expected \d+ arrays, got \d+$/, x, [...y, y[0]]);
    refused(/^x\[1\]: expected 1000 numbers, got 999$/, [x[0], x[1].subarray(1), ...x.slice(2)], y);
    refused(/^y\[0\]: expected 1000 numbers, got 128$/, x, empty(stream.outputs, 128));
    assert.deepEqual(bits(played(stream, [128])), bits(expected(name, stream.outputs)));
  });
}

const made = (name) => join(MADE, `${name}.relaxed.wasm`);
const skip = !existsSync(made("fixed")) && "made without --relaxed";

test("relaxed modules give what the others do, but for last digits", { skip }, async () => {
  const fixed = readFileSync(made("fixed"));
  if (!hasRelaxedSimd()) {
    await assert.rejects(compile(fixed), /^UnrolledError: module: /);
    // Node 20 has it behind a flag.
    setFlagsFromString("--experimental-wasm-relaxed-simd");
  }
  assert.ok(hasRelaxedSimd(), "this node has no relaxed SIMD");
  const relaxed = {
    fixed: await compile(fixed),
    unrolled: await compile(readFileSync(made("unrolled"))),
  };
  for (const name of names) {
    const stream = loaded(name, relaxed).stream(ROWS);
    const y = played(stream, [128]);
    for (const [n, own] of expected(name, stream.outputs).entries()) {
      const off = Math.max(...own.map((value, t) => Math.abs(value - y[n][t])));
      assert.ok(off <= 1e-6, `${name}: ${off}`);
    }
    stream.reset();
    assert.deepEqual(bits(played(stream, [1, 37, 127, 300])), bits(y), name);
  }
});

test("a model that is compiled in has one stream, and takes no file", () => {
  const model = new Unrolled(modules.fixed).load();
  assert.throws(() => model.stream(3), /^UnrolledError: channels: expected 1 or 2/);
  const stream = model.stream();
  assert.throws(() => model.stream(), /^UnrolledError: stream: expected none before/);
  stream.free();
  assert.throws(() => stream.reset(), /^UnrolledError: stream: expected one that is made/);
  const next = model.stream();
  assert.notEqual(played(next, [128])[0][0], 0);
  assert.throws(() => new Unrolled(modules.fixed).load(new Uint8Array(4)), /file: expected none/);
});

test("files that are no models are refused, by name", () => {
  const unrolled = new Unrolled(modules.unrolled);
  for (const data of [undefined, new Uint8Array(0), new Uint8Array(1000).fill(123)]) {
    assert.throws(() => unrolled.load(data), UnrolledError);
  }
  const text = readFileSync(new URL("rtneural.json", models), "utf8");
  const wrong = new TextEncoder().encode(text.replace('"lstm"', '"löss"'));
  assert.throws(() => unrolled.load(wrong), /löss/);
  // Cut short, wherever.
  const whole = readFileSync(new URL("amp.nam", models));
  for (let length = 0; length < whole.length; length += 97) {
    assert.throws(() => unrolled.load(whole.subarray(0, length)), UnrolledError);
  }
  assert.equal(unrolled.load(whole).inputSize, 1);
});

test("models and streams that are freed are not found, and give their memory back", () => {
  const unrolled = new Unrolled(modules.unrolled);
  const data = readFileSync(new URL("amp.nam", models));
  const model = unrolled.load(data);
  const stream = model.stream(1);
  model.free();
  assert.throws(() => model.stream(1), /model: expected one that is loaded/);
  assert.throws(() => model.free(), UnrolledError);
  const y = played(stream, [128]);
  stream.free();
  assert.throws(() => stream.free(), /stream: expected one that is made/);
  assert.throws(() => stream.process(signals(1), empty(1)), UnrolledError);
  for (let n = 0; n < 2000; n++) {
    const again = unrolled.load(data);
    again.stream(64).free();
    again.free();
  }
  const again = unrolled.load(data).stream(1);
  assert.deepEqual(bits(played(again, [128])), bits(y));
  assert.throws(() => unrolled.load(data).stream(2 ** 31 - 1), /too large/);
});

test("a stream finds its blocks again when memory has grown", () => {
  const unrolled = new Unrolled(modules.unrolled);
  const data = readFileSync(new URL("amp.nam", models));
  const stream = unrolled.load(data).stream(1);
  const y = played(stream, [128]);
  stream.reset();
  unrolled.load(data).stream(10_000);
  assert.deepEqual(bits(played(stream, [128])), bits(y));
});

test("handles that JavaScript makes up are refused", () => {
  for (const [name, module] of Object.entries(modules)) {
    const { exports } = new WebAssembly.Instance(module, {});
    for (const handle of [0, 1, 7, -1, 2 ** 31]) {
      assert.equal(exports.process(handle, 1), -1, name);
      assert.equal(exports.x(handle), 0, name);
      assert.equal(exports.reset(handle), -1, name);
      assert.equal(exports.free_stream(handle), -1, name);
      assert.equal(exports.stream(handle + 2, 1), -1, name);
    }
  }
  const { exports } = new WebAssembly.Instance(modules.fixed, {});
  assert.equal(exports.stream(0, 1), 0);
  assert.equal(exports.process(0, 128), 0);
  assert.equal(exports.process(0, 129), -1);
  assert.equal(exports.process(0, -1), -1);
});

test("a module that stops says so from then on", () => {
  // One whose `block` gives 128, and whose `load` traps.
  const exported = (name, index) => [name.length, ...Buffer.from(name), 0, index];
  const module = new WebAssembly.Module(
    Uint8Array.from([
      0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 127, 3, 3, 2, 0, 0,
      7, 16, 2, ...exported("block", 0), ...exported("load", 1),
      10, 11, 2, 5, 0, 65, 128, 1, 11, 3, 0, 0, 11,
    ]),
  );
  const unrolled = new Unrolled(module);
  for (let n = 0; n < 2; n++) {
    assert.throws(() => unrolled.load(), /the module has stopped, make another: unreachable/);
  }
});

test("what is no module is refused", async () => {
  await assert.rejects(compile(new Uint8Array(8)), /^UnrolledError: module: /);
  await assert.rejects(compile(new Response("", { status: 404 })), /got status 404/);
});
