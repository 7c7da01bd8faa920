// The pictures read so far: cards with thumbnails that can be saved, and are kept only in the page.

import { part, percent } from "./answer.js";
import { decode, paint } from "./picture.js";

const MOST_CARDS = 500;
const THUMBNAIL_PX = 128;

export class History {
  /** Show cards in a list; onChange is called with their number, onLook with the picture and name of one pressed. */
  constructor(list, onChange, onLook) {
    this.list = list;
    this.onChange = onChange;
    this.onLook = onLook;
    this.entries = [];
  }

  /** Add a picture file, under a name, with its answer or with the error that it got. */
  async add(picture, name, answer, error = "") {
    const entry = { name, digit: answer?.digit, confidence: answer?.confidence, certain: answer?.certain, error };
    this.entries.unshift(entry);
    const card = document.createElement("button");
    card.type = "button";
    card.classList.toggle("doubted", answer?.certain === false);
    const thumbnail = document.createElement("canvas");
    thumbnail.ariaHidden = "true";
    const digit = answer ? `${answer.digit}${answer.certain ? "" : "?"}` : "–";
    const sure = answer ? part("sure", `${percent(answer.confidence)} sure`) : part("error", error);
    card.append(thumbnail, part("digit", digit), " ", part("name", name), " ", sure);
    card.addEventListener("click", () => this.onLook(picture, name));
    const item = document.createElement("li");
    item.append(card);
    this.list.prepend(item);
    while (this.entries.length > MOST_CARDS) {
      this.entries.pop();
      this.list.lastElementChild.remove();
    }
    this.onChange(this.entries.length);
    const bitmap = await decode(picture, answer?.as_stored);
    if (bitmap) paint(bitmap, THUMBNAIL_PX, thumbnail);
  }

  forget() {
    this.entries = [];
    this.list.replaceChildren();
    this.onChange(0);
  }

  /** Return the entries, oldest first, as the text of a CSV file (RFC 4180). */
  toCsv() {
    const names = ["name", "digit", "confidence", "certain", "error"];
    const rows = this.entries.toReversed().map((entry) => names.map((name) => quote(entry[name])).join(","));
    return [names.join(","), ...rows, ""].join("\r\n");
  }

  toJson() {
    return `${JSON.stringify(this.entries.toReversed(), null, 1)}\n`;
  }
}

/** Return a value as a cell of a CSV file. */
function quote(value) {
  // A spreadsheet would take a name that begins like this for a formula.
  const text = String(value ?? "").replace(/^(?=[=+@\t-])/, "'");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Have the browser save a text as a file. */
export function save(text, name, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
