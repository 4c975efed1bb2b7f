// SAMP's Web Profile: the browser speaks to the hub of its own computer, which asks its user. Begins with a click.
const bus = cb_obj.origin.document.get_model_by_name("bus")
if (bus.samp_leave) { bus.samp_leave(); return }
const clean = (text) => String(text).replace(/[<>&]/g, (sign) => `&#${sign.charCodeAt(0)};`)
const written = (value) => {
  if (Array.isArray(value)) return `<value><array><data>${value.map(written).join("")}</data></array></value>`
  if (typeof value !== "object") return `<value><string>${clean(value)}</string></value>`
  const members = Object.entries(value).map(([name, one]) => `<member><name>${clean(name)}</name>${written(one)}</member>`)
  return `<value><struct>${members.join("")}</struct></value>`
}
const read = (node) => {
  const inner = node.firstElementChild
  if (inner === null) return node.textContent
  if (inner.tagName === "array") return [...inner.querySelectorAll(":scope > data > value")].map(read)
  if (inner.tagName !== "struct") return inner.textContent
  const members = [...inner.querySelectorAll(":scope > member")]
  const part = (member, name) => member.querySelector(`:scope > ${name}`)
  return Object.fromEntries(members.map((member) => [part(member, "name").textContent, read(part(member, "value"))]))
}
const call = async (method, ...values) => {
  const params = values.map((value) => `<param>${written(value)}</param>`).join("")
  const body = `<?xml version="1.0"?><methodCall><methodName>samp.webhub.${method}</methodName><params>${params}</params></methodCall>`
  const reply = await fetch(hub, {
    method: "POST", body, headers: { "Content-Type": "text/xml" }, credentials: "omit", referrerPolicy: "no-referrer",
    redirect: "error", cache: "no-store", keepalive: method === "unregister",
  })
  const answer = new DOMParser().parseFromString(await reply.text(), "text/xml")
  const value = answer.querySelector("methodResponse > params > param > value")
  if (value === null) throw new Error("refused")
  return read(value)
}
const told = { "samp.status": "samp.ok", "samp.result": {} }
let key = ""
let on = true
const leave = (state) => {
  if (!on) return
  on = false
  delete bus.samp_leave
  window.removeEventListener("pagehide", gone)
  bus.properties.samp_told.change.disconnect(tell)
  if (key) call("unregister", key).catch(() => {})
  bus.samp_state = state
}
const gone = () => leave("")
const tell = () => {
  const [ra, dec] = bus.samp_told
  call("notifyAll", key, { "samp.mtype": point, "samp.params": { ra, dec } }).catch(() => leave("lost"))
}
const hear = (one) => {
  const call_in = one["samp.methodName"].endsWith("receiveCall")
  const message = one["samp.params"][call_in ? 2 : 1]
  if (message["samp.mtype"] === point) {
    bus.samp_heard = [message["samp.params"].ra, message["samp.params"].dec, (bus.samp_heard ?? [0, 0, 0])[2] + 1]
  }
  if (call_in) call("reply", key, one["samp.params"][1], told).catch(() => leave("lost"))
}
const follow = async () => {
  bus.samp_state = "asking"
  bus.samp_leave = () => leave("")
  try {
    key = (await call("register", { "samp.name": "AstroAnomaly" }))["samp.private-key"]
    await call("declareMetadata", key, { "samp.name": "AstroAnomaly", "samp.description.text": "candidates of rare objects" })
    await call("allowReverseCallbacks", key, "1")
    await call("declareSubscriptions", key, { [point]: {} })
  } catch (error) {
    leave(error.message === "refused" ? "refused" : "none")
    return
  }
  if (!on) { call("unregister", key).catch(() => {}); return } // given up meanwhile
  window.addEventListener("pagehide", gone)
  bus.properties.samp_told.change.connect(tell)
  bus.samp_state = "connected"
  while (on) {
    const began = Date.now()
    try {
      for (const one of await call("pullCallbacks", key, "5")) hear(one)
    } catch {
      leave("lost")
    }
    await new Promise((go_on) => setTimeout(go_on, Math.max(0, began + 500 - Date.now()))) // some hubs do not wait
  }
}
follow()
