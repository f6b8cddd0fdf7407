// The page: a picture goes in by choosing, dropping or the camera; classes come out as bars.
import { Model, likeliest, pixelsOf } from "./classifier.js";

const part = (id) => document.getElementById(id);
let model;
let stream = null;

function say(id, words, kind = "") {
  part(id).textContent = words;
  part(id).className = kind;
}

function showBars({ logits, preparing, running }) {
  const bars = likeliest(logits, model.labels).map(({ label, share }) => {
    const row = document.createElement("li");
    const percent = `${(100 * share).toFixed(1)} %`;
    const [name, value, track, bar] = ["span", "span", "div", "div"].map((tag) => document.createElement(tag));
    name.textContent = label;
    value.textContent = percent;
    track.className = "track";
    bar.style.width = percent.replace(" ", "");
    track.append(bar);
    row.append(name, value, track);
    return row;
  });
  part("classes").replaceChildren(...bars);
  say("times", `model ${running.toFixed(1)} ms, preprocessing ${preparing.toFixed(1)} ms`);
}

function show(file, answer) {
  URL.revokeObjectURL(part("picture").src);
  part("picture").src = URL.createObjectURL(file);
  part("picture").hidden = false;
  showBars(answer);
}

async function showPicture(file) {
  stopCamera();
  say("problem", "");
  try {
    show(file, await model.classify(await pixelsOf(file)));
  } catch (error) {
    say("problem", error.message, "bad");
  }
}

function stopCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  part("video").hidden = true;
  part("camera").textContent = "Camera";
}

async function toggleCamera() {
  if (stream) return stopCamera();
  say("problem", "");
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    return say("problem", `the camera cannot be used: ${error.message}`, "bad");
  }
  part("camera").textContent = "Stop";
  part("picture").hidden = true;
  part("video").hidden = false;
  part("video").srcObject = stream;
  await part("video").play();
  while (stream) {
    showBars(await model.classify(await pixelsOf(part("video"))));
    await new Promise(requestAnimationFrame);
  }
}

function listen() {
  part("file").addEventListener("change", ({ target }) => target.files[0] && showPicture(target.files[0]));
  part("camera").addEventListener("click", toggleCamera);
  part("camera").hidden = !navigator.mediaDevices?.getUserMedia;
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) showPicture(event.dataTransfer.files[0]);
  });
  part("choices").hidden = false;
}

async function start() {
  try {
    model = await Model.open();
    const { error, picture, answer } = await model.selfCheck();
    const hashed = globalThis.crypto?.subtle ? "" : "; file hashes unchecked (open the page from localhost or over https)";
    say("check", `self-check passed: error ${error.toExponential(1)} of the outputs' range${hashed}`, "good");
    show(picture, answer);
  } catch (error) {
    say("check", `self-check failed: ${error.message}`, "bad");
    document.body.dataset.state = "failed";
    return;
  }
  listen();
  document.body.dataset.state = "ready";
}

start();
