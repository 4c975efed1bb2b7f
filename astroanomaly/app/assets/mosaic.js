// Measures the place of the mosaic, hides it until it is laid out for that size, and tells what was clicked.
const view = figure.document.views_manager.find_one(figure)
const el = view.el
const QUICK_MS = 500  // between the clicks of a double click
let room = [0, 0], number = 0  // the size that was told last, and how many were told
let painted = 0  // number of the layout on the screen; 0 while there is none that can be clicked
let timer, taps = 0, meta = false, time = 0  // of the pointer, when it went down: what is handled late was not slow
let last = {id: null, time: 0}

const hide = () => { painted = 0; delete el.dataset.laid }
const show = () => {  // once the layout that the server made for this size is on the canvas
  const laid = bus.laid
  const wait = (frames, most) => requestAnimationFrame(() => {
    const right = el.offsetWidth == room[0] && el.offsetHeight == room[1]
    if (bus.laid !== laid || !laid || laid[0] != number || !right) return
    const fits = Math.abs(figure.inner_width - room[0]) <= 1 && Math.abs(figure.inner_height - room[1]) <= 1
    if (frames > 0 || (!fits && most > 0)) return wait(frames - 1, most - 1)
    painted = laid[1]
    el.dataset.laid = ""
  })
  wait(1, 200)
}
bus.connect(bus.properties.laid.change, () => { if (bus.laid) show(); else hide() })
new ResizeObserver(() => {  // without a size another view is open
  const {offsetWidth: width, offsetHeight: height} = el
  if (!(width > 0 && height > 0)) return
  clearTimeout(timer)
  if (width == room[0] && height == room[1]) return show()
  hide()
  timer = setTimeout(() => {
    room = [width, height]
    number += 1
    bus.room = [width, height, number]
  }, 60)
}).observe(el)

el.addEventListener("pointerdown", (event) => { meta = event.metaKey; time = event.timeStamp }, true)
bus.tapped = (event) => {
  if (!painted) return
  const {left, right, bottom, top, object_id} = cells.data
  const inside = (low, high, at) => Math.abs((low + high) / 2 - at) < 0.5
  const at = object_id.findIndex((id, k) => inside(left[k], right[k], event.x) && inside(bottom[k], top[k], event.y))
  if (at < 0) return
  const {shift, ctrl} = event.modifiers
  const id = object_id[at], plain = !shift && !ctrl && !meta
  const twice = plain && id === last.id && time - last.time < QUICK_MS
  last = twice || !plain ? {id: null, time: 0} : {id, time}
  taps += 1
  bus.tap = [painted, id, twice, shift, ctrl || meta, taps]
}

const cursor = document.createElement("style")
view.canvas_view.shadow_el.appendChild(cursor)
const point = () => {
  const sign = bus.marking ? ".bk-events { cursor: copy !important }" : ""
  cursor.textContent = `.bk-events:focus { outline: none } ${sign}`
}
bus.connect(bus.properties.marking.change, point)
point()
