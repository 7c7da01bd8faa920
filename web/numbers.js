// The numbers that a picture shows, each of their digits to be chosen with a tap or the arrow keys.

import { isDigitDoubted, part, percent } from "./answer.js";

export class Numbers {
  /** Show numbers in an element; onChoose is called with a digit and a name for it. */
  constructor(place, onChoose) {
    this.place = place;
    this.onChoose = onChoose;
    this.keys = [];
  }

  /** Show numbers, and choose their least certain digit. */
  show(numbers) {
    this.keys = [];
    const groups = numbers.map((number) => this.write(number, numbers.length > 1));
    this.place.replaceChildren(...groups);
    this.place.style.setProperty("--count", Math.max(...numbers.map(({ digits }) => digits.length)));
    const least = Math.min(...this.keys.map(({ digit }) => digit.confidence));
    this.choose(this.keys.findIndex(({ digit }) => digit.confidence === least));
  }

  /** Return the keys of a number's digits as one element, with its confidence if it is one of several. */
  write(number, isOne) {
    const group = part("number", "");
    group.role = "radiogroup";
    group.ariaLabel = `${number.text}, ${percent(number.confidence)} sure`;
    group.classList.toggle("doubted", !number.certain);
    for (const [index, digit] of number.digits.entries()) {
      const label = document.createElement("label");
      const key = document.createElement("input");
      Object.assign(key, { type: "radio", name: "chosen", className: "unseen" });
      key.ariaLabel = `${digit.digit}, ${percent(digit.confidence)} sure`;
      const name = number.digits.length > 1 ? `Digit ${index + 1} of ${number.text}` : number.text;
      const order = this.keys.push({ key, digit, name }) - 1;
      key.addEventListener("change", () => this.choose(order));
      label.classList.toggle("unsure", isDigitDoubted(digit));
      label.append(key, String(digit.digit));
      group.append(label);
    }
    if (isOne) group.append(part("sure", percent(number.confidence)));
    return group;
  }

  /** Choose a digit by its order among those of all numbers. */
  choose(order) {
    const { key, digit, name } = this.keys[order];
    key.checked = true;
    this.chosen = order;
    this.onChoose(digit, name);
  }
}
