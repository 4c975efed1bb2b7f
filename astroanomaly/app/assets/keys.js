// Sends keys to the server, unless somebody is typing in a field.
const ours = (event) => event.composedPath().some((e) => e.classList && e.classList.contains("aa-app"))
const typing = (event) => {
  const e = event.composedPath()[0]
  if (e && e.tagName == "INPUT" && ["checkbox", "radio", "range", "button"].includes(e.type)) return false
  return e && (["INPUT", "TEXTAREA", "SELECT"].includes(e.tagName) || e.isContentEditable)
}
const fitZoom = () => {  // at 2000 CSS pixels and less text has its usual size
  const zoom = Math.min(2, Math.max(1, Math.round(innerWidth / 100) / 20))
  document.documentElement.style.setProperty("--aa-zoom", zoom)
  if (zoom != bus.zoom) bus.zoom = zoom
}
fitZoom()
let resized
window.addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(fitZoom, 150) })
let measured
new ResizeObserver(([entry]) => {  // of a window, or of the bar above; it is hidden while it has no size
  const {offsetWidth: width, offsetHeight: height} = entry.target
  clearTimeout(measured)
  if (width > 0 && height > 0) measured = setTimeout(() => { bus.area = [width, height] }, 100)
}).observe(inspector.document.views_manager.find_one(inspector).el)
document.addEventListener("pointerup", (event) => {  // a clicked button must not eat the next Enter or Space
  const e = event.composedPath()[0]
  if (ours(event) && !typing(event)) setTimeout(() => {
    let a = document.activeElement
    while (a && a.shadowRoot && a.shadowRoot.activeElement) a = a.shadowRoot.activeElement
    if (a && a.tagName == "BUTTON") a.blur()
  }, 0)
}, true)
document.addEventListener("input", (event) => {  // what was chosen from a list is chosen: keys give verdicts again
  const e = event.composedPath()[0]
  if (ours(event) && e && e.tagName == "SELECT") e.blur()
}, true)
const repeatable = (key) => key.startsWith("Arrow") || ["u", "Backspace"].includes(key)
window.addEventListener("keydown", (event) => {
  if (typing(event) && event.key == "Enter" && event.composedPath()[0].tagName == "INPUT") {
    const field = event.composedPath()[0]
    setTimeout(() => field.blur(), 0)  // after the field has heard of it
  }
  if (typing(event) || event.ctrlKey || event.metaKey || event.altKey || !keys.includes(
      event.key.length == 1 ? event.key.toLowerCase() : event.key)) {
    if (typing(event) && event.key == "Escape") {
      const field = event.composedPath()[0]
      if (event.composedPath().some((e) => e.classList && e.classList.contains("aa-drop"))) field.value = ""
      field.blur()
    }
    return
  }
  event.preventDefault()
  event.stopImmediatePropagation()
  if (event.repeat && !repeatable(event.key)) return  // a key held down is one verdict
  bus.setv({key: event.key, n: bus.n + 1})
}, true)
