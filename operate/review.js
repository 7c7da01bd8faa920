// Shows the pictures of a review one after the other, and sends the label that each gets by a key.

// So many pictures are fetched before they are needed.
const AHEAD = 3;
// Smaller ones are shown as pixels.
const SMALL_PX = 100;

const element = (id) => document.getElementById(id);

const { pictures, train } = await (await fetch("pictures.json")).json();
// What was fetched, by the index of the picture: a promise of the image, or of an Error.
const fetched = new Map();
// The indices of the pictures that got a label or were skipped, in this order.
const passed = [];
let index = 0;
// Until the next picture is on the screen, keys do nothing: nobody labels what was not seen.
let isBusy = false;

for (let digit = 0; digit < 10; digit++) {
  const key = document.createElement("button");
  key.type = "button";
  key.textContent = digit;
  key.ariaKeyShortcuts = digit;
  key.addEventListener("click", () => run(() => label(String(digit))));
  element("digits").append(key);
}
element("none").addEventListener("click", () => run(() => label("none")));
element("accept").addEventListener("click", () => run(accept));
element("skip").addEventListener("click", () => run(() => label("")));
element("undo").addEventListener("click", () => run(undo));
// A click leaves the focus where it is: the space bar would press the button again.
element("keys").addEventListener("mousedown", (event) => event.preventDefault());
document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const act = find(event);
  if (!act) return;
  event.preventDefault();
  run(act);
});
element("train").textContent = train;
run(show);

/** Return what a key does, if anything; digits also by their place on keyboards that need the shift key for them. */
function find({ key, code, target }) {
  const digit = /^(?:Digit|Numpad)(\d)$/.exec(code)?.[1] ?? /^\d$/.exec(key)?.[0];
  if (digit) return () => label(digit);
  if (key === "Backspace") return undo;
  if (key === "n") return () => label("none");
  if (key === "s") return () => label("");
  // On a button they press that.
  return [" ", "Enter"].includes(key) && target.tagName !== "BUTTON" ? accept : null;
}

/** Show the picture at the index, or the first one after it that can be read. */
async function show() {
  for (; index < pictures.length; index++) {
    const image = await load(index);
    for (let next = index + 1; next <= index + AHEAD && next < pictures.length; next++) load(next);
    fetched.delete(index - AHEAD);
    if (!(image instanceof Error)) {
      element("sheet").replaceChildren(image);
      break;
    }
    element("message").textContent = `${pictures[index].file} was skipped. ${image.message}`;
  }
  const isEnd = index === pictures.length;
  element("progress").textContent = `${Math.min(index + 1, pictures.length)} of ${pictures.length}.`;
  element("proposal").textContent = isEnd ? "" : describe(pictures[index]);
  element("file").textContent = isEnd ? "" : pictures[index].file;
  if (isEnd) element("sheet").replaceChildren();
  element("end").hidden = !isEnd;
  element("undo").disabled = passed.length === 0;
}

/** Return a promise of the image of a picture, or of an Error that says why it cannot be read. */
function load(number) {
  if (!fetched.has(number)) fetched.set(number, fetchImage(number));
  return fetched.get(number);
}

async function fetchImage(number) {
  try {
    const response = await send(`pictures/${number}`);
    const image = new Image();
    image.alt = pictures[number].file;
    image.src = URL.createObjectURL(await response.blob());
    await image.decode();
    URL.revokeObjectURL(image.src);
    image.classList.toggle("small", Math.max(image.naturalWidth, image.naturalHeight) < SMALL_PX);
    return image;
  } catch (error) {
    return error;
  }
}

/** Return what the service answered and a person said, as sentences. */
function describe({ digit, confidence, truth }) {
  const answer = digit === undefined ? "" : `Read as ${digit}, ${(100 * confidence).toFixed(1)} % sure.`;
  const said = truth === undefined ? "" : `Its sender says: ${truth === "none" ? "no digit" : truth}.`;
  return `${said} ${answer}`;
}

/** Do something that ends with a picture on the screen, unless another such thing is under way. */
async function run(act) {
  if (isBusy) return;
  isBusy = true;
  element("message").textContent = "";
  try {
    await act();
  } catch (error) {
    element("message").textContent = error.message;
  }
  isBusy = false;
}

/** Accept what the sender says or, if that is nothing, what was read. */
async function accept() {
  const { digit, truth } = pictures[index] ?? {};
  const proposed = truth ?? digit;
  if (index < pictures.length && proposed === undefined) throw new Error("Nothing is proposed here: press a digit, n or s.");
  await label(String(proposed));
}

/** Save the label of the picture, or skip it if that is "", and show the next. */
async function label(text) {
  if (index === pictures.length) return;
  if (text) await send(`labels/${index}`, { method: "PUT", body: text });
  passed.push(index);
  index += 1;
  await show();
}

/** Show the last picture again, without its label. */
async function undo() {
  if (passed.length === 0) return;
  await send(`labels/${passed.at(-1)}`, { method: "DELETE" });
  index = passed.pop();
  await show();
}

/** Return the response to a request. Throws an Error with a sentence. */
async function send(path, options) {
  const response = await fetch(path, options).catch(() => null);
  if (!response) throw new Error("scripts/review has ended. What was labelled is saved: start it again to go on.");
  if (!response.ok) throw new Error((await response.json()).error);
  return response;
}
