// Sends the chosen picture to the inference API and shows the answer.

const MAX_UPLOAD_BYTES = 8388608;
const element = (id) => document.getElementById(id);

// The number of the newest picture: the answer to an older one is dropped.
let newest = 0;

element("file").addEventListener("change", async (event) => {
  const picture = event.target.files[0];
  if (!picture) return;
  const number = ++newest;
  say("Reading …");
  try {
    const answer = await predict(picture);
    if (number === newest) show(picture, answer);
  } catch (error) {
    if (number === newest) fail(error);
  }
});

/** The address of the inference API; without a configuration it is that of the page. */
async function inferenceAddress() {
  const response = await fetch("config.json");
  return response.ok ? (await response.json()).inference : "";
}

/** POST a picture file and return {digit, confidence, probabilities}. Throws an Error with a sentence. */
async function predict(picture) {
  if (picture.size > MAX_UPLOAD_BYTES) {
    throw new Error("The picture is larger than 8 MB: choose a smaller one, or reduce it first.");
  }
  let response;
  try {
    const address = await inferenceAddress();
    response = await fetch(`${address}/predictions/mnist`, { method: "POST", body: picture });
  } catch {
    throw new Error("The service does not answer. Is scripts/serve running? Then choose the picture again.");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new Error(answer.error ?? answer.message ?? `The service answered with status ${response.status}.`);
  }
  return answer;
}

/** Show the picture, the digit and a bar for each of the ten probabilities. */
function show(picture, answer) {
  say("");
  URL.revokeObjectURL(element("picture").src);
  element("picture").src = URL.createObjectURL(picture);
  element("digit").textContent = answer.digit;
  element("confidence").textContent = `${percent(answer.confidence)} sure`;
  element("probabilities").replaceChildren(...answer.probabilities.map(row));
  element("result").hidden = false;
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

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

function say(sentence, problem = false) {
  element("message").textContent = sentence;
  element("message").classList.toggle("problem", problem);
}

function fail(error) {
  element("result").hidden = true;
  say(error.message, true);
}
