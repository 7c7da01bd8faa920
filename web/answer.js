// Words and bars for an answer.

// A doubted answer names the digits of at least this probability, if together they have most of it.
const OTHER_FROM = 0.15;
const MOST = 0.7;
// A digit of a number is doubted below this confidence, which is certain_from in handler/model-config.yaml.
const SURE_FROM = 0.9;

/** Return what a doubted picture may show, as a sentence; nothing for a certain answer. */
export function doubt({ certain, probabilities }) {
  if (certain) return "";
  const likely = [...probabilities.keys()].filter((digit) => probabilities[digit] >= OTHER_FROM);
  likely.sort((one, other) => probabilities[other] - probabilities[one]);
  const together = likely.reduce((sum, digit) => sum + probabilities[digit], 0);
  return likely.length > 1 && together >= MOST ? `It could be ${likely.slice(0, 3).join(" or ")}.` : "This may not be a digit.";
}

/** Return the numbers that a picture shows; null if it shows one digit, or nothing better is known. */
export function numbersIn({ certain, numbers = [] }) {
  const isShown = !certain && numbers.some((number) => number.certain || number.digits.length > 1);
  return isShown ? numbers : null;
}

/** Return whether a digit of a number is doubted. */
export function isDigitDoubted({ confidence }) {
  return confidence < SURE_FROM;
}

/** Return what may be wrong with a doubted number, as a sentence; nothing for a certain one. */
export function doubtNumber({ certain, digits }) {
  if (certain) return "";
  const doubted = [...digits.keys()].filter((index) => isDigitDoubted(digits[index]));
  if (doubted.length === 0) return "A digit may be missing or wrong.";
  if (doubted.length > 1) return `${doubted.length} digits are doubted.`;
  const named = `Digit ${doubted[0] + 1}`;
  return doubt({ certain, ...digits[doubted[0]] }).replace(/^It/, named).replace(/^This.*/, `${named} is doubted.`);
}

/** Return what was read as a text, with a question mark if it is doubted. */
export function textOf({ text, digit, certain }) {
  return `${text ?? digit}${certain ? "" : "?"}`;
}

/** Return how sure an answer is: its confidence, or that of its number, or how many numbers it has. */
export function sureness(answer) {
  const numbers = numbersIn(answer) ?? [answer];
  if (numbers.length === 1) return `${percent(numbers[0].confidence)} sure`;
  const doubted = numbers.filter(({ certain }) => !certain).length;
  return `${numbers.length} numbers${doubted ? `, ${doubted} doubted` : ""}`;
}

/** Return digit or numbers, confidence and doubt as one sentence, for those who hear it. */
export function sentence(answer, name) {
  const start = name ? `${name}: ` : "";
  const numbers = numbersIn(answer);
  const sure = sureness(answer);
  if (numbers?.length > 1) {
    const read = numbers.map((number) => `${spell(number)}${number.certain ? "" : ", doubted"}`);
    return `${start}${sure}: ${read.join("; ")}.`;
  }
  const [text, doubts] = numbers ? [spell(numbers[0]), doubtNumber(numbers[0])] : [answer.digit, doubt(answer)];
  return `${start}${text}, ${sure}${doubts ? `, ${doubts[0].toLowerCase()}${doubts.slice(1)}` : "."}`;
}

/** Return a number digit by digit, as it is to be heard: 0156 is not 156. */
function spell({ text }) {
  return [...text].join(" ");
}

export function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

/** Return the ten probabilities as the items of a list, each with a bar. */
export function bars({ digit, probabilities }) {
  return probabilities.map((probability, each) => {
    const item = document.createElement("li");
    item.classList.toggle("best", each === digit);
    item.style.setProperty("--share", probability);
    const shown = Math.round(100 * probability);
    item.append(part("share", shown ? String(shown) : ""), part("bar", ""), part("name", String(each)), part("unseen", `: ${percent(probability)}`));
    item.firstChild.ariaHidden = "true";
    return item;
  });
}

/** Return a span of a class with a text. */
export function part(name, text) {
  const span = document.createElement("span");
  span.className = name;
  span.textContent = text;
  return span;
}
