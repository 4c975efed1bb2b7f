// Copies a position; works without a secure context, too.
const text = position.tags[0] || ""
const done = () => { const before = button.label; button.label = "copied"; setTimeout(() => { button.label = before }, 900) }
if (navigator.clipboard && window.isSecureContext) navigator.clipboard.writeText(text).then(done)
else {
  const field = document.createElement("textarea")
  field.value = text
  document.body.appendChild(field)
  field.select()
  document.execCommand("copy")
  field.remove()
  done()
}
