// Reads what is drawn on the pad or chosen, and shows the answer.

import { bars, doubt, doubtNumber, isDigitDoubted, numbersIn, sentence, sureness } from "./answer.js";
import { Correction } from "./correction.js";
import { History, save } from "./history.js";
import { Numbers } from "./numbers.js";
import { Pad } from "./pad.js";
import { decode, paintPicture, reduce } from "./picture.js";
import { ask, config } from "./service.js";

// Milliseconds between two readings of an unfinished drawing, and before a failed reading is tried again.
const PAUSE_MS = 150;
const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 8000;
// A drawing is finished if there is no new stroke for so long.
const REST_MS = 1500;
// With this field the service does not keep a picture.
const UNKEPT = { keep: "false" };
const DRAW_HINT = "Write a digit or a number here";
const NOT_KEPT = "No picture is kept.";
const KEPT = "Pictures it doubts, and corrections, are kept on this server to teach it.";

const element = (id) => document.getElementById(id);

// The current reading: of a picture with a name or of a drawing without one. The answer to an older one is dropped.
let newest = { abort: new AbortController() };
let timer = 0;

const pad = new Pad(element("pad"), (isEnd) => {
  element("undo").disabled = element("clear").disabled = pad.isEmpty;
  element("hint").textContent = pad.isEmpty ? DRAW_HINT : "";
  const reading = restart({ isFinal: isEnd });
  clearTimeout(timer);
  if (pad.isEmpty) {
    complain("");
    element("status").textContent = "";
    element("invitation").hidden = false;
    return;
  }
  timer = setTimeout(async () => {
    reading.picture = await pad.toFile();
    if (reading === newest) read(reading);
  }, isEnd ? 0 : PAUSE_MS);
});
let camera = null;
const history = new History(
  element("cards"),
  (count) => (element("earlier").hidden = count === 0),
  (picture, entry) => {
    look(picture, entry.name, entry.name, entry);
    element("stage").scrollIntoView({ block: "nearest" });
  },
);

const correction = new Correction(element("correction"), (truth) => correct(newest, truth));
const numbers = new Numbers(element("digit"), (digit, name) => {
  element("result").classList.toggle("doubted", isDigitDoubted(digit));
  element("chances").textContent = `${name}: probabilities, in %`;
  element("probabilities").replaceChildren(...bars(digit));
  newest.sight?.choose(numbers.chosen);
});

element("undo").addEventListener("click", () => pad.undo());
element("clear").addEventListener("click", clearPad);
element("draw").addEventListener("click", draw);
element("pad").addEventListener("keydown", (event) => {
  if (event.key === "Escape") clearPad();
  if (event.key === "z" && (event.ctrlKey || event.metaKey)) pad.undo();
});

element("choose").addEventListener("click", () => element("file").click());
element("file").addEventListener("change", ({ target }) => {
  choose([...target.files]);
  // So that the same file may be chosen again.
  target.value = "";
});
for (const example of document.querySelectorAll("#examples button")) {
  example.addEventListener("click", () => tryExample(example.firstElementChild.src));
}
element("picture").addEventListener("click", (event) => {
  if (newest.sight?.numbers) numbers.choose(newest.sight.find(event));
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  choose([...event.dataTransfer.files]);
});
document.addEventListener("paste", (event) => choose([...event.clipboardData.files]));

element("open").addEventListener("click", openCamera);
element("close").addEventListener("click", draw);
element("shoot").addEventListener("click", async () => {
  const photo = await camera.shoot();
  choose([new File([photo], "photo.jpg", { type: photo.type })]);
  element("draw").focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !element("camera").hidden) draw();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden && !element("camera").hidden) draw();
});
navigator.mediaDevices?.addEventListener("devicechange", offerCamera);
offerCamera();

// If this fails, the first reading does it.
announce().catch(() => {});

element("csv").addEventListener("click", () => save(history.toCsv(), "digits.csv", "text/csv"));
element("json").addEventListener("click", () => save(history.toJson(), "digits.json", "application/json"));
element("forget").addEventListener("click", () => history.forget());

/** Show the pad, the picture or the camera on the stage, with the buttons that belong to it, and a hint. */
function stage(shown, hint) {
  if (shown !== "camera") camera?.stop();
  if (shown !== "picture") element("stage").classList.remove("tall");
  for (const id of ["pad", "picture", "camera"]) element(id).hidden = id !== shown;
  for (const button of document.querySelectorAll("[data-stage]")) {
    button.hidden = !button.dataset.stage.split(" ").includes(shown);
  }
  element("hint").textContent = hint;
}

/** Show an empty pad. */
function draw() {
  stage("pad", DRAW_HINT);
  pad.clear();
  element("pad").focus({ preventScroll: true });
}

/** Clear the pad; the drawing becomes a card. */
function clearPad() {
  if (pad.isEmpty) return;
  if (newest.answer) newest.entry = history.add(newest.picture, "drawing", newest.answer, newest);
  pad.clear();
}

async function openCamera() {
  clearPad();
  restart();
  complain("");
  stage("camera", "Fit the digit or the number into the frame");
  element("shoot").disabled = true;
  element("close").focus();
  try {
    camera ??= new (await load("./camera.js")).Camera(element("view"), element("frame"));
    await camera.start();
    element("shoot").disabled = false;
    element("shoot").focus();
    // Cancelled while the browser asked.
    if (element("camera").hidden) camera.stop();
  } catch (error) {
    if (element("camera").hidden) return;
    draw();
    complain(error.message);
  }
}

/** Offer the camera if there is one, and the page may ask for it: only one from a secure origin may. */
async function offerCamera() {
  const devices = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
  element("open").classList.toggle("missing", !devices.some((device) => device.kind === "videoinput"));
}

/** Import a module that the first view does without. Throws an Error with a sentence. */
function load(name) {
  return import(name).catch((cause) => {
    throw new Error("A part of this page does not arrive: load the page again.", { cause });
  });
}

async function tryExample(address) {
  const response = await fetch(address).catch(() => null);
  if (response?.ok) choose([new File([await response.blob()], address.split("/").at(-1))]);
  else complain("The example cannot be fetched. Is scripts/serve running?");
}

/** Read files one after the other; each answer becomes a card. */
async function choose(files) {
  for (const [number, file] of files.entries()) {
    const name = file.name || "picture";
    const reading = await look(file, name, files.length > 1 ? `${number + 1} of ${files.length}: ${name}` : name);
    if (!reading) return;
    reading.entry = history.add(reading.picture, name, reading.answer, reading);
  }
}

/** Show and read a picture file, which may have an entry of the history already.
 *
 * Return the reading once it has an answer or an error, null if a newer one replaced it.
 */
async function look(file, name, hint = name, entry = null) {
  clearPad();
  const reading = restart({ name, entry, truth: entry?.truth ?? null });
  stage("picture", hint);
  reading.picture = await reduce(file);
  const bitmap = await decode(reading.picture);
  if (reading !== newest) return null;
  paintPicture(bitmap, element("picture"));
  element("stage").classList.toggle("tall", element("picture").height > element("picture").width);
  element("picture").ariaLabel = `The picture ${name}`;
  return (await read(reading)) ? reading : null;
}

/** Abort the current reading and return a new one. */
function restart(reading) {
  newest.abort.abort();
  newest = {
    abort: new AbortController(),
    picture: null,
    name: "",
    isFinal: true,
    answer: null,
    error: "",
    // What the explanation shows.
    sight: null,
    // What a person says that the picture shows, whether that was sent or not, and where the history has it.
    pressed: null,
    truth: null,
    entry: null,
    ...reading,
  };
  // This clears it.
  element("found").width = 1;
  element("result").classList.add("old");
  correction.hide();
  return newest;
}

/** Read a picture and show the answer; return false if a newer one replaced it. */
async function read(reading) {
  let started = 0;
  const predict = async () => {
    await announce();
    started = performance.now();
    // A drawing may go on, and a picture of the history was sent before.
    const mayBeKept = reading.name !== "" && reading.entry === null;
    return ask("predictions", reading.picture, reading.abort.signal, mayBeKept ? {} : UNKEPT);
  };
  try {
    reading.answer = await insist(predict, () => reading === newest);
  } catch (error) {
    reading.error = error.message;
    return true;
  }
  if (reading !== newest) return false;
  show(reading.answer, performance.now() - started);
  if (reading.isFinal) {
    element("status").textContent = sentence(reading.answer, reading.name);
    correction.offer(reading.answer, reading.truth);
    explain(reading);
    if (reading.name === "" && !reading.answer.certain) setTimeout(() => keep(reading), REST_MS);
  }
  return true;
}

/** Have the service keep a drawing that rests, if it keeps any, unless it has it with a correction. */
async function keep(reading) {
  const { keeps } = await config();
  if (!keeps || reading !== newest || reading.pressed !== null) return;
  await ask("predictions", reading.picture).catch(() => {});
}

/** Say what is kept of the pictures, which is known before one is sent. Throws a ServiceError. */
async function announce() {
  const { keeps } = await config();
  element("keeping").textContent = keeps ? KEPT : NOT_KEPT;
}

/** Send what a person says that a picture shows, and thank for it; a later correction replaces it. */
async function correct(reading, truth) {
  reading.pressed = truth;
  const isWanted = () => reading === newest && reading.pressed === truth;
  const send = async () => {
    // The next reading does not abort it.
    await ask("predictions", reading.picture, null, { truth });
    if (reading.pressed !== truth) return;
    reading.truth = truth;
    if (reading.entry) history.correct(reading.entry, truth);
  };
  try {
    await insist(send, isWanted, false);
  } catch {
    reading.pressed = reading.truth;
    correction.mark(reading.truth);
    return;
  }
  if (!isWanted()) return;
  complain("", false);
  element("status").textContent = correction.thank();
}

/** Return what a call returns, or null if it is no longer wanted.
 *
 * It is called again as long as its failure, which is shown in place of an answer or beside it, may pass. Throws the
 * ServiceError that may not.
 */
async function insist(call, isWanted, isInstead = true) {
  for (let wait = FIRST_WAIT_MS; ; wait = Math.min(2 * wait, LONGEST_WAIT_MS)) {
    try {
      const answer = await call();
      return isWanted() ? answer : null;
    } catch (error) {
      if (!isWanted()) return null;
      complain(error.message, isInstead);
      if (!error.isPassing) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
    if (!isWanted()) return null;
  }
}

/** Show where the digit or the numbers were found, and what the net saw. */
async function explain(reading) {
  try {
    const explanation = await ask("explanations", reading.picture, reading.abort.signal, { mask: "true", ...UNKEPT });
    const canvases = { picture: element("picture"), found: element("found"), seen: element("seen") };
    const { Sight } = await load("./sight.js");
    const sight = await Sight.load(reading.picture, explanation, canvases);
    if (reading !== newest) return;
    reading.sight = sight;
    const isShown = sight.show(sight.numbers ? numbers.chosen : 0);
    element("result").classList.remove("old");
    if (!isShown) element("hint").textContent = "This browser cannot show the picture. This is the ink that was found.";
  } catch (error) {
    if (reading === newest) complain(error.message, false);
  }
}

/** Show digit or numbers, any doubt, and a bar for each of the ten probabilities of a digit. */
function show(answer, milliseconds) {
  complain("");
  const found = numbersIn(answer);
  const isOne = found?.length === 1;
  element("result").classList.toggle("number", found !== null);
  element("result").classList.toggle("several", found !== null && !isOne);
  element("correction").hidden = found !== null;
  element("confidence").textContent = sureness(answer);
  if (found) {
    element("doubt").textContent = isOne ? doubtNumber(found[0]) : "";
    numbers.show(found);
  } else {
    element("digit").textContent = answer.digit;
    element("doubt").textContent = doubt(answer);
    element("result").classList.toggle("doubted", !answer.certain);
    element("chances").textContent = "Probability of each digit, in %";
    element("probabilities").replaceChildren(...bars(answer));
  }
  element("time").textContent = `Answered in ${Math.round(milliseconds)} ms.`;
  element("result").hidden = false;
}

/** Show a problem, or that there is none, in place of an answer or beside it. */
function complain(problem, isInstead = true) {
  // The same again would be read aloud again.
  if (element("message").textContent !== problem) element("message").textContent = problem;
  element("invitation").hidden = true;
  if (isInstead) element("result").hidden = true;
}
