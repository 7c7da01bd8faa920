// A pad to draw on with mouse, finger or pen.

const PAPER = "#fff";
const INK = "#111";
// Width of a line, as a share of the pad; a pen's pressure makes it thinner or wider.
const LINE_SHARE = 0.06;

export class Pad {
  /** Draw on a canvas; onChange is called after each change, with true at the end of a stroke. */
  constructor(canvas, onChange) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.onChange = onChange;
    this.strokes = [];
    this.drawing = null;
    canvas.addEventListener("pointerdown", (event) => this.start(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => this.end(event));
    }
    this.paint();
  }

  get isEmpty() {
    return this.strokes.length === 0;
  }

  start(event) {
    if (this.drawing !== null || event.button !== 0) return;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.drawing = event.pointerId;
    this.canvas.setPointerCapture(event.pointerId);
    this.strokes.push([this.point(event)]);
    this.change(false);
  }

  move(event) {
    if (event.pointerId !== this.drawing) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) this.strokes.at(-1).push(this.point(each));
    this.change(false);
  }

  end(event) {
    if (event.pointerId !== this.drawing) return;
    this.drawing = null;
    this.change(true);
  }

  /** Return where an event is on the canvas, and how wide the line is there; all but a pen have a pressure of 0.5. */
  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const pressure = event.pointerType === "pen" && event.pressure > 0 ? event.pressure : 0.5;
    return {
      x: ((event.clientX - box.left) / box.width) * this.canvas.width,
      y: ((event.clientY - box.top) / box.height) * this.canvas.height,
      width: LINE_SHARE * this.canvas.width * (0.6 + 0.8 * pressure),
    };
  }

  undo() {
    this.strokes.pop();
    this.drawing = null;
    this.change(true);
  }

  clear() {
    this.strokes = [];
    this.drawing = null;
    this.change(true);
  }

  change(isEnd) {
    this.paint();
    this.onChange(isEnd);
  }

  /** Repaint all strokes, each as curves through the midpoints of its segments. */
  paint() {
    const { context, canvas } = this;
    context.fillStyle = PAPER;
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.strokeStyle = INK;
    context.lineCap = context.lineJoin = "round";
    for (const stroke of this.strokes) {
      let [last] = stroke;
      let from = last;
      for (const point of stroke.length > 1 ? stroke.slice(1) : stroke) {
        const middle = { x: (last.x + point.x) / 2, y: (last.y + point.y) / 2 };
        context.beginPath();
        context.moveTo(from.x, from.y);
        context.quadraticCurveTo(last.x, last.y, middle.x, middle.y);
        context.lineWidth = point.width;
        context.stroke();
        from = middle;
        last = point;
      }
      context.beginPath();
      context.moveTo(from.x, from.y);
      context.lineTo(last.x, last.y);
      context.lineWidth = last.width;
      context.stroke();
    }
  }

  /** Return the drawing as a PNG file. */
  toFile() {
    return new Promise((resolve) => this.canvas.toBlob(resolve, "image/png"));
  }
}
