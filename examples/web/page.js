// The page's side: what is played, and what the worklet says.

import { player } from "./player.js";

const find = (id) => document.getElementById(id);
const [play, status, file] = ["play", "status", "file"].map(find);

let playing = null; // { context, oscillator, player, gain }

async function start() {
  const bytes = file.files.length > 0 ? await file.files[0].arrayBuffer() : undefined;
  const context = new AudioContext();
  try {
    const node = await player(context, bytes);
    node.port.onmessage = ({ data }) => {
      if (data.error) stop(data.error);
      else show(data.load);
    };
    const oscillator = new OscillatorNode(context);
    const gain = new GainNode(context);
    oscillator.connect(node).connect(gain).connect(context.destination);
    playing = { context, oscillator, player: node, gain };
    follow();
    oscillator.start();
    await context.resume();
  } catch (error) {
    await context.close();
    throw error;
  }
  play.textContent = "Stop";
  const name = bytes ? file.files[0].name : "the model compiled in";
  status.textContent = `Playing ${name} at ${context.sampleRate} Hz.`;
}

async function stop(message = "Stopped.") {
  if (playing === null) return;
  const { context, player } = playing;
  playing = null;
  player.port.postMessage("stop");
  play.textContent = "Start";
  show(null);
  status.textContent = message;
  await context.close();
}

/** The controls, as they stand. */
function follow() {
  if (playing === null) return;
  const { context, oscillator, gain } = playing;
  oscillator.type = find("shape").value;
  oscillator.frequency.setTargetAtTime(Number(find("frequency").value), context.currentTime, 0.01);
  gain.gain.setTargetAtTime(Number(find("volume").value), context.currentTime, 0.01);
}

function show(load) {
  find("load").value = load ?? 0;
  find("percent").textContent = load === null ? "–" : `${(100 * load).toFixed(1)} %`;
}

/** One thing after another, whatever is pressed meanwhile. */
async function one(work) {
  play.disabled = true;
  try {
    await work();
  } catch (error) {
    status.textContent = error.message;
  } finally {
    play.disabled = false;
  }
}

play.addEventListener("click", () => one(playing === null ? start : stop));
file.addEventListener("change", () =>
  one(async () => {
    if (playing !== null) await stop();
    await start();
  }),
);
find("controls").addEventListener("input", follow);
