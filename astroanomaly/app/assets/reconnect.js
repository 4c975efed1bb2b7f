// Waits for the server and loads the page again; where that wants the token anew, says what to do, and waits for that.
if (window._aa_waiting) return
window._aa_waiting = true
const note = document.createElement("div")
note.id = "aa-lost"
note.textContent = "The connection to the server is lost. Every mark you saw is saved. Waiting for the server ..."
note.style.cssText = "position:fixed;z-index:1000;left:50%;top:12px;transform:translateX(-50%);background:#b3261e;" +
  "color:#fff;padding:8px 16px;border-radius:8px;font:13px system-ui,sans-serif"
document.body.appendChild(note)
const again = async () => {
  let pause = 700
  try {
    const reply = await fetch(location.href, {cache: "no-store"})
    if (reply.ok) { location.reload(); return }
    if (reply.status == 403) {
      const said = new DOMParser().parseFromString(await reply.text(), "text/html").querySelector("p")
      note.textContent = `Every mark you saw is saved. ${said ? said.textContent : "The server wants its token anew."}`
      pause = 3000
    }
  } catch (e) {}
  setTimeout(again, pause)
}
setTimeout(again, 300)
