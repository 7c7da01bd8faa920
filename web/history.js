// The pictures read so far: a table with thumbnails that can be saved, and is kept only in the page.

import { paint, within } from "./picture.js";

const MOST_ROWS = 500;
const THUMBNAIL_PX = 48;

export class History {
  /** Show rows in a table body; onChange is called with the number of rows. */
  constructor(body, onChange) {
    this.body = body;
    this.onChange = onChange;
    this.entries = [];
  }

  /** Add a picture file, under a name, with its answer or with the error that it got. */
  async add(picture, name, answer, error = "") {
    const entry = { name, digit: answer?.digit, confidence: answer?.confidence, certain: answer?.certain, error };
    this.entries.unshift(entry);
    const line = document.createElement("tr");
    const thumbnail = document.createElement("canvas");
    thumbnail.setAttribute("aria-hidden", "true");
    const doubt = answer?.certain === false ? " ?" : "";
    const sure = answer ? `${(100 * answer.confidence).toFixed(1)} %` : error;
    for (const content of [thumbnail, name, answer ? `${answer.digit}${doubt}` : "–", sure]) {
      const cell = document.createElement("td");
      cell.append(content);
      line.append(cell);
    }
    this.body.prepend(line);
    while (this.entries.length > MOST_ROWS) {
      this.entries.pop();
      this.body.lastElementChild.remove();
    }
    this.onChange(this.entries.length);
    await paint(picture, thumbnail, within(THUMBNAIL_PX));
  }

  forget() {
    this.entries = [];
    this.body.replaceChildren();
    this.onChange(0);
  }

  /** Return the table, oldest first, as the text of a CSV file (RFC 4180). */
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
