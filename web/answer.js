// Words and bars for an answer.

// A doubted answer names the digits of at least this probability, if together they have most of it.
const OTHER_FROM = 0.15;
const MOST = 0.7;

/** Return what a doubted picture may show, as a sentence; nothing for a certain answer. */
export function doubt({ certain, probabilities }) {
  if (certain) return "";
  const likely = [...probabilities.keys()].filter((digit) => probabilities[digit] >= OTHER_FROM);
  likely.sort((one, other) => probabilities[other] - probabilities[one]);
  const together = likely.reduce((sum, digit) => sum + probabilities[digit], 0);
  return likely.length > 1 && together >= MOST ? `It could be ${likely.slice(0, 3).join(" or ")}.` : "This may not be a digit.";
}

/** Return digit, confidence and doubt as one sentence, for those who hear it. */
export function sentence(answer, name) {
  const start = name ? `${name}: ` : "";
  const doubted = doubt(answer).replace(/^./, (letter) => letter.toLowerCase());
  return `${start}${answer.digit}, ${percent(answer.confidence)} sure${doubted ? `, ${doubted}` : "."}`;
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
