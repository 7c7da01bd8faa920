// A pad to draw on with mouse, finger or pen.

import { paint, toFile } from "./picture.js";

const PAPER = "#fff";
const INK = "#111";
// The canvas: square, or wide where the page has room for that.
const HEIGHT_PX = 1120;
const WIDE_PX = 1680;
// Width of a line, as a share of the height; a pen's pressure makes it thinner or wider.
const LINE_SHARE = 0.045;
// Pixels of the picture that is sent for one of the canvas.
const SENT_SCALE = 0.5;
// A touch so many milliseconds before or after a pen is the palm of the hand that holds it.
const PALM_MS = 1000;

export class Pad {
  /** Draw on a canvas; onChange is called after each change, with true at the end of a stroke. */
  constructor(canvas, onChange) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.onChange = onChange;
    this.strokes = [];
    // The id of the pointer that draws, and the width that the pad has for it.
    this.drawing = null;
    this.width = 0;
    this.penTime = -Infinity;
    canvas.addEventListener("pointerdown", (event) => this.start(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    // On the window: the capture may have failed.
    window.addEventListener("pointerup", (event) => this.end(event));
    window.addEventListener("pointercancel", (event) => this.cancel(event));
    canvas.addEventListener("lostpointercapture", (event) => this.end(event));
    // A pen that is held still.
    canvas.addEventListener("contextmenu", (event) => {
      if (this.drawing !== null) event.preventDefault();
    });
    // Otherwise iPadOS takes strokes of a Pencil for handwriting (Scribble).
    canvas.addEventListener("touchmove", preventScribble, { passive: false });
    window.visualViewport?.addEventListener("resize", () => this.allowZoom());
    this.allowZoom();
    new ResizeObserver(() => this.fit()).observe(canvas);
    this.fit();
    this.paint();
  }

  get isEmpty() {
    return this.strokes.length === 0;
  }

  /** Let two fingers zoom out where the pad may fill the screen; elsewhere one may draw while the other holds the page. */
  allowZoom() {
    this.canvas.style.touchAction = window.visualViewport?.scale > 1 ? "pinch-zoom" : "none";
  }

  /** Make the canvas as wide as the place that the page has for it, and keep all strokes on it, in its middle. */
  fit() {
    const { canvas } = this;
    const { clientWidth, clientHeight, width } = canvas;
    const wanted = clientWidth > 1.2 * clientHeight ? WIDE_PX : HEIGHT_PX;
    if (clientWidth === 0 || wanted === width) return;
    canvas.width = wanted;
    const scale = Math.min(1, wanted / width);
    for (const point of this.strokes.flatMap((stroke) => stroke.points)) {
      point.x = wanted / 2 + (point.x - width / 2) * scale;
      point.y = HEIGHT_PX / 2 + (point.y - HEIGHT_PX / 2) * scale;
      point.width *= scale;
    }
    this.paint();
  }

  start(event) {
    if (event.button !== 0 || !this.mayDraw(event)) return;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true, focusVisible: false });
    // Of a pointer that drew until now, the page never saw the end.
    this.drawing = event.pointerId;
    this.width = this.canvas.clientWidth;
    this.strokes.push({ points: [this.point(event)], type: event.pointerType, time: event.timeStamp });
    this.canvas.setPointerCapture(event.pointerId);
    this.change(false);
  }

  /** Return whether a pointer that touches the pad draws: not a palm beside a pen, nor a second finger. */
  mayDraw(event) {
    if (event.pointerType === "pen") {
      this.penTime = event.timeStamp;
      this.dropPalm();
      return true;
    }
    if (event.pointerType === "touch" && event.timeStamp - this.penTime < PALM_MS) return false;
    return event.isPrimary || this.drawing === null;
  }

  /** Remove the touches that are drawing, or were until a moment ago. */
  dropPalm() {
    const isPalm = (stroke) => stroke?.type === "touch" && this.penTime - stroke.time < PALM_MS;
    if (this.drawing !== null && this.strokes.at(-1)?.type === "touch") this.strokes.pop();
    while (isPalm(this.strokes.at(-1))) this.strokes.pop();
  }

  move(event) {
    if (event.pointerType === "pen") this.penTime = event.timeStamp;
    if (event.pointerId !== this.drawing) return;
    // The button was released where the page did not see it, or the pad has another size since the screen was turned.
    if (event.buttons === 0 || this.canvas.clientWidth !== this.width) return this.end(event);
    const events = event.getCoalescedEvents?.() ?? [];
    const stroke = this.strokes.at(-1);
    for (const each of events.length ? events : [event]) stroke.points.push(this.point(each));
    stroke.time = event.timeStamp;
    this.change(false);
  }

  end(event) {
    if (event.pointerId !== this.drawing) return;
    this.drawing = null;
    this.change(true);
  }

  /** End a stroke that the browser takes over; of a finger, it was the start of a gesture, or a palm. */
  cancel(event) {
    if (event.pointerId !== this.drawing) return;
    if (event.pointerType === "touch") this.strokes.pop();
    this.end(event);
  }

  /** Return where an event is on the canvas, and how wide the line is there; all but a pen have a pressure of 0.5. */
  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const pressure = event.pointerType === "pen" && event.pressure > 0 ? event.pressure : 0.5;
    return {
      x: ((event.clientX - box.left) / box.width) * this.canvas.width,
      y: ((event.clientY - box.top) / box.height) * this.canvas.height,
      width: LINE_SHARE * HEIGHT_PX * (0.6 + 0.8 * pressure),
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
    for (const { points } of this.strokes) {
      let [last] = points;
      let from = last;
      for (const point of points.length > 1 ? points.slice(1) : points) {
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
    return toFile(paint(this.canvas, SENT_SCALE * this.canvas.width), "image/png");
  }
}

function preventScribble(event) {
  const isPen = [...event.touches].some((touch) => touch.touchType === "stylus");
  if (event.cancelable && (isPen || event.touches.length === 1)) event.preventDefault();
}
