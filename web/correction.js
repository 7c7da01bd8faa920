// The keys with which a person says which digit a picture shows.

const TRUTHS = [...Array(10).keys(), "none"];

export class Correction {
  /** Fill a details element with the keys; onPress is called with the truth of the one pressed, 0 to 9 or "none". */
  constructor(details, onPress) {
    this.details = details;
    this.summary = details.querySelector("summary");
    this.thanks = details.lastElementChild;
    this.keys = TRUTHS.map((truth) => {
      const key = document.createElement("button");
      key.type = "button";
      key.textContent = truth === "none" ? "No digit" : truth;
      key.addEventListener("click", () => {
        if (truth === this.pressed) return;
        this.mark(truth);
        onPress(truth);
      });
      return key;
    });
    details.querySelector("[role=group]").append(...this.keys);
    details.addEventListener("toggle", () => this.label());
    this.hide();
  }

  /** Offer the keys for an answer, openly if it is doubted; truth is what was said of it before, or null. */
  offer({ certain }, truth) {
    this.details.open = !certain;
    this.details.classList.remove("gone");
    this.label();
    this.mark(truth);
  }

  /** Hide the keys. */
  hide() {
    this.details.classList.add("gone");
    this.mark(null);
  }

  /** Show which key is pressed, if any, and that nobody was thanked for it yet. */
  mark(truth) {
    this.pressed = truth;
    this.keys.forEach((key, index) => (key.ariaPressed = TRUTHS[index] === truth));
    this.thanks.textContent = "";
  }

  /** Thank for the truth that was sent, with a sentence that is returned. */
  thank() {
    const sentence = `Thank you, noted as ${this.pressed === "none" ? "no digit" : this.pressed}.`;
    this.thanks.textContent = sentence;
    return sentence;
  }

  label() {
    this.summary.textContent = this.details.open ? "It is a …" : "Wrong?";
  }
}
