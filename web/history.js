// The pictures read so far: cards with thumbnails that can be saved, and are kept only in the page.

import { numbersIn, part, sureness, textOf } from "./answer.js";
import { decode, paint } from "./picture.js";

const MOST_CARDS = 500;
const THUMBNAIL_PX = 128;
const COLUMNS = ["name", "digit", "confidence", "certain", "numbers", "numbers_certain", "error", "truth"];

export class History {
  /** Show cards in a list; onChange is called with their number, onLook with the picture and entry of one pressed. */
  constructor(list, onChange, onLook) {
    this.list = list;
    this.onChange = onChange;
    this.onLook = onLook;
    this.entries = [];
  }

  /** Add a picture file, under a name, with its answer or the error that it got, and what a person says that it shows.
   *
   * Return its entry.
   */
  add(picture, name, answer, { error = "", truth = null } = {}) {
    const card = document.createElement("button");
    card.type = "button";
    const thumbnail = document.createElement("canvas");
    thumbnail.ariaHidden = "true";
    card.append(thumbnail, part("digit", ""), " ", part("name", name), " ", part(answer ? "sure" : "error", error));
    const numbers = answer && numbersIn(answer);
    const entry = {
      name,
      digit: answer?.digit,
      confidence: answer?.confidence,
      certain: answer?.certain,
      numbers: numbers?.map(({ text }) => text).join(" "),
      numbers_certain: numbers?.every(({ certain }) => certain),
      error,
      card,
      text: answer && (numbers ?? [answer]).map(textOf).join(" "),
      sure: answer && sureness(answer),
    };
    card.classList.toggle("number", Boolean(numbers));
    this.entries.unshift(entry);
    this.correct(entry, truth);
    card.addEventListener("click", () => this.onLook(picture, entry));
    const item = document.createElement("li");
    item.append(card);
    this.list.prepend(item);
    while (this.entries.length > MOST_CARDS) {
      this.entries.pop();
      this.list.lastElementChild.remove();
    }
    this.onChange(this.entries.length);
    paintThumbnail(picture, answer, thumbnail);
    return entry;
  }

  /** Show on the card of an entry what a person says that it shows, null for nothing. */
  correct(entry, truth) {
    const { card, text, digit, sure } = entry;
    const isCertain = entry.numbers_certain ?? entry.certain;
    entry.truth = truth;
    card.classList.toggle("doubted", isCertain === false && truth === null);
    card.querySelector(".digit").textContent = truth === null ? (text ?? "–") : truth === "none" ? "–" : truth;
    if (!text) return;
    card.lastElementChild.textContent = `${truth === null ? "" : `read as ${digit}, `}${sure}`;
  }

  forget() {
    this.entries = [];
    this.list.replaceChildren();
    this.onChange(0);
  }

  /** Return the entries, oldest first, as the text of a CSV file (RFC 4180). */
  toCsv() {
    const rows = this.entries.toReversed().map((entry) => COLUMNS.map((name) => quote(entry[name])).join(","));
    return [COLUMNS.join(","), ...rows, ""].join("\r\n");
  }

  toJson() {
    return `${JSON.stringify(this.entries.toReversed(), COLUMNS, 1)}\n`;
  }
}

/** Paint a picture file with its answer, as far as this browser can read it. */
async function paintThumbnail(picture, answer, canvas) {
  const bitmap = await decode(picture, answer?.as_stored);
  if (bitmap) paint(bitmap, THUMBNAIL_PX, canvas);
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
