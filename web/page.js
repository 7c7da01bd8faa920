// Reads what is drawn on the pad or chosen, and shows the answer.

import { History, save } from "./history.js";
import { Pad } from "./pad.js";
import { reduce } from "./picture.js";
import { ask } from "./service.js";

// Milliseconds between two readings of an unfinished drawing, and before a failed reading is tried again.
const PAUSE_MS = 150;
const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 8000;
// A doubted answer names the digits of at least this probability, if together they have most of it.
const OTHER_FROM = 0.15;
const MOST = 0.7;

const element = (id) => document.getElementById(id);

// The current reading, with its answer once there is one. The answer to an older one is dropped.
let newest = { abort: new AbortController(), picture: null, answer: null };
let timer = 0;

const pad = new Pad(element("pad"), (isEnd) => {
  element("undo").disabled = element("clear").disabled = pad.isEmpty;
  clearTimeout(timer);
  if (pad.isEmpty) {
    restart();
    say("");
    element("result").hidden = true;
    return;
  }
  timer = setTimeout(async () => {
    const drawing = await pad.toFile();
    read(restart(), drawing);
  }, isEnd ? 0 : PAUSE_MS);
});

const history = new History(element("rows"), (count) => {
  element("earlier").hidden = count === 0;
});

element("undo").addEventListener("click", () => pad.undo());
element("clear").addEventListener("click", () => {
  keepDrawing();
  pad.clear();
});
element("pad").addEventListener("keydown", (event) => {
  if (event.key === "Escape") element("clear").click();
  if (event.key === "z" && (event.ctrlKey || event.metaKey)) pad.undo();
});
element("file").addEventListener("change", (event) => choose(event.target.files));
// Few browsers can show HEIC, TIFF and JPEG 2000.
element("picture").addEventListener("error", () => (element("picture").hidden = true));
element("csv").addEventListener("click", () => save(history.toCsv(), "digits.csv", "text/csv"));
element("json").addEventListener("click", () => save(history.toJson(), "digits.json", "application/json"));
element("forget").addEventListener("click", () => history.forget());
element("why").addEventListener("toggle", () => explain());
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  choose(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => choose(event.clipboardData.files));

/** Read files one after the other; each answer stays in the table. */
async function choose(files) {
  if (files.length === 0) return;
  if (!pad.isEmpty) element("clear").click();
  const chosen = [...files];
  for (const [number, file] of chosen.entries()) {
    const reading = restart();
    say(chosen.length > 1 ? `Reading ${number + 1} of ${chosen.length} …` : "Reading …");
    const picture = await reduce(file);
    if (reading !== newest || !(await read(reading, picture, file.name || "picture"))) return;
  }
}

/** Abort the current reading and return a new one. */
function restart() {
  newest.abort.abort();
  newest = { abort: new AbortController(), picture: null, answer: null };
  return newest;
}

/** Read a picture file, or a drawing, which has no name, and show the answer; return false if a newer one replaced it.
 *
 * It tries again as long as the failure may pass.
 */
async function read(reading, picture, name = "") {
  reading.picture = picture;
  for (let wait = FIRST_WAIT_MS; ; wait = Math.min(2 * wait, LONGEST_WAIT_MS)) {
    const started = performance.now();
    try {
      const answer = await ask(element("why").open ? "explanations" : "predictions", picture, reading.abort.signal);
      if (reading !== newest) return false;
      reading.answer = answer;
      show(picture, name !== "", answer, performance.now() - started);
      if (name) history.add(picture, name, answer);
      return true;
    } catch (error) {
      if (reading !== newest) return false;
      element("result").hidden = true;
      say(error.message, true);
      if (!error.isPassing) {
        if (name) history.add(picture, name, null, error.message);
        return true;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
    if (reading !== newest) return false;
  }
}

/** Add the last drawing to the table of earlier pictures. */
function keepDrawing() {
  const { picture, answer } = newest;
  if (!pad.isEmpty && picture && answer) history.add(picture, "drawing", answer);
}

/** Show the digit, any doubt, and a bar for each of the ten probabilities. */
function show(picture, isFile, answer, milliseconds) {
  say("");
  URL.revokeObjectURL(element("picture").src);
  element("picture").hidden = !isFile;
  if (isFile) element("picture").src = URL.createObjectURL(picture);
  element("digit").textContent = answer.digit;
  element("confidence").textContent = `${percent(answer.confidence)} sure`;
  element("doubt").textContent = answer.certain ? "" : doubt(answer.probabilities);
  element("result").classList.toggle("doubted", !answer.certain);
  element("probabilities").replaceChildren(...answer.probabilities.map(row));
  element("time").textContent = `Answered in ${Math.round(milliseconds)} ms.`;
  element("result").hidden = false;
  explain();
}

/** Return what a doubted picture may show, as a sentence. */
function doubt(probabilities) {
  const likely = [...probabilities.keys()].filter((digit) => probabilities[digit] >= OTHER_FROM);
  likely.sort((one, other) => probabilities[other] - probabilities[one]);
  const together = likely.reduce((sum, digit) => sum + probabilities[digit], 0);
  return likely.length > 1 && together >= MOST ? `It could be ${likely.slice(0, 3).join(" or ")}.` : "This may not be a digit.";
}

function row(probability, digit) {
  const line = document.createElement("tr");
  const name = document.createElement("th");
  name.scope = "row";
  name.textContent = digit;
  const bar = document.createElement("progress");
  bar.value = probability;
  bar.setAttribute("aria-hidden", "true");
  const cells = [bar, percent(probability)].map((content) => {
    const cell = document.createElement("td");
    cell.append(content);
    return cell;
  });
  line.append(name, ...cells);
  return line;
}

/** Show the pixels that the net saw of the current picture, with their attribution, if that part is open. */
async function explain() {
  const reading = newest;
  if (!element("why").open || !reading.answer) return;
  try {
    if (!reading.answer.pixels) reading.answer = await ask("explanations", reading.picture, reading.abort.signal);
    if (reading === newest) paintSeen(reading.answer.pixels, reading.answer.saliency);
  } catch (error) {
    if (reading === newest) say(error.message, true);
  }
}

function paintSeen(pixels, saliency) {
  const context = element("seen").getContext("2d");
  const image = context.createImageData(28, 28);
  const most = Math.max(1e-6, ...saliency.flat().map(Math.abs));
  for (let index = 0; index < 28 * 28; index++) {
    const [y, x] = [Math.floor(index / 28), index % 28];
    const grey = pixels[y][x];
    const attribution = saliency[y][x] / most;
    const colour = attribution > 0 ? [60, 140, 255] : [255, 140, 30];
    const share = Math.min(1, 2 * Math.abs(attribution));
    colour.forEach((level, channel) => {
      image.data[4 * index + channel] = grey * (1 - share) + level * share;
    });
    image.data[4 * index + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

function say(sentence, problem = false) {
  element("message").textContent = sentence;
  element("message").classList.toggle("problem", problem);
}
