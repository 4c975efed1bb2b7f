// Waits for the server and loads the page again.
if (window._aa_waiting) return
window._aa_waiting = true
const note = document.createElement("div")
note.id = "aa-lost"
note.textContent = "The connection to the server is lost. Every mark you saw is saved. Waiting for the server ..."
note.style.cssText = "position:fixed;z-index:1000;left:50%;top:12px;transform:translateX(-50%);background:#b3261e;" +
  "color:#fff;padding:8px 16px;border-radius:8px;font:13px system-ui,sans-serif"
document.body.appendChild(note)
const again = async () => {
  try {
    const reply = await fetch(location.href, {cache: "no-store"})
    if (reply.ok) { location.reload(); return }
  } catch (e) {}
  setTimeout(again, 700)
}
setTimeout(again, 300)
