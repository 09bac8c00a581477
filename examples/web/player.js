// A model as a node of Web Audio.

import { compile } from "./unrolled.js";

/**
 * An AudioWorkletNode that applies a model: a file's bytes, or without them the one compiled in. `kind` is what the
 * module's name ends in, such as ".relaxed".
 */
export async function player(context, bytes, kind = "") {
  await context.audioWorklet.addModule("worklet.js");
  const module = await compile(fetch(`${bytes ? "unrolled" : "fixed"}${kind}.wasm`));
  const node = new AudioWorkletNode(context, "unrolled-player", {
    channelCount: 1,
    channelCountMode: "explicit",
    outputChannelCount: [1],
    processorOptions: { module, file: bytes },
  });
  await new Promise((ready, failed) => {
    node.onprocessorerror = () => failed(new Error("the worklet has failed"));
    node.port.onmessage = ({ data }) => (data.error ? failed(new Error(data.error)) : ready());
  });
  return node;
}
